import numpy as np
import pytest
import torch
from drawn import always, keys

from mvssl.encoders.base import MeanVarianceNorm
from mvssl.frontends import LogMel
from mvssl.patches import draw_masks
from mvssl.views.transforms import FrequencyMask, PatchMask, TimeMask

MASKS = {
    "time": lambda **options: TimeMask((0.1, 0.3), **options),
    "frequency": lambda **options: FrequencyMask((2.0, 12.0), **options),
    "patch": lambda **options: PatchMask((8, 10), ratio=0.6, **options),
}
each_mask = pytest.mark.parametrize("name", MASKS)


@pytest.fixture
def mel(frontend, noise):
    """Log-mels (6, 40, 51) that rise along both axes, so that means differ."""
    return frontend(noise) + torch.linspace(-0.5, 0.5, 40)[:, None] + torch.linspace(0, 0.3, 51)


def masked(name, mel, frontend, **options):
    """What a mask makes of log-mels, and where it changed them."""
    transform = MASKS[name](**options)
    transform.bind(frontend)
    silent = MASKS[name](fill="silence")
    silent.bind(frontend)
    return transform(mel, keys(len(mel))), silent(mel, keys(len(mel))) == frontend.silence


def spans(params, row, size, unit, masks):
    """A row of True where the middle of a frame lies in a span, one by one."""
    hidden = np.zeros(size, bool)
    for suffix in ["", "_2", "_3"][:masks]:
        width = float(params["width" + suffix][row]) * unit
        start = float(params["place" + suffix][row]) * (size - width)
        for middle in range(size):
            hidden[middle] |= start <= middle + 0.5 < start + width
    return hidden


@pytest.mark.parametrize("masks", [1, 2, 3])
@pytest.mark.parametrize("kind", [TimeMask, FrequencyMask])
def test_spans_equal_a_naive_loop(kind, masks, frontend, mel):
    time = kind is TimeMask
    transform = kind((0.0, 0.3) if time else (0.0, 12.0), masks, "silence")
    transform.bind(frontend)
    y, params = transform(mel, keys(6), return_params=True)
    assert params.keys() == {"applied", *transform.ranges}
    for row in range(6):
        hidden = spans(params, row, *((51, 51) if time else (40, 1)), masks)
        assert 0 < hidden.sum() < len(hidden)
        expected = mel[row].clone()
        expected[(slice(None), hidden) if time else hidden] = frontend.silence
        assert torch.equal(y[row], expected)


@each_mask
def test_the_mean_is_that_of_what_is_visible(name, frontend, mel):
    y, hidden = masked(name, mel, frontend)
    assert torch.equal(y[~hidden], mel[~hidden])
    for row in range(6):
        visible = ~hidden[row]
        for bin in range(40):
            shown = mel[row, bin][visible[bin]] if name == "time" else mel[row][visible]
            expected = shown.double().mean().float().expand(int(hidden[row, bin].sum()))
            torch.testing.assert_close(y[row, bin][hidden[row, bin]], expected, atol=1e-5, rtol=0)


@each_mask
@pytest.mark.parametrize("fill", ["mean", "silence", "zero"])
def test_nothing_of_what_is_masked_is_given_away(name, fill, frontend, mel):
    y, hidden = masked(name, mel, frontend, fill=fill)
    other, _ = masked(name, torch.where(hidden, torch.rand_like(mel), mel), frontend, fill=fill)
    torch.testing.assert_close(y, other, atol=1e-6, rtol=0)
    if fill != "mean":
        assert (y[hidden] == (0.0 if fill == "zero" else frontend.silence)).all()


def test_masked_time_is_nothing_to_an_encoder_that_normalises(frontend, mel):
    y, hidden = masked("time", mel, frontend)
    normalised = MeanVarianceNorm()(y)
    assert normalised[hidden].abs().max() < 1e-4
    for row in range(6):
        frames = ~hidden[row, 0]
        alone, found = MeanVarianceNorm()(mel[row : row + 1, :, frames])[0], normalised[row][:, frames]
        ratio = (found * alone).sum() / alone.square().sum()
        torch.testing.assert_close(found, ratio * alone, atol=1e-4, rtol=0)


