"""data2vec on raw audio, and music2vec."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mvssl.distributed import mean
from mvssl.functional import data2vec, layer_average
from mvssl.pretext.base import Pretext, PretextOutput, register_pretext
from mvssl.pretext.ema import LinearAverage
from mvssl.pretext.presets import PUBLISHED_RATE, MusicPreset, presets
from mvssl.pretext.spans import WAVE, SpanMasking, WaveEncoder, parted, together

LEAST_TARGET, LEAST_PREDICTION = 0.1, 0.01  # deviations below which a run has collapsed, as published
_LOOKS = 100  # steps from one look at them to the next


@register_pretext("data2vec", paper="arXiv:2202.03555")
class Data2Vec(Pretext):
    """Predicts what the upper layers of a slowly moving teacher make of masked frames (data2vec, music2vec).

    The teacher sees the clip unmasked. The target is the mean of what the feed-forward parts of its last
    layers add, each standardised over time. As published for audio, the teacher consists of the transformer
    only: convolutions, projection and positions are the student's own.

    Terms are ``target_std``, the deviation of targets from clip to clip, and ``prediction_std``, that of
    predictions over masked frames, averaged over channels; and ``constant``, the loss of the best prediction
    that knows no clip: at each place, the mean target of the batch. Published code looks at targets over all
    frames, and so takes those for healthy that tell nothing but their place. Each view is a task of its own,
    so one is enough; the embeddings in the output are those of masked views.

    Args:
        encoder: Encoder to train, a :class:`~mvssl.pretext.spans.WaveEncoder`.
        mask_prob: Share of the frames in spans; about 0.65 · 0.75 of all are masked, since spans overlap.
        span: Frames per span; by default 0.2 s of them, the published 10 of 20 ms.
        target_layers: How many of the last layers make the target; two thirds of them unless told, 8 of 12.
        momentum: Decay of the teacher at the first step. The published 0.999 is for some 100,000 steps.
        final_momentum: Decay at the end of a line.
        momentum_steps: Length of the line; None takes the whole run.
        guard_after: Steps after which a run that has collapsed ends with an error; None lets it go on.
        preset: ``"paper"``, with a teacher and a learning rate that suit short runs, or ``"music2vec"``.

    Raises:
        TypeError: If the encoder is none of raw audio in its parts.
        ValueError: If an argument is out of range; in use, if views are too short for spans.
        FloatingPointError: In :meth:`after_step`, if the run has collapsed.
    """

    learning_rate = 1e-3
    min_views = 1
    requires = WAVE
    chain = "crops"
    paper_views = "one crop of up to 20 s of audio; music2vec takes 5 s. The student sees it masked"

    @presets(
        music2vec={
            "target_layers": 8, "momentum": 0.999, "final_momentum": 0.9999, "momentum_steps": 30_000,
            "guard_after": 5_000,
        }
    )  # fmt: skip
    def __init__(
        self,
        encoder: nn.Module,
        mask_prob: float = 0.65,
        span: int | None = None,
        target_layers: int | None = None,
        momentum: float = 0.99,
        final_momentum: float = 0.999,
        momentum_steps: int | None = None,
        guard_after: int | None = 1_000,
        preset: MusicPreset = "paper",
    ) -> None:
        super().__init__(encoder)
        wave: Any = encoder
        depth = len(wave.layers)
        self.target_layers = max(1, round(depth * 2 / 3)) if target_layers is None else target_layers
        if not 1 <= self.target_layers <= depth:
            raise ValueError(f"target_layers={target_layers}: the encoder has {depth} layers")
        if guard_after is not None and guard_after < 0:
            raise ValueError(f"guard_after={guard_after} must not be negative")
        self.guard_after = guard_after
        if preset != "paper":
            self.learning_rate = PUBLISHED_RATE
        self.masking = SpanMasking(wave, mask_prob, span)
        self.predict = nn.Linear(self.embed_dim, self.embed_dim)
        self.teacher = LinearAverage(
            _Layers(wave), momentum=momentum, final=final_momentum, steps=momentum_steps
        )
        self.teacher.eval()
        self._deviations: dict[str, Tensor] = {}

    def train(self, mode: bool = True) -> "Data2Vec":
        super().train(mode)
        self.teacher.eval()  # its targets have no dropout
        return self

    def forward(self, views: Sequence[Tensor]) -> PretextOutput:
        batches = together(views, self.masking.keys(views))
        made = [self._pass(audio, keys) for audio, keys in batches]
        embeddings, predictions, losses, targets = zip(*made, strict=True)
        rows = len(views[0])
        moments = [moment for frames in (torch.cat(predictions), *targets) for moment in _moments(frames)]
        loss, *moments = mean([torch.stack(losses).mean(), *moments], rows)
        predicted, *aimed = map(_variance, moments[::2], moments[1::2])
        constant = torch.stack([variance.mean() for variance in aimed]).mean() * self.embed_dim**0.5
        self._deviations = {
            "target_std": torch.stack([_deviation(variance) for variance in aimed]).mean(),
            "prediction_std": _deviation(predicted),
        }
        terms = {**self._deviations, "constant": constant}
        whole = [p.unflatten(0, (len(e), -1)) for p, e in zip(predictions, embeddings, strict=True)]
        return PretextOutput(loss, terms, parted(embeddings, rows), parted(whole, rows))

    def _pass(self, audio: Tensor, keys: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Embeddings, predictions of masked frames, their loss, and the targets of all frames."""
        encoder: Any = self.encoder
        wave: WaveEncoder = encoder
        projected = wave.project(wave.features(audio))
        hidden, spans = self.masking(projected, keys)
        with torch.no_grad():
            layers = self.teacher(wave.place(projected.detach()))[-self.target_layers :]
        targets = layer_average(layers)
        states = wave.contextualise(hidden)
        predictions = self.predict(spans.of(states[-1]))
        return wave.pool(states), predictions, data2vec(predictions, spans.of(targets)), targets

    def after_step(self, step: int = 0, total_steps: int | None = None) -> None:
        """Moves the teacher towards the student, and looks whether the run has collapsed.

        Raises:
            FloatingPointError: If it has.
        """
        encoder: Any = self.encoder
        self.teacher.update(_Layers(encoder), step=step, total_steps=total_steps)
        if self.guard_after is not None and step >= self.guard_after and not step % _LOOKS:
            self._require_spread(step)

    def _require_spread(self, step: int) -> None:
        least = {"target_std": LEAST_TARGET, "prediction_std": LEAST_PREDICTION}
        for name, deviation in self._deviations.items():
            if deviation < least[name]:
                raise FloatingPointError(
                    f"collapsed by step {step}: {name} {deviation:.2g} is below {least[name]:g}, "
                    "frames are nearly alike. Start again with a lower learning rate, a higher momentum "
                    "or more masked frames"
                )


class _Layers(nn.Module):
    """The transformer of an encoder, behind its positions; gives what each feed-forward part adds."""

    def __init__(self, encoder: WaveEncoder) -> None:
        super().__init__()
        self.norm, self.layers = encoder.norm, encoder.layers

    def forward(self, placed: Tensor) -> list[Tensor]:
        x, added = self.norm(placed), []
        for layer in self.layers:
            x, fed = layer(x)
            added.append(fed)
        return added


@torch.no_grad()
def _moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Means of values and of squares over the first dimension."""
    with torch.autocast(values.device.type, enabled=False):
        return values.float().mean(0), values.float().square().mean(0)


def _variance(first: Tensor, second: Tensor) -> Tensor:
    return (second - first.square()).clamp_min(0)


def _deviation(variance: Tensor) -> Tensor:
    return (variance + 1e-6).sqrt().mean()
