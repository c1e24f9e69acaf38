"""Downstream tasks by name: a corpus, what of it is predicted, and how the field reports it."""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mvssl.data import Corpus, corpora, named
from mvssl.data.beats import Beats, annotated_beats
from mvssl.data.named import data_folder
from mvssl.data.synthetic import beat_times, draw_causes
from mvssl.registry import Registry

BEATS, ALL = "beats", "all"
MARBLE = "arXiv:2306.10548"

_logger = logging.getLogger(__name__)

BeatSource = Callable[[Corpus], list[Beats | None]]


@dataclass(frozen=True)
class Downstream:
    """A downstream task.

    Attributes:
        corpus: Name of a registered corpus.
        kind: What is predicted: one of ``mvssl list kinds``, or ``"beats"``, frame by frame.
        metrics: By which the field reports it, the leading one first.
        split: Which tracks are for what.
        field: Labels of the corpus.
        columns: Tags, classes or numbers; None of beats.
        beats: Where the beats of tracks are known from.
    """

    corpus: str
    kind: str
    metrics: tuple[str, ...]
    split: str
    field: str = ""
    columns: int | None = None
    beats: BeatSource = annotated_beats

    def source(self, root: str = "") -> str:
        """What :func:`mvssl.data.open_corpus` takes.

        Args:
            root: Folder of the corpus, if it is not where corpora are looked for.
        """
        place = f"{self.corpus}@{root}" if root else self.corpus
        return f"{place}:{self.field}" if self.field else place

    def folder(self, data: str | None = None) -> Path:
        """The folder of its corpus, below that of all corpora."""
        corpus = named(self.corpus)
        return corpus.root() if data is None else corpus.root(Path(data) / (corpus.folder or corpus.name))


downstream: Registry[Downstream] = Registry("downstream task", group="mvssl.tasks")
"""Downstream tasks by name; installed packages add theirs through the entry-point group ``mvssl.tasks``."""


def list_tasks(pattern: str = "*") -> list[str]:
    """Names of the downstream tasks that match a shell-style pattern."""
    return downstream.names(pattern)


def named_task(task: object) -> tuple[Downstream, str] | None:
    """The downstream task of a name, and the folder behind its ``@``; None of anything else."""
    if not isinstance(task, str):
        return None
    name, _, root = task.partition("@")
    return (downstream.entry(name).target, root) if name in downstream.names() else None


def corpus_of(task: str | os.PathLike[str] | Corpus) -> str | os.PathLike[str] | Corpus:
    """What a task is judged on: the corpus and field of a downstream task, anything else as it is.

    Raises:
        ValueError: If the task is judged frame by frame.
    """
    found = named_task(task)
    if found is None:
        return task
    if found[0].kind == BEATS:
        raise ValueError(f"{task} is judged frame by frame: use mvssl.evaluation.evaluate_beats")
    return found[0].source(found[1])


def is_beats(task: object) -> bool:
    """Whether it is a downstream task that is judged frame by frame."""
    found = named_task(task)
    return found is not None and found[0].kind == BEATS


def listed_tasks(tasks: Sequence[str], data: str | None = None) -> list[str]:
    """Tasks with the folders of their corpora, and instead of ``"all"`` those of the thirteen that are here.

    Args:
        tasks: Downstream tasks, ``"all"``, or corpora.
        data: Folder of all corpora, or of the corpus of the task.

    Raises:
        ValueError: If no corpus of all is there, or a folder is given for what has one.
    """
    listed = []
    for task in tasks:
        if task == ALL:
            listed += _present(data)
            continue
        listed.append(task if data is None else _placed(task, data))
    return listed


def _placed(task: str, data: str) -> str:
    """A task with the folder of its corpus."""
    found = named_task(task)
    corpus, _, field = task.partition(":")
    if found is not None and not found[1]:
        below = found[0].folder(data)
        return f"{task}@{below if below.is_dir() else data}"
    if found is None and "@" not in task and not any(sign in corpus for sign in "./\\"):
        corpora.entry(corpus)  # whether it is a name
        return f"{corpus}@{data}{f':{field}' if field else ''}"
    raise ValueError(f"data={data}: {task} says itself where it lies; leave data out")


