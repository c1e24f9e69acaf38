"""SupCon."""

from collections.abc import Sequence

from torch import Tensor, nn

from mvssl.distributed import gather
from mvssl.functional import sup_con
from mvssl.pretext.base import PretextOutput, forward_views, register_pretext
from mvssl.pretext.simclr import SimCLR


@register_pretext("supcon", paper="arXiv:2004.11362")
class SupCon(SimCLR):
    """SimCLR in which tracks of a group (artist, album, playlist) are positives of each other.

    How much groups count depends on how often two tracks of one meet in a batch: with 100 equal groups and
    batches of 96, six tracks in ten find another of their group.

    Args:
        encoder: Encoder to train.
        hidden_dim: Size of the hidden layer of the projector; ``None`` takes the size of the embedding, as
            the paper does.
        projection_dim: Size of the projection; the paper uses 128.
        temperature: Divides the cosine similarities; the paper's best is 0.1.

    Raises:
        ValueError: If the temperature is not positive.
    """

    needs_groups = True
    paper_views = "two crops of an image, by AutoAugment or by SimCLR's flip, colour jitter and greyscale"

    def __init__(
        self,
        encoder: nn.Module,
        hidden_dim: int | None = None,
        projection_dim: int = 128,
        temperature: float = 0.1,
    ) -> None:
        super().__init__(encoder, hidden_dim, projection_dim, temperature)

    def from_embeddings(
        self, embeddings: Sequence[Tensor], views: Sequence[Tensor], groups: Tensor | None = None
    ) -> PretextOutput:
        """Computes the loss; without groups each track is alone.

        Args:
            embeddings: Encoder outputs (batch, embed_dim), one per view.
            views: What they were made of.
            groups: (batch,) int64, see :func:`mvssl.functional.sup_con`.
        """
        projections = forward_views(self.projector, embeddings)
        everyones = None if groups is None else gather([groups])[0]
        loss = sup_con(gather(projections), everyones, self.temperature)
        return PretextOutput(loss, {}, embeddings, projections)
