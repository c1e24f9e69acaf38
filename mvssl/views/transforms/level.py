"""Level and shape of the waveform."""

from torch import Tensor

from mvssl.views.transforms.base import Params, Transform


class Polarity(Transform):
    """Flips the sign of the waveform. Front ends that discard phase do not hear it.

    Args:
        p: Probability of a flip; CLMR uses 0.8 (https://arxiv.org/abs/2103.09410).
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__(p)

    def transform(self, x: Tensor, params: Params) -> Tensor:
        return -x