def _present(data: str | None) -> list[str]:
    places = {name: downstream.entry(name).target.folder(data) for name in MARBLE_TASKS}
    absent = {name: place for name, place in places.items() if not place.is_dir()}
    if len(absent) == len(places):
        raise ValueError(
            f"no corpus of the tasks is in {data or data_folder()}: mvssl data list names them and says how "
            "to get each"
        )
    if absent:
        told = ", ".join(f"{name} ({place})" for name, place in absent.items())
        _logger.warning("not judged, as there is no such folder: %s", told)
    return [f"{name}@{place}" for name, place in places.items() if name not in absent]


def synthetic_beats(corpus: Corpus) -> list[Beats | None]:
    """Of the embedded corpus, whose beats follow from its causes."""
    rows = [int(Path(str(path)).stem) for path in corpus.paths]
    return [
        beat_times(draw_causes(0, row), 0, row, float(seconds))
        for row, seconds in zip(rows, corpus.seconds, strict=True)
    ]


_TAGS, _CLASSES = ("roc_auc", "ap"), ("accuracy",)
_JAMENDO = "published split 0, artists apart"

_MARBLE = (
    ("mtat_top50", "MagnaTagATune: 50 tags",
     Downstream("mtat", "tagging", _TAGS, "by folder, 12:1:3", "top50", 50)),
    ("giantsteps_key", "GiantSteps: 24 keys",
     Downstream("giantsteps_key", "key", ("key_score",), "trained on GiantSteps MTG", "key", 24)),
    ("gtzan_genre", "GTZAN: 10 genres",
     Downstream("gtzan", "classification", _CLASSES, "fault-filtered, artists apart", "genre", 10)),
    ("gtzan_beat", "GTZAN: beats, frame by frame",
     Downstream("gtzan", BEATS, ("f1_20ms",), "as gtzan_genre")),
    ("emomusic_emotion", "EmoMusic: arousal and valence",
     Downstream("emomusic", "regression", ("r2",), "evaluation of MediaEval 2013", "emotion", 2)),
    ("nsynth_instrument", "NSynth: 11 families of instruments",
     Downstream("nsynth", "classification", _CLASSES, "published", "instrument", 11)),
    ("nsynth_pitch", "NSynth: 128 pitches",
     Downstream("nsynth", "classification", _CLASSES, "published", "pitch", 128)),
    ("vocalset_technique", "VocalSet: 10 singing techniques",
     Downstream("vocalset", "classification", _CLASSES, "published singers", "technique", 10)),
    ("vocalset_singer", "VocalSet: 20 singers",
     Downstream("vocalset", "classification", _CLASSES, "recordings of each 12:8:5", "singer", 20)),
    ("mtg_genre", "MTG-Jamendo: 87 genres",
     Downstream("mtg_jamendo", "tagging", _TAGS, _JAMENDO, "genre", 87)),
    ("mtg_instrument", "MTG-Jamendo: 40 instruments",
     Downstream("mtg_jamendo", "tagging", _TAGS, _JAMENDO, "instrument", 40)),
    ("mtg_moodtheme", "MTG-Jamendo: 56 moods and themes",
     Downstream("mtg_jamendo", "tagging", _TAGS, _JAMENDO, "moodtheme", 56)),
    ("mtg_top50", "MTG-Jamendo: 50 tags",
     Downstream("mtg_jamendo", "tagging", _TAGS, _JAMENDO, "top50", 50)),
)  # fmt: skip
MARBLE_TASKS = tuple(name for name, _, _ in _MARBLE)
"""The thirteen tasks that music2vec and musicHuBERT are judged on (arXiv:2307.05161)."""

for _name, _summary, _task in _MARBLE:
    downstream.register(_name, paper=MARBLE, summary=_summary)(_task)

downstream.register("synthetic_beat", summary="The embedded corpus: its beats, frame by frame")(
    Downstream("synthetic", BEATS, ("f1_20ms",), "that of the corpus", beats=synthetic_beats)
)
