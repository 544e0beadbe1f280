"""Bags, sampling, survival, encoders, joint training and pictures of the attention."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from transformers import ResNetConfig, ResNetModel, ViTConfig, ViTModel

from assay.papers.vision.abmilx.method import (
    ABMIL,
    EndToEndMIL,
    HazardBins,
    MeanMIL,
    RandomCropFlip,
    RandomInstanceSampler,
    VisionEncoder,
    bag_cross_entropy,
    collate_bags,
    concordance_index,
    contact_sheet,
    discrete_hazard_nll,
    hazard_risk,
    heat_map,
)

# --- bags and sampling --------------------------------------------------------------------------


def test_bags_of_a_data_set_become_one_batch():
    items = [
        {"bag": torch.ones(2, 3), "label": 1, "bag_id": "a"},
        {"bag": [[2.0, 2.0, 2.0]], "label": 0, "bag_id": "b"},
    ]
    batch = collate_bags(items)
    assert batch.instances.shape == (2, 2, 3)
    assert batch.mask.tolist() == [[True, True], [True, False]]
    assert batch.labels.tolist() == [1, 0]
    assert batch.bag_ids == ("a", "b")
    with pytest.raises(ValueError, match="'c' has no label"):
        collate_bags([{"bag": torch.ones(1, 3), "label": None, "bag_id": "c"}])


def test_shares_of_magnifications_add_up_and_nothing_is_drawn_twice():
    sampler = RandomInstanceSampler(10, (0.75, 0.25))
    high, low = sampler((50, 20), torch.Generator().manual_seed(0))
    assert (len(high), len(low)) == (8, 2)  # the rest, and floor(2.5) as the authors' code
    assert len(set(high.tolist())) == 8
    assert RandomInstanceSampler(128, (0.9, 0.1)).counts == (116, 12)


def test_a_small_bag_is_taken_whole_and_filled_up():
    (rows,) = RandomInstanceSampler(8)((5,), torch.Generator().manual_seed(0))
    assert len(rows) == 8
    assert set(rows.tolist()) == set(range(5))


def test_every_instance_is_as_likely():
    generator = torch.Generator().manual_seed(0)
    sampler = RandomInstanceSampler(2)
    drawn = torch.cat([sampler((4,), generator)[0] for _ in range(2000)])
    assert (torch.bincount(drawn) / 2000 - 0.5).abs().max() < 0.05


@pytest.mark.parametrize("given", [{"size": 0}, {"size": 4, "shares": (0.5, 0.4)}, {"size": 4, "shares": ()}])
def test_shares_that_do_not_add_up_are_refused(given):
    with pytest.raises(ValueError, match="sum 1"):
        RandomInstanceSampler(**given)


def test_a_bag_without_a_magnification_is_refused():
    with pytest.raises(ValueError, match="magnifications"):
        RandomInstanceSampler(4)((3, 3))
    with pytest.raises(ValueError, match="empty magnification"):
        RandomInstanceSampler(4, (0.5, 0.5))((3, 0))


# --- survival -----------------------------------------------------------------------------------


def test_the_likelihood_is_that_by_hand():
    def loss(interval, censored):
        return discrete_hazard_nll(
            torch.zeros(1, 4), torch.tensor([interval]), torch.tensor([censored])
        ).item()

    assert loss(0, False) == pytest.approx(-math.log(0.5))
    assert loss(1, False) == pytest.approx(-math.log(0.25))
    assert loss(0, True) == pytest.approx(-math.log(0.5))
    assert loss(3, True) == pytest.approx(-4 * math.log(0.5))
    logits = torch.tensor([[0.3, -1.0, 2.0]])
    h = logits.sigmoid()[0]
    expected = -torch.log((1 - h[0]) * (1 - h[1]) * h[2]).item()
    assert discrete_hazard_nll(logits, torch.tensor([2]), torch.tensor([False])).item() == pytest.approx(
        expected
    )


def test_labels_outside_of_the_classes_are_refused():
    logits = torch.tensor([[0.0, 1.0, 2.0]])
    expected = -logits.log_softmax(dim=1)[0, 2]
    torch.testing.assert_close(bag_cross_entropy(logits, torch.tensor([2])), expected)
    for label in (-1, 3):
        with pytest.raises(ValueError, match=f"labels must be from 0 to 2, not {label}"):
            bag_cross_entropy(logits, torch.tensor([label]))


def test_intervals_outside_are_refused_and_extreme_logits_stay_finite():
    for interval in (-1, 4):
        with pytest.raises(ValueError, match="from 0 to 3"):
            discrete_hazard_nll(torch.zeros(1, 4), torch.tensor([interval]), torch.tensor([False]))
    logits = torch.full((1, 4), -200.0, requires_grad=True)
    loss = discrete_hazard_nll(logits, torch.tensor([3]), torch.tensor([False]))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


def test_risk_falls_with_survival():
    assert hazard_risk(torch.zeros(1, 2)).item() == pytest.approx(-0.75)
    low, high = hazard_risk(torch.tensor([[-3.0, -3.0], [3.0, 3.0]]))
    assert low < high


def test_the_concordance_of_all_pairs_by_hand():
    time, died = np.array([1.0, 2.0, 3.0, 4.0]), np.array([True, False, True, True])
    pairs = [(0, 1), (0, 2), (0, 3), (2, 3)]  # the first died, and before the second
    risk = np.array([0.1, 0.9, 0.4, 0.4])
    by_hand = np.mean([0.5 if risk[i] == risk[j] else float(risk[i] > risk[j]) for i, j in pairs])
    assert concordance_index(risk, time, died) == pytest.approx(by_hand)
    assert concordance_index(-time, time, died) == 1.0
    assert concordance_index(time, time, died) == 0.0
    assert concordance_index(risk, time, np.zeros(4, dtype=bool)) is None


def test_at_equal_times_the_one_who_died_should_have_the_higher_risk():
    time, risk = np.array([12.0, 12.0, 20.0]), np.array([1.0, 3.0, 0.0])
    assert concordance_index(risk, time, np.array([True, False, True])) == 0.5
    assert concordance_index(risk, time, np.array([True, True, False])) == 1.0  # both died: no pair


def test_intervals_have_as_many_deaths():
    time, died = np.arange(1.0, 41.0), np.arange(40) % 2 == 0
    bins = HazardBins.fit(time, died)
    assert len(bins) == 4
    assert torch.bincount(bins.assign(time[died])).tolist() == [5, 5, 5, 5]
    assert bins.assign(np.array([0.0, 1e9])).tolist() == [0, 3]
    with pytest.raises(ValueError, match="4 intervals need"):
        HazardBins.fit(time[:3], np.ones(3, dtype=bool))


# --- encoders -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(0)
    config = ResNetConfig(
        embedding_size=4, hidden_sizes=[4, 8, 12, 16], depths=[1, 1, 1, 1], layer_type="basic"
    )
    return ResNetModel(config).eval()


def test_a_resnet_is_cut_after_its_third_stage(resnet):
    pictures = torch.rand(2, 3, 64, 64)
    encoder = VisionEncoder(resnet, stages=None)
    given = (pictures - encoder.mean) / encoder.deviation
    third = resnet(given, output_hidden_states=True).hidden_states[3].mean(dim=(-2, -1))
    last = resnet(given).pooler_output.flatten(1)
    torch.testing.assert_close(encoder(pictures), last)
    cut = VisionEncoder(resnet, stages=3)
    assert (encoder.out_dim, cut.out_dim) == (16, 12)
    torch.testing.assert_close(cut(pictures), third)
    grey = pictures[:, :1]
    torch.testing.assert_close(cut(grey), cut(grey.expand(-1, 3, -1, -1)))


def test_a_transformer_gives_its_class_token_and_has_nothing_to_cut():
    config = ViTConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        image_size=16,
        patch_size=8,
    )
    model = ViTModel(config).eval()
    encoder = VisionEncoder(model, stages=None)
    pictures = torch.rand(2, 3, 16, 16)
    given = (pictures - encoder.mean) / encoder.deviation
    torch.testing.assert_close(encoder(pictures), model(given).last_hidden_state[:, 0])
    with pytest.raises(ValueError, match="no stages"):
        VisionEncoder(model, stages=3)


def test_flips_keep_all_pixels_and_crops_stay_inside():
    pictures = torch.rand(40, 1, 6, 6)
    torch.manual_seed(0)
    flipped = RandomCropFlip()(pictures)
    torch.testing.assert_close(
        flipped.flatten(1).sort().values, pictures.flatten(1).sort().values, atol=1e-5, rtol=0
    )
    assert not torch.allclose(flipped, pictures)
    cropped = RandomCropFlip(0.1)(pictures)
    assert cropped.shape == pictures.shape
    assert (cropped.amax((1, 2, 3)) <= pictures.amax((1, 2, 3)) + 1e-5).all()
    assert torch.equal(RandomCropFlip(0.1).eval()(pictures), pictures)
    with pytest.raises(ValueError, match="smallest"):
        RandomCropFlip(0.0)


# --- joint training -----------------------------------------------------------------------------


def convolutions():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 5),
    )


def bags():
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(n, 1, 8, 8, generator=generator) for n in (3, 6)]


def test_only_instances_that_are_there_are_encoded():
    seen = []
    encoder = convolutions().eval()
    encoder.register_forward_pre_hook(lambda module, given: seen.append(len(given[0])))
    model = EndToEndMIL(encoder, ABMIL(5, 2, embed_dim=8)).eval()
    together = model(bags())
    assert seen == [9]
    for row, bag in enumerate(bags()):
        torch.testing.assert_close(together[row], model(bag[None])[0])


def test_chunks_give_what_the_whole_gives():
    model = EndToEndMIL(convolutions(), ABMIL(5, 2, embed_dim=8)).eval()
    whole = model(bags())
    model.chunk_size = 2
    torch.testing.assert_close(model(bags()), whole)


def test_checkpointing_changes_neither_gradients_nor_statistics():
    found = []
    for checkpointed in (False, True):
        encoder = convolutions()
        torch.manual_seed(1)
        model = EndToEndMIL(
            encoder, MeanMIL(5, 2, embed_dim=8, dropout=0.0), chunk_size=4, checkpoint_encoder=checkpointed
        )
        model(bags()).square().sum().backward()
        norm = encoder[1]
        found.append([encoder[0].weight.grad, norm.running_mean, norm.running_var, norm.num_batches_tracked])
    for plain, again in zip(*found, strict=True):
        torch.testing.assert_close(again, plain)


def test_batch_norm_on_one_instance_is_refused_while_training():
    model = EndToEndMIL(convolutions(), MeanMIL(5, 2, embed_dim=8))
    with pytest.raises(ValueError, match="batch norm cannot be trained on a single instance"):
        model(torch.rand(1, 1, 1, 8, 8))
    assert model.eval()(torch.rand(1, 1, 1, 8, 8)).isfinite().all()
    with pytest.raises(ValueError, match="chunk_size=0"):
        EndToEndMIL(convolutions(), MeanMIL(5, 2), chunk_size=0)


# --- pictures -----------------------------------------------------------------------------------


def test_a_map_is_red_where_the_attention_is():
    coords = np.array([[0, 0], [10, 0], [0, 10], [10, 10]])
    picture = np.asarray(heat_map(np.array([0.7, 0.1, 0.1, 0.1]), coords, patch=10))
    assert picture.shape == (20, 20, 3)
    assert picture[5, 5].tolist() == [255, 0, 0]
    assert picture[15, 15].tolist() == [0, 0, 255]


def test_a_large_map_is_made_small_and_empty_places_stay_as_the_slide():
    from PIL import Image

    slide = Image.new("RGB", (10, 10), (40, 80, 120))
    picture = heat_map(np.array([1.0, 0.0]), np.array([[0, 0], [1000, 0]]), 500, slide, (4000, 2000), 100)
    assert picture.size == (100, 50)
    assert np.asarray(picture)[40, 90].tolist() == [40, 80, 120]


def test_a_sheet_begins_with_the_patch_of_most_attention():
    patches = np.stack([np.full((4, 4, 1), value, dtype=np.uint8) for value in (10, 200, 90)])
    sheet = np.asarray(contact_sheet(patches, np.array([0.2, 0.7, 0.1]), tile=8))
    assert sheet.shape == (28, 28, 3)
    assert sheet[5, 5].tolist() == [200, 200, 200]
    assert sheet[5, 19].tolist() == [10, 10, 10]
    assert sheet[0, 0].tolist() == [255, 0, 0]