def test_a_mask_covers_its_width_on_average(frontend):
    mel = torch.zeros(3_000, 40, 51)
    for transform, expected in (
        (TimeMask((0.0, 0.4), masks=1, fill="silence"), 0.2 * 51 * 40),
        (FrequencyMask((0.0, 15.0), masks=1, fill="silence"), 7.5 * 51),
    ):
        transform.bind(frontend)
        hidden = transform(mel, keys(3_000)) != 0
        assert hidden.sum() / 3_000 == pytest.approx(expected, rel=0.04)
        assert hidden[:, 0].any()
        assert hidden[:, -1].any()
        assert hidden[:, :, 0].any()
        assert hidden[:, :, -1].any()


def test_masks_without_width_change_nothing(frontend, mel):
    for transform in (always(TimeMask, width=0.0), always(FrequencyMask, width=0.0)):
        transform.bind(frontend)
        assert torch.equal(transform(mel, keys(6)), mel)


@pytest.mark.parametrize("patch", [(16, 16), (40, 2), (8, 10), (7, 13), (1, 1)])
@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.9, 0.999])
def test_patches_equal_a_naive_loop_with_the_same_share_in_every_row(patch, ratio, frontend):
    mel = torch.rand(6, 40, 51)
    transform = PatchMask(patch, ratio, "silence")
    transform.bind(frontend)
    y, params = transform(mel, keys(6), return_params=True)
    rows, columns = 40 // patch[0], 51 // patch[1]
    count = min(max(round(ratio * rows * columns), 1), rows * columns - 1)
    drawn = draw_masks(params["pattern"].view(torch.int32).long(), rows * columns, count)
    assert (drawn.sum(1) == count).all()
    for row in range(6):
        expected = mel[row].clone()
        for place in drawn[row].nonzero().flatten().tolist():
            i, j = divmod(place, columns)
            bottom, left = i * patch[0], j * patch[1]
            # The last patches take what is left.
            top = 40 if i == rows - 1 else bottom + patch[0]
            right = 51 if j == columns - 1 else left + patch[1]
            expected[bottom:top, left:right] = frontend.silence
        assert torch.equal(y[row], expected)


def test_two_views_show_other_patches(frontend):
    transform = PatchMask(fill="silence")
    transform.bind(frontend)
    mel = torch.zeros(500, 64, 96)
    first, second = (transform(mel, keys(500, seed)) == 0 for seed in (0, 1))
    assert (first.flatten(1).sum(1) == 2 * 16 * 16).all()  # 10 % of 24 patches
    both = (first & second).sum() / first.sum()
    assert both == pytest.approx(2 / 24, abs=0.03)


@each_mask
def test_dead_bins_are_neither_masked_nor_counted(name, noise):
    front_end = LogMel(n_mels=128, f_max=11_025.0, allow_dead_bins=True)
    dead = front_end.centre_frequencies == 0
    mel = front_end(noise)
    y, _ = masked(name, mel, front_end)
    assert torch.equal(y[:, dead], mel[:, dead])
    changed = y != mel
    assert changed.flatten(1).any(1).all()
    if name != "time":
        for row in range(6):
            visible = ~changed[row] & ~dead[:, None]
            assert y[row][changed[row]].mean() == pytest.approx(mel[row][visible].mean().item(), abs=1e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TimeMask(fill="median"), "fill='median': use one of 'mean', 'silence', 'zero'"),
        (lambda: TimeMask(masks=0), "TimeMask: masks=0 must be at least 1"),
        (lambda: TimeMask((-0.1, 0.1)), r"TimeMask: width=\(-0.1, 0.1\) must not be negative"),
        (lambda: TimeMask((0.0, 0.5), masks=2), "2 masks of up to 0.5 of a clip could cover it all"),
        (lambda: FrequencyMask((-1.0, 1.0)), "must not be negative"),
        (lambda: PatchMask(ratio=1.0), "the ratio lie between 0 and 1"),
        (lambda: PatchMask((0, 4)), "sides must be positive"),
    ],
)
def test_impossible_masks_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_log_mels_that_are_too_small_are_refused(frontend):
    bands, patches = FrequencyMask(), PatchMask((40, 30))
    for transform, message in (
        (bands, "FrequencyMask: 2 masks of up to 15 bins could cover all 30"),
        (patches, "PatchMask: a log-mel of 30 bins × 30 frames has fewer than two patches of 40 × 30"),
    ):
        transform.bind(frontend)
        with pytest.raises(ValueError, match=message):
            transform(torch.zeros(2, 30, 30), keys(2))
