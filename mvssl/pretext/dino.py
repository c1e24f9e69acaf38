"""DINO."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from mvssl.distributed import BatchNorm, mean
from mvssl.functional import dino
from mvssl.pretext.base import Pretext, PretextOutput, forward_views, register_pretext
from mvssl.pretext.ema import MovingAverage
from mvssl.pretext.heads import Prototypes, UnitLength, mlp
from mvssl.pretext.health import prototype_usage
from mvssl.pretext.presets import Preset, presets


@register_pretext("dino", paper="arXiv:2104.14294")
class DINO(Pretext):
    """Predicts a slowly moving teacher's distribution over prototypes from another view.

    The teacher's running mean moves in each forward pass in training mode, as batch norms do. The
    authors' code also keeps the prototypes fixed for the first epoch; warming up the learning rate serves
    here.

    Args:
        encoder: Encoder to train; the teacher starts as a copy of it.
        hidden_dim: Size of the two hidden layers of the projector; the paper uses 2048.
        projection_dim: Size of projections; the paper uses 256. The more dimensions, the smaller are the
            cosines with prototypes that have not moved yet, and the vaguer the teacher.
        prototypes: Size of the distributions; the paper uses 65 536, deezer2024 4096.
        head: ``"unit"`` is the paper's: GELU without batch norm, projections and prototypes of unit length.
            ``"plain"`` is that of deezer2024: Linear–BatchNorm–ReLU blocks and a linear layer.
        projection_norm: Whether a batch norm stands before the unit length, as in
            :class:`~mvssl.pretext.BYOL`; neither in the paper nor in deezer2024. Without it, in runs of some
            hundred steps, projections are so alike that a centred teacher prefers no prototype.
        momentum: Initial decay of the teacher, see :class:`mvssl.pretext.ema.MovingAverage`. The paper
            uses 0.996, and so does deezer2024: too slow for some hundred steps.
        student_temperature: Divides the student's scores; the paper uses 0.1.
        teacher_temperature: Divides the teacher's scores after the warm-up; the paper uses 0.07, deezer2024
            0.04.
        first_teacher_temperature: The same at the beginning; the paper uses 0.04, deezer2024 0.02.
        warmup: Share of the run in which the one becomes the other, linearly. The paper takes 30 epochs of
            100 and more, deezer2024 10 epochs of an unknown number.
        center_momentum: Decay of the running mean of the teacher's scores; the paper uses 0.9.
        global_views: How many views, from the first, the teacher sees; two in the paper. Further ones,
            such as short crops, are for the student only.
        preset: Whose defaults, see :data:`mvssl.pretext.presets.Preset`.

    Raises:
        ValueError: If a temperature or size is not positive, a momentum is outside [0, 1], the teacher sees
            fewer than two views, or a name is unknown.
    """

    learning_rate = 1e-3
    paper_views = (
        "two large crops of an image, and several small ones that only the student sees; BYOL's colour "
        "jitter, blur and solarisation"
    )

    center: Tensor
    temperature: Tensor

    @presets(
        deezer2024={
            "projection_dim": 256, "prototypes": 4096, "head": "plain", "projection_norm": False,
            "momentum": 0.996, "teacher_temperature": 0.04, "first_teacher_temperature": 0.02,
        }
    )  # fmt: skip
    def __init__(
        self,
        encoder: nn.Module,
        hidden_dim: int = 1024,
        projection_dim: int = 64,
        prototypes: int = 1024,
        head: Literal["unit", "plain"] = "unit",
        projection_norm: bool = True,
        momentum: float = 0.99,
        student_temperature: float = 0.1,
        teacher_temperature: float = 0.07,
        first_teacher_temperature: float = 0.04,
        warmup: float = 0.3,
        center_momentum: float = 0.9,
        global_views: int = 2,
        *,
        preset: Preset = "paper",
    ) -> None:
        super().__init__(encoder)
        if min(student_temperature, teacher_temperature, first_teacher_temperature) <= 0:
            raise ValueError(
                f"student_temperature={student_temperature}, teacher_temperature={teacher_temperature} and "
                f"first_teacher_temperature={first_teacher_temperature} must be positive"
            )
        if not (0 <= warmup <= 1 and 0 <= center_momentum <= 1):
            raise ValueError(f"warmup={warmup} and center_momentum={center_momentum} must lie in [0, 1]")
        if global_views < 2:
            raise ValueError(f"global_views={global_views}: the teacher must see at least two")
        if head not in _HEADS:
            raise ValueError(f"head={head!r}: use {' or '.join(map(repr, _HEADS))}")
        self.student_temperature, self.global_views = student_temperature, global_views
        self.temperatures, self.warmup = (first_teacher_temperature, teacher_temperature), warmup
        self.center_momentum = center_momentum
        norm = [BatchNorm(projection_dim, affine=False)] if projection_norm else []
        layers = _HEADS[head]([self.embed_dim, hidden_dim, hidden_dim, projection_dim])
        self.projector = nn.Sequential(*layers, *norm, *([UnitLength()] if head == "unit" else []))
        self.prototypes = Prototypes(projection_dim, prototypes, weight_norm=head == "unit")
        self.teacher = MovingAverage(encoder, self.projector, self.prototypes, momentum=momentum)
        self.register_buffer("center", torch.zeros(prototypes))
        self.register_buffer("temperature", torch.tensor(first_teacher_temperature))

    def from_embeddings(self, embeddings: Sequence[Tensor], views: Sequence[Tensor]) -> PretextOutput:
        projections = forward_views(self.projector, embeddings)
        students = [self.prototypes(z) for z in projections]
        teachers = forward_views(self.teacher, views[: self.global_views])
        loss = dino(students, teachers, self.center, self.student_temperature, self.temperature)
        loss, score = mean([loss, torch.stack(teachers).mean((0, 1))], rows=len(views[0]))
        if self.training:
            self.center.lerp_(score, 1 - self.center_momentum)
        terms = prototype_usage(students[: self.global_views], self.student_temperature)
        return PretextOutput(loss, terms, embeddings, projections)

    def after_step(self, step: int = 0, total_steps: int | None = None) -> None:
        """Moves the teacher towards the student, and its temperature through the warm-up."""
        online = (self.encoder, self.projector, self.prototypes)
        self.teacher.update(*online, step=step, total_steps=total_steps)
        if total_steps:
            first, last = self.temperatures
            done = min((step + 1) / max(self.warmup * total_steps, 1.0), 1.0)
            self.temperature.fill_(first + (last - first) * done)


def _unit_head(sizes: Sequence[int]) -> nn.Sequential:
    """The paper's up to the unit length, with its initial weights."""
    layers = mlp(sizes, batch_norm=False, hidden_bias=True, activation=nn.GELU)
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
    return layers


def _plain_head(sizes: Sequence[int]) -> nn.Sequential:
    """Every layer a hidden one: what follows are the prototypes."""
    return nn.Sequential(*list(mlp([*sizes, 1]))[:-1])


_HEADS = {"unit": _unit_head, "plain": _plain_head}
