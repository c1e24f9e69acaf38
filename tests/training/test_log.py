from pathlib import Path

import pytest

from mvssl.training.log import METRICS, RunLog, Table, read_metrics


def test_rows_are_appended_and_read_back(tmp_path):
    log = RunLog(tmp_path)
    log.write({"step": 1, "loss": 0.5})
    log.write({"step": 2, "loss": 0.25})
    log.close()
    assert read_metrics(tmp_path) == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}]


def test_resuming_discards_what_will_be_made_again(tmp_path):
    log = RunLog(tmp_path)
    for step in (1, 2, 3):
        log.write({"step": step, "loss": step / 10})
    log.close()
    log = RunLog(tmp_path, start_step=2)
    log.write({"step": 3, "loss": 9.0})
    log.close()
    assert [(row["step"], row["loss"]) for row in read_metrics(tmp_path)] == [(1, 0.1), (2, 0.2), (3, 9.0)]


def test_no_file_means_no_rows(tmp_path):
    assert read_metrics(tmp_path) == []


def test_a_line_that_was_cut_short_is_left_out(tmp_path):
    log = RunLog(tmp_path)
    log.write({"step": 1, "loss": 0.5})
    log.close()
    with (tmp_path / METRICS).open("a") as file:
        file.write("2,0.2")
    assert read_metrics(tmp_path) == [{"step": 1, "loss": 0.5}]
    log = RunLog(tmp_path, start_step=2)
    log.write({"step": 3, "loss": 0.125})
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 3]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_rows_wait_for_room_and_the_run_is_told_once(tmp_path, monkeypatch, recwarn):
    log = RunLog(tmp_path)
    log.write({"step": 1, "loss": 0.5})
    table = log._table
    monkeypatch.setattr(table, "_path", Path("/dev/full"))
    log.write({"step": 2, "loss": 0.25})
    log.write({"step": 3, "loss": 0.125})
    assert len([warning for warning in recwarn if "cannot be written" in str(warning.message)]) == 1
    with pytest.raises(OSError):  # noqa: PT011
        log.settle()
    monkeypatch.setattr(table, "_path", tmp_path / METRICS)
    log.settle()
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2, 3]


def test_a_table_goes_on_with_the_same_text(tmp_path):
    whole, parts = Table(tmp_path / "whole.csv"), Table(tmp_path / "parts.csv")
    rows = [{"step": step, "loss": 0.1 * step} for step in range(4)]
    for row in rows:
        whole.write(row)
    for row in rows[:3]:
        parts.write(row)
    parts = Table(tmp_path / "parts.csv", start_step=1)
    for row in rows[2:]:
        parts.write(row)
    read = [_lines(tmp_path / name) for name in ("whole.csv", "parts.csv")]
    assert read[0] == read[1]


def _lines(path):
    header, *rows = path.read_text().splitlines()
    return header, [[float(value) for value in row.split(",")] for row in rows]
