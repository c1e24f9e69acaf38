from collections.abc import Iterator

import pytest
import torch

from mvssl.pretext import pretexts


@pytest.fixture
def views() -> list[torch.Tensor]:
    """Two views of twelve tracks: log-mels (12, 32, 24) that share what belongs to the track."""
    rng = torch.Generator().manual_seed(0)
    tracks = torch.randn(12, 32, 1, generator=rng)
    return [tracks + 0.5 * torch.randn(12, 32, 24, generator=rng) for _ in range(2)]


@pytest.fixture
def registered() -> Iterator[None]:
    """Forgets afterwards what a test registers."""
    before = dict(pretexts._entries)
    yield
    pretexts._entries.clear()
    pretexts._entries.update(before)
