"""What a synthetic piece is made of: musical causes that carry tags, and production that carries none."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mvssl.seeding import generator

INSTRUMENTS = ("pluck", "swell", "throb", "surge", "scoop", "fall")
RHYTHMS = ("four_on_the_floor", "backbeat", "breakbeat", "shuffle", "dembow", "no_drums")
TEMPOS = {"slow": (66.0, 88.0), "medium": (98.0, 122.0), "fast": (138.0, 172.0)}
MODES = ("major", "minor")
PROGRESSIONS = ("static", "cadential", "chromatic")


@dataclass(frozen=True)
class Style:
    """What a style prefers; a track follows each preference with probability :data:`ADHERENCE`."""

    instruments: tuple[str, str]
    rhythms: tuple[str, str]
    tempo: str
    mode: str
    progression: str


STYLES = {
    "chamber": Style(("scoop", "pluck"), ("no_drums", "shuffle"), "slow", "minor", "cadential"),
    "club": Style(("throb", "surge"), ("four_on_the_floor", "breakbeat"), "medium", "minor", "static"),
    "campfire": Style(("pluck", "fall"), ("backbeat", "shuffle"), "medium", "major", "cadential"),
    "carnival": Style(("surge", "swell"), ("dembow", "four_on_the_floor"), "fast", "major", "cadential"),
    "noir": Style(("fall", "throb"), ("breakbeat", "no_drums"), "slow", "minor", "chromatic"),
}
ADHERENCE = 0.6

TAG_GROUPS: dict[str, tuple[str, ...]] = {
    "instrument": INSTRUMENTS,
    "rhythm": RHYTHMS,
    "tempo": tuple(TEMPOS),
    "harmony": MODES + PROGRESSIONS,
    "style": tuple(STYLES),
}


@dataclass(frozen=True)
class Causes:
    """Everything that determines the sound of one track, besides its own stream of random numbers.

    Attributes:
        style, lead, comp, rhythm, tempo, mode, progression: The tags.
        bpm: Beats per minute, inside the range of ``tempo``.
        tilt: Production: spectral tilt in dB per octave around 1 kHz.
        low_cut, high_cut: Production: corner frequencies in Hz.
        room_seconds: Production: reverberation time (−60 dB).
        room_wet: Production: energy of the reverberation relative to the direct sound.
        noise_db: Production: signal-to-noise ratio of the noise floor in dB.
        noise_colour: Production: slope of the noise in dB per octave.
        crackle_rate: Production: clicks per second.
        crackle_db: Production: level of the clicks relative to the RMS level, in dB.
        fader_db: Production: depth of a slow, aimless movement of the level in dB.
        level_db: Production: RMS level in dB below full scale.
    """

    style: str
    lead: str
    comp: str
    rhythm: str
    tempo: str
    mode: str
    progression: str
    bpm: float
    tilt: float
    low_cut: float
    high_cut: float
    room_seconds: float
    room_wet: float
    noise_db: float
    noise_colour: float
    crackle_rate: float
    crackle_db: float
    fader_db: float
    level_db: float

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags of the track, group by group."""
        return (self.lead, self.comp, self.rhythm, self.tempo, self.mode, self.progression, self.style)

    def asdict(self) -> dict[str, Any]:
        """The causes by name."""
        return asdict(self)


def draw_causes(seed: int, index: int) -> Causes:
    """Draws the causes of track ``index`` of the corpus with this seed."""
    rng = generator(seed, index, 0)
    name = str(rng.choice(list(STYLES)))
    style = STYLES[name]

    def prefer(favourites: tuple[str, ...], everything: tuple[str, ...]) -> str:
        return str(rng.choice(favourites if rng.random() < ADHERENCE else everything))

    lead = prefer(style.instruments, INSTRUMENTS)
    comp = prefer(
        tuple(i for i in style.instruments if i != lead), tuple(i for i in INSTRUMENTS if i != lead)
    )
    tempo = prefer((style.tempo,), tuple(TEMPOS))
    return Causes(
        style=name,
        lead=lead,
        comp=comp,
        rhythm=prefer(style.rhythms, RHYTHMS),
        tempo=tempo,
        mode=prefer((style.mode,), MODES),
        progression=prefer((style.progression,), PROGRESSIONS),
        bpm=float(rng.uniform(*TEMPOS[tempo])),
        tilt=float(rng.uniform(-4, 4)),
        low_cut=float(np.exp(rng.uniform(np.log(30), np.log(250)))),
        high_cut=float(np.exp(rng.uniform(np.log(2500), np.log(7800)))),
        room_seconds=float(rng.uniform(0.1, 0.8)),
        room_wet=float(rng.uniform(0.0, 0.5)),
        noise_db=float(rng.uniform(6, 42)),
        noise_colour=float(rng.uniform(-6, 3)),
        crackle_rate=float(rng.uniform(0, 10)),
        crackle_db=float(rng.uniform(-12, 6)),
        fader_db=float(rng.uniform(0, 5)),
        level_db=float(rng.uniform(-32, -14)),
    )
