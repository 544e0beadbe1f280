"""The head, the sizes of students, and how chips are normalised."""

import math

import pytest
import torch

from assay.papers.vision.instageo.method import (
    PRITHVI,
    EncoderShape,
    SegmentationModel,
    UpsampleSegHead,
    channel_statistics,
    count_blocks,
    count_encoder,
    count_macs,
    count_parameters,
    to_steps,
)

SMALL = EncoderShape(dim=32, depth=2, heads=4, patch_size=4, image_size=16)


@pytest.mark.parametrize(("frames", "millions"), [(1, 5.3), (3, 47.6)])
def test_the_head_of_v1_has_the_size_of_the_paper(frames, millions):
    with torch.device("meta"):
        head = UpsampleSegHead(768, frames, 13)
    assert count_parameters(head) / 1e6 == pytest.approx(millions, abs=0.06)


@pytest.mark.parametrize(
    ("name", "frames", "depth", "times"),
    [("v1-100m", 1, 1, 6.75), ("v1-100m", 3, 1, 2.4), ("v2-300m", 1, 2, 8.7), ("v2-300m", 1, 3, 6.4)],
)
def test_students_are_as_much_smaller_as_the_formulas_say(name, frames, depth, times):
    dim = PRITHVI[name]["dim"]
    with torch.device("meta"):
        head = count_parameters(UpsampleSegHead(dim, frames, 13))
    shape = EncoderShape.prithvi(name, frames)
    small = EncoderShape(**{**vars(shape), "depth": depth})
    ratio = (count_encoder(shape) + head) / (count_encoder(small) + head)
    assert ratio == pytest.approx(times, rel=0.02)


def test_heads_end_at_the_size_of_the_pixels():
    torch.manual_seed(0)
    for patch, blocks, rows, pixels in ((16, 4, 3, 48), (8, 3, 4, 32), (14, 4, 16, 224)):
        head = UpsampleSegHead(32, 2, 5, blocks, patch).eval()
        assert head(torch.rand(1, 2 * rows**2, 32), rows).shape == (1, 5, pixels, pixels)


def test_a_projection_takes_the_dates_out_of_the_heads_size():
    narrow, wide, single = (
        count_parameters(UpsampleSegHead(64, frames, 5, projection=small))
        for frames, small in ((3, True), (3, False), (1, False))
    )
    assert narrow == single + 3 * 64 * 64 + 64
    assert wide > 4 * narrow


def test_channels_of_the_head_are_width_times_date():
    head = UpsampleSegHead(2, 3, 2, blocks=1)
    seen = []
    head.up[0].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    tokens = torch.arange(2 * 3 * 4.0).reshape(1, 12, 2)  # date, row, column; width 2
    head(tokens, 2)
    assert seen[0].shape == (1, 6, 2, 2)
    assert seen[0][0, 0].flatten().tolist() == tokens[0, :4, 0].tolist()
    assert seen[0][0, 1 * 3 + 2].flatten().tolist() == tokens[0, 8:, 1].tolist()


def test_multiply_adds_follow_the_formula():
    def macs(depth):
        model = SegmentationModel(EncoderShape(**{**vars(SMALL), "depth": depth}), 3)
        return count_macs(model, torch.rand(2, 6, 1, 16, 16))

    assert macs(3) - macs(1) == count_blocks(tokens=17, dim=32, depth=2)


def test_bands_come_in_time_major_order():
    chip = torch.arange(6.0)[:, None, None].expand(6, 2, 2).numpy()  # three dates of two bands
    steps = to_steps(chip, 3)
    for date in range(3):
        for band in range(2):
            assert (steps[band, date] == date * 2 + band).all()
    with pytest.raises(ValueError, match=r"6 bands cannot have 4 dates"):
        to_steps(chip, 4)


def test_deviation_is_the_root_of_the_mean_variance():
    chips = torch.tensor([[[0.0, 2.0]], [[10.0, 14.0]]])[:, :, None, None]  # two chips, one band
    mean, deviation = channel_statistics(chips)
    assert mean.tolist() == [6.5]
    assert deviation.tolist() == pytest.approx([math.sqrt((1 + 4) / 2)])
    mean, deviation = channel_statistics(chips, 0.0)  # 0 is no data
    assert mean.tolist() == [7.0]
