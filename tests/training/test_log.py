from mvssl.training.log import RunLog, read_metrics


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
