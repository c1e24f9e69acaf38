"""Finding every file of a corpus that cannot be used."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from mvssl.atomic import write_text
from mvssl.data.corpus import Corpus, Problem, corpora
from mvssl.data.fetching import checksum
from mvssl.data.listing import CorpusError
from mvssl.data.named import NamedCorpus
from mvssl.data.opening import open_corpus, parted

RECORD = "mvssl-checksums.sha256"
"""Where recorded checksums are, in the folder of the corpus: lines as ``sha256sum -c`` reads them."""


@dataclass(frozen=True)
class Verification:
    """What was found in the files of a corpus.

    Attributes:
        corpus: Its usable part.
        bad: Files that are missing, cannot be decoded, or have another checksum.
        known: Tracks that are left out because the published corpus is at fault.
        compared: How many files were compared with a checksum.
    """

    corpus: Corpus
    bad: tuple[Problem, ...]
    known: tuple[Problem, ...]
    compared: int

    def __str__(self) -> str:
        lines = [f"{problem.path}: left out, it {problem.reason}" for problem in self.known]
        lines += [f"{problem.path}: {problem.reason}" for problem in self.bad]
        compared = f", {self.compared} compared with their checksums" if self.compared else ""
        counts = f"{len(self.bad)} bad files, {len(self.known)} known faults"
        lines.append(f"{self.corpus!r}: all decoded{compared}; {counts}")
        return "\n".join(lines)


def verify(source: str, record: bool = False, progress: bool = False) -> Verification:
    """Decodes every file of a corpus, and compares it with its checksum where one is known.

    Checksums are those that a corpus is published with, if it is, and those that were recorded before.

    Args:
        source: As for :func:`mvssl.data.open_corpus`: a name, a folder or a manifest.
        record: Whether to write the checksums of all good files beside them, for later.
        progress: Whether to show progress bars.

    Raises:
        CorpusError: If the corpus is not there, or not as it was published.
    """
    corpus = open_corpus(source, check="full", progress=progress)
    known = tuple(problem for problem in corpus.problems if problem.known)
    bad = [problem for problem in corpus.problems if not problem.known]
    expected = {**_published(source), **read_record(corpus.root / RECORD)}
    expected = {path: expected[path] for path in map(str, corpus.paths) if path in expected}
    for path, right in tqdm(expected.items(), "Comparing checksums", unit="file", disable=not progress):
        found = checksum(corpus.root / path, right)
        if found != right:
            bad.append(Problem(path, f"has the checksum {found} instead of {right}"))
    if record:
        write_record(corpus, {problem.path for problem in bad}, progress)
    return Verification(corpus, tuple(bad), known, len(expected))


def _published(source: str) -> Mapping[str, str]:
    """The checksums that a published corpus comes with."""
    name, root, _ = parted(source)
    target: object = corpora.entry(name).target if name in corpora.names() else None
    if isinstance(target, NamedCorpus) and target.checksums is not None:
        return target.checksums(target.place(root))
    return {}


def read_record(path: Path) -> Mapping[str, str]:
    """Recorded checksums by path.

    Raises:
        CorpusError: If a line is no checksum with a path.
    """
    sums = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines() if path.is_file() else (), 1):
        digest, _, name = line.partition("  ")
        if not name:
            raise CorpusError(f"{path}, line {number}: must be a SHA-256, two blanks and a path")
        sums[name] = f"sha256:{digest}"
    return sums


def write_record(corpus: Corpus, without: set[str], progress: bool = False) -> Path:
    """Records the checksums of the files of a corpus."""
    lines = []
    for row in tqdm(range(len(corpus)), "Recording checksums", unit="file", disable=not progress):
        name = str(corpus.paths[row])
        if name not in without:
            lines.append(f"{checksum(corpus.path(row), 'sha256:').partition(':')[2]}  {name}\n")
    path = corpus.root / RECORD
    write_text(path, "".join(lines))
    return path
