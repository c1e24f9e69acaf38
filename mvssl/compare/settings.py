"""What a comparison is asked for."""

import shlex
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from mvssl.atomic import write_text
from mvssl.compare.cells import upstream_methods
from mvssl.device import Precision
from mvssl.encoders import encoders
from mvssl.pretext import pretexts
from mvssl.training.recipe import ENDLESS
from mvssl.views import chain
from mvssl.views.samplers import Short


@dataclass(frozen=True)
class Settings:
    """Everything that decides the numbers of a comparison; see :func:`mvssl.compare.compare`.

    Raises:
        ValueError: If a name is unknown or a number out of range.
    """

    data: str
    pretexts: tuple[str, ...]
    seeds: tuple[int, ...]
    steps: int
    minutes: float | None
    fractions: tuple[float, ...]
    repeats: int
    encoder: str
    views: str
    n_views: int
    sampler: str | None
    min_gap: float | None
    max_gap: float | None
    short: Short
    batch_size: int
    learning_rate: float | None
    supervised_crops: int
    finetune: bool
    robustness: bool
    precision: Precision
    prepare: bool
    frozen: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in self.pretexts:
            pretexts.entry(name)
        encoders.entry(self.encoder)
        upstream_methods(self.frozen)
        chain(self.views, n_views=self.n_views, sampler=self.sampler, **self.sampler_options)
        for name in ("pretexts", "seeds", "fractions"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ValueError(f"{name}={','.join(map(str, values))}: give at least one, each once")
        if not all(0 < fraction <= 1 for fraction in self.fractions):
            raise ValueError(f"fractions={self.fractions} must lie above 0 and up to 1")
        if self.repeats < 1 or self.supervised_crops < 1 or min(self.seeds) < 0 or self.n_views < 2:
            raise ValueError(
                f"repeats={self.repeats}, supervised_crops={self.supervised_crops}, seeds={self.seeds}, "
                f"n_views={self.n_views}: at least 1, 1, 0 and 2 are needed"
            )
        for name, least in ((name, pretexts.entry(name).target.min_views) for name in self.pretexts):
            if self.n_views < least:
                raise ValueError(f"n_views={self.n_views}: {name} needs at least {least}")

    @property
    def sampler_options(self) -> dict[str, Any]:
        """What the sampler is told beside the length and the number of crops."""
        return {"min_gap": self.min_gap, "max_gap": self.max_gap, "short": self.short}

    def as_config(self) -> dict[str, Any]:
        """The settings as the command line and ``config.yaml`` take them."""
        given = {name: value for name, value in asdict(self).items() if name != "frozen" or value}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}

    def command(self, out: Path, defaults: "Settings") -> str:
        """The command line that asks for this."""
        words = ["mvssl", "compare"]
        for field in fields(self):
            value = getattr(self, field.name)
            if value != getattr(defaults, field.name) and value != ENDLESS:
                text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
                words += [f"--{field.name}", text]
        return shlex.join([*words, "--out", str(out)])

    def claim(self, folder: Path) -> None:
        """Makes ``folder`` the place of this comparison, or finds that it is already.

        Raises:
            FileExistsError: If it holds a comparison with other settings.
        """
        path = folder / "config.yaml"
        config = self.as_config()
        if path.is_file():
            found = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
            changed = sorted(name for name in {*found, *config} if found.get(name) != config.get(name))
            if changed:
                raise FileExistsError(
                    f"{folder} holds a comparison with other settings ({', '.join(changed)}): "
                    "choose another --out, or delete it"
                )
        folder.mkdir(parents=True, exist_ok=True)
        write_text(path, yaml.safe_dump(config, sort_keys=False))
