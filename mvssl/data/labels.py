"""What a corpus says of its tracks, as columns of targets: tags, one class each, a key, or numbers."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvssl.data.columns import Coded

TONICS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
KEYS: tuple[str, ...] = tuple(f"{tonic} {mode}" for mode in ("major", "minor") for tonic in TONICS)
"""Names of the 24 keys by number: major ones from C upwards, then minor ones."""

Label = tuple[str, ...] | str | dict[str, float]
"""Of one track: tags, a class, or numbers by name."""

_KEY = re.compile(r"([A-G])([#♯b♭]?)[\s:_-]*(major|maj|minor|min|m|)", re.IGNORECASE)
_TASKS = {tuple: "tagging", str: "classification", dict: "regression"}


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels of many tracks.

    Attributes:
        task: ``"tagging"``, ``"classification"``, ``"key"`` or ``"regression"``.
        vocabulary: Names of the columns.
        targets: (tracks, columns) bool, or float64 numbers.
    """

    task: str
    vocabulary: tuple[str, ...]
    targets: NDArray[Any]


def read_label(field: str, value: Any) -> Label:
    """One track's label as a manifest gives it.

    Raises:
        ValueError: If it is neither a list of strings, a string, a number nor an object of numbers.
    """
    if field == "tags" and not isinstance(value, list):
        raise ValueError(f"tags must be a list of strings, found {value!r}")
    if field == "label" and not (isinstance(value, str | int) and value != ""):
        raise ValueError(f"label must be a string, found {value!r}")
    if isinstance(value, list):
        if not all(isinstance(tag, str) and tag for tag in value):
            raise ValueError(f"{field} must be a list of strings, found {value!r}")
        return tuple(dict.fromkeys(value))
    if isinstance(value, dict):
        if not value or not all(_is_number(number) for number in value.values()):
            raise ValueError(f"{field} must be an object of finite numbers, found {value!r}")
        return {str(name): float(number) for name, number in value.items()}
    if _is_number(value) and field != "label":
        return {field: float(value)}
    if value == "" or (not isinstance(value, str) and field != "label"):
        raise ValueError(f"{field} must be tags, a class or a finite number, found {value!r}")
    return KEYS[key_number(value)] if field == "key" else str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def key_number(name: Any) -> int:
    """The number in :data:`KEYS` of a key: ``"Bb minor"``, ``"F# major"``, ``"A:min"``, ``"Ebm"``, ``"G"``.

    Raises:
        ValueError: If it is no such name.
    """
    found = _KEY.fullmatch(str(name).strip())
    if found is None:
        raise ValueError(f"key must be a name such as 'Bb minor', found {name!r}")
    tonic, sign, mode = found.groups()
    natural = TONICS.index(tonic.upper())
    shift = {"": 0, "#": 1, "♯": 1}.get(sign, -1)
    minor = mode == "m" or mode.lower().startswith("min")
    return (natural + shift) % 12 + 12 * minor


def gather(field: str, labels: Sequence[Label]) -> Labels:
    """Labels of one kind as columns.

    Args:
        field: Where they come from; ``"key"`` makes classes the 24 keys.
        labels: Of all tracks. Classes among tags are taken for tags.

    Raises:
        ValueError: If kinds are mixed otherwise, or tracks have different numbers; the message ends with the
            place of the first such track in brackets.
    """
    if all(isinstance(label, dict) for label in labels):
        return _numbers(labels)  # type: ignore[arg-type]
    for place, label in enumerate(labels):
        if isinstance(label, dict):
            raise ValueError(f"{field} is a number on some tracks, and not on all [{place}]")
    kinds = {_TASKS[type(label)] for label in labels}
    task = "tagging" if "tagging" in kinds else "key" if field == "key" else "classification"
    rows = [(label,) if isinstance(label, str) else tuple(label) for label in labels]
    vocabulary = KEYS if task == "key" else tuple(sorted({tag for row in rows for tag in row}))
    return Labels(task, vocabulary, _marked(rows, vocabulary))


