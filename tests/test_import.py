import subprocess
import sys

import pytest


def modules_after(statement):
    """Which modules a fresh interpreter has loaded after a statement."""
    code = f"{statement}\nimport sys; print(*sys.modules)"
    return set(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
    )


def test_the_package_imports_nothing_heavy():
    loaded = modules_after("import mvssl; mvssl.__version__; dir(mvssl)")
    assert "mvssl" in loaded
    assert loaded.isdisjoint({"torch", "numpy", "scipy", "torchaudio", "torchvision", "pytorch_lightning"})


def test_building_blocks_need_neither_torchvision_nor_lightning():
    loaded = modules_after("import mvssl.data, mvssl.encoders, mvssl.pretext, mvssl.views")
    assert {"torch", "mvssl.pretext.simclr"} <= loaded
    assert loaded.isdisjoint(
        {"torchvision", "pytorch_lightning", "lightning", "lightly", "matplotlib", "sklearn"}
    )


def test_the_command_line_imports_what_it_runs_and_no_more():
    loaded = modules_after(
        "from contextlib import suppress\nfrom mvssl.cli import main\n"
        "with suppress(SystemExit): main(['--help'])"
    )
    assert "mvssl.cli" in loaded
    assert loaded.isdisjoint({"torch", "numpy", "mvssl.compare", "mvssl.data"})


def test_every_public_name_resolves():
    import mvssl

    for name in mvssl.__all__:
        assert getattr(mvssl, name) is not None, name
    assert set(mvssl.__all__) < set(dir(mvssl))
    assert mvssl.pretext.SimCLR.__module__ == "mvssl.pretext.simclr"


def test_an_unknown_name_is_an_attribute_error():
    import mvssl

    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = mvssl.nonsense
