"""Experiments are short scripts that can be called as they say."""

import re
import runpy
import sys
from pathlib import Path

import pytest

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
