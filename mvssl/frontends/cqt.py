"""Constant-Q transforms."""

import math

from torch import Tensor

from mvssl.frontends.base import Compression, Frontend, forget


class CQT(Frontend):
    """Log-amplitude of the constant-Q transform: bins a fraction of an octave apart, each as sharp as that.

    A transposition moves everything along the bins by one and the same distance. The window of a bin is the
    longer the lower it is, half a second at 33 Hz with twelve bins per octave: rhythm blurs in the bass. The
    transform is nnAudio's (https://arxiv.org/abs/1912.12055), in librosa's scaling, by which the power of a
    tone goes with the length of its window. Precision, gradients in silence and independence of the batch are
    as in :class:`~mvssl.frontends.LogMel`.

    Args:
        sample_rate: Sample rate of the audio in Hz.
        hop_length: Step between frames in samples; a clip has ``1 + samples // hop_length`` frames.
        n_bins: Number of bins.
        f_min: Centre of the lowest bin in Hz; C1 unless told.
        bins_per_octave: Bins per octave.
        floor_db: Power below this is raised to it.
        top_db: If given, a clip's values lie at most this far below the clip's own maximum.
        compression: As in LogMel.
        mean: Subtracted from the decibels.
        std: Divides what is left.

    Shape:
        (batch, samples) in [−1, 1] → (batch, n_bins, frames).

    Raises:
        ValueError: If the highest bin reaches above the Nyquist frequency, or a number is not positive.
    """

    def __init__(
        self,
        sample_rate: int = 16_000,
        hop_length: int = 512,
        n_bins: int = 84,
        f_min: float = 32.703,
        bins_per_octave: int = 12,
        *,
        floor_db: float = -70.0,
        top_db: float | None = None,
        compression: Compression = "decibels",
        mean: float = -20.0,
        std: float = 20.0,
    ) -> None:
        from nnAudio.features.cqt import CQT1992v2  # twice as fast on a CPU as the recursive CQT2010v2

        if min(n_bins, f_min, bins_per_octave) <= 0:
            raise ValueError(
                f"n_bins={n_bins}, f_min={f_min:g}, bins_per_octave={bins_per_octave} must be all positive"
            )
        highest = f_min * 2 ** ((n_bins - 0.5) / bins_per_octave)
        if highest > sample_rate / 2:
            raise ValueError(
                f"{n_bins} bins from {f_min:g} Hz on reach up to {highest:.0f} Hz, above the Nyquist "
                f"frequency {sample_rate / 2:g} Hz; lower n_bins or f_min"
            )
        config = {
            "sample_rate": sample_rate, "hop_length": hop_length, "n_bins": n_bins, "f_min": f_min,
            "bins_per_octave": bins_per_octave, "floor_db": floor_db, "top_db": top_db,
            "compression": compression, "mean": mean, "std": std,
        }  # fmt: skip
        transform = CQT1992v2(
            sample_rate, hop_length, f_min, n_bins=n_bins, bins_per_octave=bins_per_octave,
            output_format="Complex", verbose=False,
        )  # fmt: skip
        centres = transform.lenghts.new_tensor(transform.frequencies)
        super().__init__(config, centres, math.ceil(transform.lenghts.max()))
        self.transform = forget(transform)

    def bands(self, audio: Tensor) -> Tensor:
        spectra: Tensor = self.transform(audio)
        return spectra.square().sum(3).transpose(1, 2)

    @property
    def margin(self) -> int:
        return int(self.transform.kernel_width) // 2  # type: ignore[arg-type]