def _marked(rows: Sequence[Sequence[str]], vocabulary: Sequence[str]) -> NDArray[np.bool_]:
    """(rows, columns): which names of the vocabulary stand in each row."""
    columns = {name: column for column, name in enumerate(vocabulary)}
    targets = np.zeros((len(rows), len(columns)), bool)
    for place, row in enumerate(rows):
        targets[place, [columns[name] for name in row]] = True
    return targets


def arrange(labels: Sequence[Label | None], task: str, vocabulary: Sequence[str] | None) -> Labels:
    """Labels as columns in a given order, such as the published one.

    Args:
        labels: Of all tracks; None makes an empty row.
        task: As in :class:`Labels`.
        vocabulary: Names of the columns; None for all labels in alphabetical order.

    Raises:
        ValueError: If the vocabulary lacks a label, or numbers are not those of the vocabulary.
    """
    if task == "regression":
        numbers = _numbers(labels)  # type: ignore[arg-type]
        if vocabulary is not None and numbers.vocabulary != tuple(vocabulary):
            raise ValueError(f"has the numbers {', '.join(numbers.vocabulary)}, not {', '.join(vocabulary)}")
        return numbers
    rows = [(label,) if isinstance(label, str) else tuple(label or ()) for label in labels]
    found = sorted({label for row in rows for label in row})
    columns = tuple(found if vocabulary is None else vocabulary)
    unknown = sorted(set(found) - set(columns))
    if unknown:
        raise ValueError(f"has labels that are not of its vocabulary: {', '.join(map(repr, unknown[:3]))}")
    return Labels(task, columns, _marked(rows, columns))


class Vocabulary:
    """The columns of labels that come one by one, more than memory holds.

    Args:
        field: As in :func:`gather`.

    Attributes:
        numbers: Names of numbers, in the order of the columns; None for other kinds of labels.
    """

    def __init__(self, field: str) -> None:
        self._field, self._kinds, self._tags = field, set[str](), set[str]()
        self.numbers: tuple[str, ...] | None = None

    def add(self, label: Label) -> None:
        """Takes notice of a label.

        Raises:
            ValueError: If it does not go with those before.
        """
        kind = _TASKS[type(label)]
        if (kind == "regression") != ("regression" in self._kinds) and self._kinds:
            raise ValueError(f"{self._field} is a number on some tracks, and not on all")
        self._kinds.add(kind)
        if isinstance(label, dict):
            self.numbers = self.numbers or tuple(label)
            if set(label) != set(self.numbers):
                raise ValueError(f"its numbers are {sorted(label)}, and others have {sorted(self.numbers)}")
        else:
            self._tags.update((label,) if isinstance(label, str) else label)

    @property
    def task(self) -> str:
        """As in :class:`Labels`."""
        if "tagging" in self._kinds or not self._kinds:
            return "tagging"
        return "key" if self._field == "key" else next(iter(self._kinds))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        if self.numbers is not None:
            return self.numbers
        return KEYS if self.task == "key" else tuple(sorted(self._tags))

    def targets(self, labels: Sequence[Label | list[str]]) -> NDArray[Any]:
        """Some labels as columns, as in :class:`Labels`."""
        if self.numbers is not None:
            rows = [label for label in labels if isinstance(label, dict)]
            return np.array([[row[name] for name in self.numbers] for row in rows])
        return _marked([(label,) if isinstance(label, str) else tuple(label) for label in labels], self.names)


def _numbers(labels: Sequence[Mapping[str, float]]) -> Labels:
    names = tuple(labels[0])
    for place, label in enumerate(labels):
        if set(label) != set(names):
            raise ValueError(f"its numbers are {sorted(label)}, and others have {sorted(names)} [{place}]")
    return Labels("regression", names, np.array([[label[name] for name in names] for label in labels]))


def constant_numbers(
    names: Sequence[str], targets: NDArray[np.float64], splits: NDArray[np.str_] | Coded
) -> dict[str, str]:
    """Numbers that do not vary in the training or the test split, with the reason."""
    return {
        name: f"the same on every track of the {side} split"
        for column, name in enumerate(names)
        for split, side in (("test", "test"), ("train", "training"))
        if (splits == split).any() and np.ptp(targets[splits == split, column]) == 0
    }
