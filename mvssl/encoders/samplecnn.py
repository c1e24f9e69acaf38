"""SampleCNN: convolutions of the waveform itself."""

from itertools import pairwise

from torch import Tensor, nn

from mvssl.encoders.base import Encoder
from mvssl.frontends import Waveform

STRIDE = 3


class SampleCNN(Encoder):
    """Convolutions of three samples each, on raw audio, without a front end.

    The network of arXiv:1703.01789 as CLMR uses it (https://arxiv.org/abs/2103.09410): a convolution of
    stride 3, blocks of a convolution and a maximum over three, and a convolution of one step. With nine
    blocks 59,049 samples become one frame; of longer clips the mean over frames is taken. Layers are named as
    in CLMR's released weights.

    Args:
        channels: Of the first convolution, then of each block.
        embed_dim: Size of the embedding.
        sample_rate: Sample rate of the audio in Hz.

    Shape:
        Audio (batch, samples) → (batch, embed_dim).

    Raises:
        ValueError: If a number is not positive; in use, if a view is no audio, or shorter than the nominal
            length.
    """

    def __init__(
        self,
        channels: tuple[int, ...] = (128, 128, 128, 256, 256, 256, 256, 256, 256, 512),
        embed_dim: int = 512,
        sample_rate: int = 22_050,
    ) -> None:
        super().__init__()
        if not channels or min(*channels, embed_dim, sample_rate) < 1:
            raise ValueError(
                f"channels={list(channels)}, embed_dim={embed_dim}, sample_rate={sample_rate} must be all "
                "positive"
            )
        self.embed_dim, self.sample_rate = embed_dim, sample_rate
        self.config = {"channels": list(channels), "embed_dim": embed_dim, "sample_rate": sample_rate}
        self.frontend = Waveform(sample_rate)
        self.min_frames = STRIDE ** len(channels)
        self.seconds = self.min_frames / sample_rate
        self.sequential = nn.Sequential(
            nn.Sequential(*_layer(1, channels[0], stride=STRIDE, padding=0)),
            *(
                nn.Sequential(*_layer(before, after), nn.MaxPool1d(STRIDE))
                for before, after in pairwise(channels)
            ),
            nn.Sequential(*_layer(channels[-1], embed_dim)),
        )

    def forward(self, view: Tensor) -> Tensor:
        return self.frames(view).mean(1)

    def hidden_states(self, view: Tensor) -> tuple[Tensor, ...]:
        if view.ndim != 2 or view.shape[1] < self.min_frames:
            raise ValueError(
                f"SampleCNN takes audio (batch, samples) of at least {self.min_frames} samples, got shape "
                f"{tuple(view.shape)}"
            )
        states = []
        x = view.unsqueeze(1)
        for layer in self.sequential:
            x = layer(x)
            states.append(x.transpose(1, 2))
        return tuple(states)


def _layer(before: int, after: int, stride: int = 1, padding: int = 1) -> list[nn.Module]:
    convolution = nn.Conv1d(before, after, STRIDE, stride=stride, padding=padding)
    return [convolution, nn.BatchNorm1d(after), nn.ReLU(True)]
