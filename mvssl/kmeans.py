"""``mvssl data kmeans``: clusters of the frames of a corpus, for the pretext ``hubert``."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvssl.atomic import replacing, write_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mvssl.data import Corpus, Problem
    from mvssl.pretext.clusters import Features

FRAMES, PROGRESS = "frames.f32", "progress.json"  # of a call that has not ended
_AT_ONCE = 16  # pieces of audio
_DRAW = 0x4B  # tells what frames are chosen by from other random numbers


def kmeans(
    source: str,
    out: str,
    features: str = "mfcc",
    layer: int | None = None,
    clusters: int = 500,
    frames: int = 2_000_000,
    seconds: float = 5.0,
    sample_rate: int = 16_000,
    seed: int = 0,
) -> tuple[str, bool]:
    """Clusters the frames of a corpus, for the targets of hubert; killed, it goes on where it was.

    Frames of the training split, chosen at random, are gathered in a file, so that memory does not grow with
    the corpus. ``out`` then holds all that hubert needs (``--arguments {targets: OUT}``).
    The exit status is 1 if a track had to be left out.

    Args:
        source: Name of a corpus, folder or manifest.
        out: Folder for the clusters.
        features: mfcc (39 values, as published), mfcc60, chroma, cqt, or the folder of a run, with layer.
        layer: Index of the hidden state of that run's encoder, from 0.
        clusters: How many.
        frames: Most frames that are clustered; 2,000,000 of MFCC take 312 MB on disk.
        seconds: Length of the pieces that tracks are cut into; for a layer, that of the crops to come.
        sample_rate: In Hz, that of the encoder to come.
        seed: Of the frames that are chosen, and of the clustering.

    Returns:
        What to print, and whether no track was left out.

    Raises:
        CorpusError: If the corpus cannot be used.
        FileExistsError: If ``out`` holds other clusters, or the beginning of others.
        ValueError: If an argument is wrong, or the corpus has fewer frames than clusters are asked for.
    """
    from mvssl.data import open_corpus
    from mvssl.pretext.clusters import CENTROIDS, DESCRIPTION, Layer, find_centroids, make_features

    if min(clusters, frames, sample_rate) < 1 or seconds < 1:
        raise ValueError(
            f"clusters={clusters}, frames={frames}, sample_rate={sample_rate}, seconds={seconds:g}: all must "
            "be positive, and seconds at least 1"
        )
    corpus = open_corpus(source, progress=True)
    said = {
        "features": features, "layer": layer, "clusters": clusters, "frames": frames, "seconds": seconds,
        "sample_rate": sample_rate, "seed": seed, "corpus": corpus.fingerprint(),
    }  # fmt: skip
    folder = Path(out)
    _claim(folder, DESCRIPTION, said)
    if (folder / DESCRIPTION).is_file():
        return f"{folder} holds these clusters already", True
    made = make_features(features, sample_rate, layer)
    problems = _gather(corpus, made, folder, said)
    gathered = _mapped(folder / FRAMES, made.dim)
    centroids = find_centroids(gathered, clusters, seed)
    count = len(gathered)
    _save(folder / CENTROIDS, centroids)
    if isinstance(made, Layer):
        from mvssl.encoders import save_encoder

        save_encoder(made.encoder, folder)
    write_json(folder / DESCRIPTION, {**said, "rate": made.rate, "clustered": count})
    del gathered
    for name in (FRAMES, PROGRESS):
        (folder / name).unlink()
    done = f"{clusters} clusters of {count:,} frames, {made.rate:g} a second, {made.dim} values each: {out}"
    return "\n".join([done, *(f"left out {p.path}: {p.reason}" for p in problems)]), not problems


def _claim(folder: Path, description: str, said: dict[str, Any]) -> None:
    """Makes the folder, or finds that it is of a call with the same arguments."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (description, PROGRESS):
        if (folder / name).is_file():
            before = json.loads((folder / name).read_text(encoding="utf-8"))
            if changed := [key for key, value in said.items() if before.get(key) != value]:
                raise FileExistsError(
                    f"{folder} holds clusters with other settings ({', '.join(changed)}): choose another "
                    "--out, or delete it"
                )


def _gather(corpus: "Corpus", features: "Features", folder: Path, said: dict[str, Any]) -> list["Problem"]:
    """Appends chosen frames of track after track to a file; gives what could not be read."""
    from tqdm import tqdm

    from mvssl.data import Problem
    from mvssl.data.reader import AudioFileError
    from mvssl.device import default_device
    from mvssl.seeding import generator

    rows = corpus.indices("train")
    share = said["frames"] / max(1.0, float(corpus.seconds[rows].sum()) * features.rate)
    features.to(default_device())
    progress = {**said, "tracks": 0, "bytes": 0, "problems": []}
    if (folder / PROGRESS).is_file():
        progress = json.loads((folder / PROGRESS).read_text(encoding="utf-8"))
    with (folder / FRAMES).open("ab") as file:
        file.truncate(progress["bytes"])
        for number, row in enumerate(tqdm(rows.tolist(), desc="frames", unit="track", disable=None)):
            if number < progress["tracks"]:
                continue
            rng = generator(_DRAW, said["seed"], row)
            try:
                for found in _frames_of(corpus, row, features, said):
                    file.write(found[rng.random(len(found)) < share].tobytes())
            except AudioFileError as error:
                progress["problems"].append((error.path, error.reason))
            file.flush()
            progress.update(tracks=number + 1, bytes=file.tell())
            write_json(folder / PROGRESS, progress)
    return [Problem(path, reason) for path, reason in progress["problems"]]


def _frames_of(
    corpus: "Corpus", row: int, features: "Features", said: dict[str, Any]
) -> Iterator["NDArray[np.float32]"]:
    """Frames of some pieces of a track at a time, (frames, dim)."""
    import numpy as np
    import torch

    from mvssl.device import default_device
    from mvssl.pretext.clusters import collected

    with corpus.open(row) as reader:
        seconds = min(said["seconds"], reader.seconds)
        starts = [seconds * n for n in range(max(1, int(reader.seconds / seconds + 1e-6)))]
        for first in range(0, len(starts), _AT_ONCE):
            pieces = [reader.read(s, seconds, said["sample_rate"]) for s in starts[first : first + _AT_ONCE]]
            audio = torch.from_numpy(np.stack(pieces)).to(default_device())
            yield collected(features, [audio])


def _mapped(path: Path, dim: int) -> "NDArray[np.float32]":
    import numpy as np

    if not path.stat().st_size:
        return np.empty((0, dim), np.float32)
    return np.memmap(path, np.float32, "r").reshape(-1, dim)


def _save(path: Path, centroids: "NDArray[np.float32]") -> None:
    import torch
    from safetensors.torch import save_file

    with replacing(path) as draft:
        save_file({"centroids": torch.from_numpy(centroids)}, draft)
