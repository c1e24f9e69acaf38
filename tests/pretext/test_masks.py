import copy

import numpy as np
import pytest
import torch

from mvssl.pretext.masks import PatchMasking, content, to_patches


@pytest.fixture
def masking():
    torch.manual_seed(0)
    return PatchMasking((8, 4), 0.75)


def masks_of(masked):
    return [view.mask for view in masked]


def test_content_is_the_sum_of_the_bits_of_each_clip(views):
    mel = views[0]
    expected = [int(clip.numpy().view(np.int32).astype(np.int64).sum()) for clip in mel]
    assert content(mel).tolist() == expected
    assert len(set(expected)) == len(mel)
    assert torch.equal(content(mel.mT.contiguous().mT), content(mel))  # however it lies in memory
    nudged = mel.clone()
    nudged[3, 1, 2] = nudged[3, 1, 2].nextafter(torch.tensor(9.0))
    assert (content(nudged) != content(mel)).nonzero().tolist() == [[3]]


def test_masks_do_not_depend_on_the_order_of_the_batch(masking, encoder, views):
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    expected = [mask[order] for mask in masks_of(copy.deepcopy(masking)(encoder, views))]
    found = masks_of(masking(encoder, [view[order] for view in views]))
    assert all(map(torch.equal, found, expected))


def test_two_processes_draw_what_one_draws(masking, encoder, views):
    halves = [copy.deepcopy(masking), copy.deepcopy(masking)]
    for _ in range(3):
        whole = masks_of(masking(encoder, views))
        first = masks_of(halves[0](encoder, [view[:6] for view in views]))
        second = masks_of(halves[1](encoder, [view[6:] for view in views]))
        assert all(map(torch.equal, whole, map(torch.cat, zip(first, second, strict=True))))


def test_masks_change_from_step_to_step_and_view_to_view(masking, encoder, views):
    same = [views[0], views[0]]
    drawn = [mask for _ in range(4) for mask in masks_of(masking(encoder, same))]
    assert len({tuple(mask.flatten().tolist()) for mask in drawn}) == 8
    assert masking.step == 4


def test_evaluation_and_a_loaded_state_repeat_masks(masking, encoder, views):
    masking(encoder, views)
    state = copy.deepcopy(masking.state_dict())
    expected = masks_of(masking(encoder, views))
    masking.load_state_dict(state)
    masking.eval()
    for _ in range(2):
        assert all(map(torch.equal, masks_of(masking(encoder, views)), expected))
    assert masking.step == state["step"]


def test_audio_and_its_log_mel_have_one_mask(masking, encoder):
    audio = 0.1 * torch.randn(4, 8_000, generator=torch.Generator().manual_seed(0))
    masking.eval()
    (of_audio,), (of_mel,) = masking(encoder, [audio]), masking(encoder, [encoder.frontend(audio)])
    assert torch.equal(of_audio.mask, of_mel.mask)
    assert torch.equal(of_audio.image, of_mel.image)


def test_the_token_stands_where_the_mask_says(masking, encoder, views):
    view, short = masking(encoder, [views[0], views[1][:, :31, :21]])
    assert (view.grid, short.grid) == ((4, 6), (3, 5))
    assert short.image.shape == short.hidden.shape == (12, 24, 20)
    assert torch.equal(short.image, views[1][:, :24, :20])
    for clip in range(12):
        for row in range(4):
            for column in range(6):
                place = (clip, slice(8 * row, 8 * row + 8), slice(4 * column, 4 * column + 4))
                masked = view.mask[clip, 6 * row + column]
                assert torch.equal(view.hidden[place], masking.token if masked else view.image[place])
    assert (view.mask.sum(1) == 18).all()


@pytest.mark.parametrize("ratio", [0.01, 0.99])
def test_something_is_masked_and_something_is_not(encoder, views, ratio):
    (masked,) = PatchMasking((16, 24), ratio)(encoder, views[:1])
    assert (masked.mask.sum(1) == 1).all()


def test_masking_leaves_statistics_and_visible_values_alone(encoder, views):
    encoder.normalise = torch.nn.LayerNorm((32, 24), elementwise_affine=False)
    (masked,) = PatchMasking((16, 8), 0.5)(encoder, views[:1])
    torch.testing.assert_close(masked.image, encoder.normalise(views[0]))


def test_patches_are_cut_row_by_row():
    image = torch.arange(2 * 4 * 6).reshape(2, 4, 6)
    patches = to_patches(image, (2, 3))
    assert patches.shape == (2, 4, 6)
    assert patches[0].tolist() == [
        [0, 1, 2, 6, 7, 8], [3, 4, 5, 9, 10, 11], [12, 13, 14, 18, 19, 20], [15, 16, 17, 21, 22, 23]
    ]  # fmt: skip


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.5])
def test_the_ratio_must_lie_between_zero_and_one(ratio):
    with pytest.raises(ValueError, match=f"mask_ratio={ratio} must lie between 0 and 1"):
        PatchMasking((16, 8), ratio)


def test_impossible_patches_are_refused(encoder, views):
    with pytest.raises(ValueError, match=r"patch=\(0, 8\): .* all positive"):
        PatchMasking((0, 8), 0.5)
    with pytest.raises(ValueError, match="32 bins × 24 frames has fewer than two patches of 32 × 16"):
        PatchMasking((32, 16), 0.5)(encoder, views)
