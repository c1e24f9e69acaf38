"""SwAV."""

from collections.abc import Sequence

from torch import Tensor, nn

from mvssl.distributed import gather
from mvssl.functional import swav
from mvssl.pretext.base import Pretext, PretextOutput, forward_views, register_pretext
from mvssl.pretext.heads import Prototypes, UnitLength, mlp
from mvssl.pretext.health import prototype_usage
from mvssl.pretext.queue import Queue


@register_pretext("swav", paper="arXiv:2006.09882")
class SwAV(Pretext):
    """Predicts the cluster of a view from another view; clusters share a batch equally (Sinkhorn).

    The authors' code also keeps the prototypes fixed for the first epoch; warming up the learning rate
    serves here.

    Args:
        encoder: Encoder to train.
        hidden_dim: Size of the hidden layer of the projector; the paper uses 2048.
        projection_dim: Size of projections; 128 is the paper's.
        prototypes: Number of clusters; the paper uses 3000 for batches of 4096. Much more than the batch
            and its queue hold cannot be shared equally.
        temperature: Divides the scores of predictions; 0.1 is the paper's.
        epsilon: Smoothness of the assignment; the paper uses 0.05. Projections of the first steps are so
            alike that codes are then all the same, and stay it: in runs of some hundred steps SwAV collapses.
        iterations: Of Sinkhorn–Knopp; 3 is the paper's.
        code_views: How many views, from the first, have codes that the other views predict: the paper's
            two. Further ones, such as short crops, only predict.
        queue_size: Earlier projections per view with codes that take part in the assignment, once there
            are so many; the paper uses 3840 with batches of 256, and none with large ones.

    Raises:
        ValueError: If a number is not positive (the queue's may be zero).
    """

    learning_rate = 1e-3
    paper_views = (
        "two large crops of an image, and several small ones that only predict; SimCLR's flip, colour "
        "jitter, greyscale and blur"
    )

    def __init__(
        self,
        encoder: nn.Module,
        hidden_dim: int = 1024,
        projection_dim: int = 128,
        prototypes: int = 128,
        temperature: float = 0.1,
        epsilon: float = 0.02,
        iterations: int = 3,
        code_views: int = 2,
        queue_size: int = 0,
    ) -> None:
        super().__init__(encoder)
        if min(temperature, epsilon, iterations, code_views) <= 0:
            raise ValueError(
                f"temperature={temperature}, epsilon={epsilon}, iterations={iterations} and "
                f"code_views={code_views} must be positive"
            )
        self.temperature, self.epsilon, self.iterations = temperature, epsilon, iterations
        self.code_views = code_views
        self.projector = nn.Sequential(*mlp([self.embed_dim, hidden_dim, projection_dim]), UnitLength())
        self.prototypes = Prototypes(projection_dim, prototypes)
        self.prototypes.to_unit_length()
        self.queue = Queue(queue_size, projection_dim, lanes=code_views)

    def from_embeddings(self, embeddings: Sequence[Tensor], views: Sequence[Tensor]) -> PretextOutput:
        projections = forward_views(self.projector, embeddings)
        whole = gather(projections)
        scores = [self.prototypes(z) for z in whole]
        codes = min(self.code_views, len(embeddings))
        loss = swav(
            scores, codes, self._queued_scores(codes), self.temperature, self.epsilon, self.iterations
        )
        self.queue.push(whole[:codes])
        terms = prototype_usage(scores[:codes], self.temperature)
        return PretextOutput(loss, terms, embeddings, projections)

    def _queued_scores(self, codes: int) -> list[Tensor]:
        """Scores of what is in the queue, by today's prototypes; none before it is full."""
        queued = self.queue.full()
        return [] if queued is None else [self.prototypes(view).detach() for view in queued[:codes]]

    def after_step(self, step: int = 0, total_steps: int | None = None) -> None:
        """Puts the prototypes back on the unit sphere."""
        self.prototypes.to_unit_length()
