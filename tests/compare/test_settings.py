from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from mvssl.compare.grid import _defaults, _settings
from mvssl.pretext import SimCLR


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pretexts": ("simclrr",)}, "did you mean 'simclr'"),
        ({"encoder": "tinny"}, "did you mean 'tiny'"),
        ({"views": "lite"}, "view chain"),
        ({"sampler": "adjacant"}, "did you mean 'adjacent'"),
        ({"max_gap": 1.0}, "max_gap=1.0: sampler 'random' takes no max_gap"),
        ({"sampler": "gap", "min_gap": 2.0, "max_gap": 1.0}, "min_gap=2.0, max_gap=1.0"),
        ({"sampler": "multi_crop"}, "n_views=2"),
        ({"short": "wrap"}, "short='wrap'"),
        ({"seeds": (1, 1)}, "seeds"),
        ({"pretexts": ()}, "pretexts"),
        ({"fractions": (0.0,)}, "fractions"),
        ({"fractions": (1.5,)}, "fractions"),
        ({"repeats": 0}, "repeats"),
        ({"n_views": 1}, "n_views"),
        ({"seeds": (-1,)}, "seeds"),
    ],
)
def test_wrong_settings_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        replace(_defaults(), **change)


def test_a_pretext_that_needs_more_views_is_refused_before_anything_runs(monkeypatch):
    settings = _defaults()
    monkeypatch.setattr(SimCLR, "min_views", 3)
    with pytest.raises(ValueError, match="n_views=2: simclr needs at least 3"):
        replace(settings, steps=7)
    assert replace(settings, n_views=3).n_views == 3


def test_the_command_names_what_differs_from_the_defaults():
    settings = replace(_defaults(), seeds=(0, 1), data="my music", steps=10)
    command = settings.command(Path("out"), _defaults())
    assert command == "mvssl compare --data 'my music' --seeds 0,1 --steps 10 --out out"


def test_minutes_replace_the_default_number_of_steps():
    values = {**_defaults().as_config(), "minutes": 2.0}
    by_clock = _settings(**{**values, "steps": None})
    assert by_clock.steps > 10**6
    assert by_clock.command(Path("out"), _defaults()) == "mvssl compare --minutes 2.0 --out out"
    assert _settings(**{**values, "steps": 7}).steps == 7


def test_a_folder_belongs_to_one_comparison(tmp_path):
    _defaults().claim(tmp_path)
    _defaults().claim(tmp_path)
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["seeds"] == [0]
    with pytest.raises(FileExistsError, match="steps"):
        replace(_defaults(), steps=7).claim(tmp_path)
