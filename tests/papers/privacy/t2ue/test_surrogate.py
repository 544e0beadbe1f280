"""CLIP and SigLIP as surrogates."""

import pytest
import torch
from transformers import CLIPModel, SiglipConfig, SiglipModel

from assay.errors import InputError
from assay.models import ModelSource
from assay.papers.privacy.t2ue.method import (
    CLIPSurrogate,
    Surrogate,
    contrastive_logits,
    info_nce,
    load_surrogate,
)
from assay.papers.privacy.t2ue.method.surrogate import CLIP_MEAN, CLIP_STD

TEXTS = ["a photo of a cat", "a red house"]


@pytest.fixture
def clip(tiny_clip):
    return load_surrogate(ModelSource(f"folder:{tiny_clip}"))


def test_it_gives_what_transformers_gives(tiny_clip, clip):
    pixels = torch.rand(2, 3, 16, 16)
    mean, std = (torch.tensor(values)[:, None, None] for values in (CLIP_MEAN, CLIP_STD))
    tokens = clip.tokenizer(TEXTS, padding=True, return_tensors="pt")
    reference = CLIPModel.from_pretrained(tiny_clip).eval()(
        input_ids=tokens["input_ids"],
        attention_mask=tokens["attention_mask"],
        pixel_values=(pixels - mean) / std,
        return_loss=True,
    )
    logits = contrastive_logits(clip.encode_image(pixels), clip.encode_text(TEXTS), clip.logit_scale)
    torch.testing.assert_close(logits, reference.logits_per_image, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(info_nce(logits), reference.loss, rtol=1e-4, atol=1e-4)
    assert isinstance(clip, Surrogate)
    assert clip.text_dim == clip.encode_text(TEXTS).shape[1] == 8


def test_the_bound_in_normalised_space_is_eps_over_std(clip):
    pixels, eps = torch.full((1, 3, 16, 16), 0.5), 8 / 255
    moved = (pixels + eps - clip.mean) / clip.std - (pixels - clip.mean) / clip.std
    expected = eps / torch.tensor(CLIP_STD)
    torch.testing.assert_close(moved[0, :, 0, 0], expected)


def test_gradients_reach_pictures_of_any_size(clip):
    pixels = torch.rand(1, 3, 30, 20, requires_grad=True)
    clip.encode_image(pixels).sum().backward()
    assert pixels.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in clip.parameters())


def test_long_captions_are_cut_with_a_warning(clip):
    long = "a cat " * 20
    with pytest.warns(UserWarning, match="1 of 2 captions have more than 12 tokens and are cut"):
        found = clip.encode_text([long, "a cat"])
    torch.testing.assert_close(found[:1], clip.encode_text(["a cat " * 5]))


def test_siglip_works_too(clip):
    torch.manual_seed(0)
    tower = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = tower | {"vocab_size": 20, "max_position_embeddings": 12, "projection_size": 16}
    model = SiglipModel(
        SiglipConfig(text_config=text, vision_config=tower | {"image_size": 16, "patch_size": 8})
    )
    surrogate = CLIPSurrogate(model, clip.tokenizer)
    assert surrogate.mean.unique().tolist() == surrogate.std.unique().tolist() == [0.5]
    assert surrogate.encode_image(torch.rand(2, 3, 16, 16)).shape == (2, 16)
    texts = surrogate.encode_text(TEXTS)
    assert texts.shape == (2, 16)
    torch.testing.assert_close(surrogate.encode_text(TEXTS[:1]), texts[:1])  # padding is always to the end
    assert surrogate.logit_scale.shape == ()
    assert surrogate.text_dim == 16


def test_a_model_without_pictures_is_refused():
    with pytest.raises(InputError, match="not an image-text model such as CLIP"):
        load_surrogate(ModelSource("bundled:minilm"))
