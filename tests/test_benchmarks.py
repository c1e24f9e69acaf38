import runpy
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parent.parent / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_all_it_imports_is_there(script, monkeypatch):
    monkeypatch.syspath_prepend(str(script.parent))
    assert runpy.run_path(str(script), run_name="benchmark")["__doc__"]
