"""Arguments as command lines and recipe files give them."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


def several(value: str | float | Sequence[T], kind: Callable[[Any], T], name: str) -> tuple[T, ...]:
    """A list given as one: ``"a,b"``, ``["a", "b"]`` or a single value.

    Raises:
        ValueError: If an item is not of the kind.
    """
    items: Sequence[Any] = (
        value.split(",") if isinstance(value, str) else value if isinstance(value, Sequence) else [value]
    )
    try:
        return tuple(kind(item) for item in items)
    except ValueError:
        raise ValueError(f"{name}={value!r}: give a comma-separated list of {kind.__name__} values") from None
