"""CLMR."""

from torch import nn

from mvssl.pretext.base import register_pretext
from mvssl.pretext.simclr import SimCLR


@register_pretext("clmr", paper="arXiv:2103.09410")
class CLMR(SimCLR):
    """SimCLR as published for raw music: temperature 0.5 and a plain projector.

    The projector has one hidden layer as wide as the embedding, ReLU, and neither batch norm nor biases.
    The paper's encoder is a SampleCNN on 59,049 samples at 22,050 Hz; its optimiser is Adam at 3e-4 for
    batches below 96.

    Args:
        encoder: Encoder to train.
        projection_dim: Size of the projection; 64 in the second version of the paper, 128 in the first.
        temperature: Divides the cosine similarities; 0.5 is the paper's.

    Raises:
        ValueError: If the temperature or the size is not positive.
    """

    chain = "clmr"
    paper_views = (
        "two crops of 59,049 samples; polarity (p 0.8), noise (0.01), gain (0.3), low- or high-pass (0.8), "
        "delay (0.3), pitch shift (0.6), reverb (0.6)"
    )

    def __init__(self, encoder: nn.Module, projection_dim: int = 64, temperature: float = 0.5) -> None:
        super().__init__(
            encoder, projection_dim=projection_dim, temperature=temperature, batch_norm=False, last_bias=False
        )
