"""Experiments are short scripts that can be called as they say."""

import functools
import re
import runpy
import sys
from pathlib import Path

import pytest

import mvssl
from mvssl.data import open_corpus

SCRIPTS = sorted((Path(__file__).parents[1] / "experiments").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_it_is_short_and_its_own_command_is_understood(script, monkeypatch, capsys):
    source = script.read_text()
    assert len(source.splitlines()) < 40
    (command,) = re.findall(rf"^python experiments/{script.name} (.*)$", source, re.MULTILINE)
    monkeypatch.setattr(sys, "argv", [str(script), *command.split(), "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    assert ended.value.code == 0
    assert "--out" in capsys.readouterr().out


SMALL = {"temperature_batch": "--temperatures 0.1 --batch_sizes 12 --views 24"}


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_it_runs(script, music, encoder, tmp_path, monkeypatch, capsys):
    """On a small corpus, with a small encoder and one step."""
    create = functools.partial(type(encoder), **{**encoder.config, "normalised": False})
    monkeypatch.setattr(mvssl, "create_encoder", lambda name, **changes: create(**changes), raising=False)
    monkeypatch.setattr(
        mvssl, "fit", functools.partial(mvssl.fit, batch_size=12, progress=False), raising=False
    )
    monkeypatch.setattr(mvssl.data, "synthetic", lambda progress: open_corpus(music))
    probe = functools.partial(mvssl.evaluation.label_efficiency, fractions=(1.0,))
    monkeypatch.setattr(mvssl.evaluation, "label_efficiency", probe)
    arguments = [*SMALL.get(script.stem, "--steps 1").split(), "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", [str(script), *arguments])
    runpy.run_path(str(script), run_name="__main__")
    runs = list(tmp_path.glob("*/encoder.safetensors"))
    assert runs
    assert capsys.readouterr().out.count("100%") >= len(runs)
