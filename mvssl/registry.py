"""One kind of registry for everything that has a name: pretexts, encoders, view chains, corpora."""

import pkgutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Entry(Generic[T]):
    """What is known about one registered name.

    Attributes:
        name: What users type.
        target: The registered class or function.
        paper: Where it comes from (arXiv number, DOI or URL); empty when it is our own.
        summary: One line of description.
    """

    name: str
    target: T
    paper: str
    summary: str


class Registry(Generic[T]):
    """Maps names to described classes or functions.

    Args:
        kind: What is registered, in the singular, as error messages say it.
        group: Entry-point group in which installed packages announce more of them. Each entry point
            names a module or object whose import registers it; it is loaded on the first look-up. One
            that cannot be loaded is skipped with a warning.
        package: Name of a package of ours whose modules register what they hold; they are imported on the
            first look-up.
    """

    def __init__(self, kind: str, group: str | None = None, package: str | None = None) -> None:
        self.kind = kind
        self._group = group
        self._package = package
        self._loaded = False
        self._entries: dict[str, Entry[T]] = {}

    def register(self, name: str, *, paper: str = "", summary: str = "") -> Callable[[T], T]:
        """Decorator that registers a class or function under ``name``.

        Without ``summary`` the first line of the docstring is used.

        Raises:
            ValueError: If the name is taken: silently replacing an entry would change what old
                recipes mean.
        """

        def add(target: T) -> T:
            if name in self._entries:
                raise ValueError(
                    f"{self.kind} {name!r} is already registered by "
                    f"{self._entries[name].target!r}; choose another name"
                )
            doc = (getattr(target, "__doc__", None) or "").strip()
            line = summary or (doc.splitlines()[0] if doc else "")
            self._entries[name] = Entry(name, target, paper, line)
            return target

        return add

    def adopt(self, entry: Entry[T]) -> None:
        """Adds an entry of another process; one that is there under its name stays."""
        self._load_plugins()
        self._entries.setdefault(entry.name, entry)

    def names(self, pattern: str = "*") -> list[str]:
        """Registered names that match a shell-style pattern, in the order of registration."""
        self._load_plugins()
        return [name for name in self._entries if fnmatchcase(name, pattern)]

    def entry(self, name: str) -> Entry[T]:
        """The entry of one name.

        Raises:
            ValueError: If there is no such name; close matches are suggested.
        """
        self._load_plugins()
        if name not in self._entries:
            close = get_close_matches(name, self._entries, n=3)
            did_you_mean = f"did you mean {' or '.join(map(repr, close))}?"
            hint = did_you_mean if close else f"known: {', '.join(self._entries)}"
            raise ValueError(f"no {self.kind} named {name!r}; {hint}")
        return self._entries[name]

    def create(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Calls the class or function registered under ``name``."""
        target: Any = self.entry(name).target
        return target(*args, **kwargs)

    def _load_plugins(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        if self._package is not None:
            for module in pkgutil.iter_modules(import_module(self._package).__path__):
                import_module(f"{self._package}.{module.name}")
        for point in entry_points(group=self._group) if self._group is not None else ():
            try:
                point.load()
            except Exception as error:  # whatever is wrong with one plugin, the rest stays usable
                warnings.warn(
                    f"cannot load the {self.kind} plugin {point.name!r} ({point.value}): {error!r}",
                    stacklevel=3,
                )
