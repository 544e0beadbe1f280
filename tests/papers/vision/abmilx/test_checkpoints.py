"""Files of torch.save read without an unpickler, and the authors' checkpoints."""

import collections
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from transformers import ResNetConfig, ResNetModel

from assay.data.torch_files import Call, bytes_of, read_pickle
from assay.papers.vision.abmilx import ABMILX, load_authors_checkpoint, read_torch_file


class Harmful:
    def __reduce__(self):
        return print, ("this ran",)


# --- files --------------------------------------------------------------------------------------


def test_what_torch_saved_comes_back(tmp_path):
    tensors = [torch.randn(3, 4).to(kind) for kind in (torch.float32, torch.float16, torch.bfloat16)]
    tensors += [torch.arange(6), torch.tensor([True, False]), torch.tensor(2.5), torch.zeros(0, 3)]
    base = torch.arange(24.0).reshape(4, 6)
    saved = {
        "tensors": tensors,
        "views": (base[1:, ::2].T, base),
        "parameter": nn.Parameter(torch.ones(2)),
        "state": nn.Linear(2, 1).state_dict(),
        "plain": {"epoch": 3, "names": ["a", None, 1.5, True], "big": 2**40},
    }
    torch.save(saved, tmp_path / "f.pt")
    found = read_torch_file(tmp_path / "f.pt")
    assert found["plain"] == saved["plain"]
    for one, other in zip(found["tensors"], tensors, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
    assert torch.equal(found["views"][0], saved["views"][0])
    assert torch.equal(found["parameter"], torch.ones(2))
    assert torch.equal(found["state"]["weight"], saved["state"]["weight"])


def test_nothing_that_a_file_names_is_called(tmp_path, capsys):
    torch.save({"x": torch.ones(1), "y": Harmful()}, tmp_path / "f.pt")
    found = read_torch_file(tmp_path / "f.pt")
    assert isinstance(found["y"], Call)
    assert found["y"].name.endswith(".print")
    assert capsys.readouterr().out == ""


def test_damaged_files_are_refused(tmp_path):
    torch.save(torch.arange(8.0), tmp_path / "f.pt")
    whole = (tmp_path / "f.pt").read_bytes()
    for content in (whole[:100], whole[:-40], b"", pickle.dumps(1)):
        (tmp_path / "f.pt").write_bytes(content)
        with pytest.raises(ValueError, match=r"f.pt cannot be read as a file of torch.save"):
            read_torch_file(tmp_path / "f.pt")
    (tmp_path / "f.pt").write_bytes(whole.replace(b"K\x08\x85", b"K\x09\x85"))  # nine numbers of eight
    with pytest.raises(ValueError, match=r"damaged|cannot be read"):
        read_torch_file(tmp_path / "f.pt")
    torch.save(torch.ones(1).expand(1 << 40), tmp_path / "f.pt")  # a few bytes that would fill the memory
    with pytest.raises(ValueError, match="reaches beyond its end"):
        read_torch_file(tmp_path / "f.pt")
    with pytest.raises(FileNotFoundError, match="no file"):
        read_torch_file(tmp_path / "none.pt")


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_plain_values_and_bytes_come_back_from_pickles(protocol):
    plain = {
        "a": [1, 2.5, None, True],
        "b": (1, (2, 3), ()),
        "c": {"x", "y"} if protocol > 3 else [],
        "d": "text",
    }
    assert read_pickle(pickle.dumps(plain, protocol)) == plain
    content = bytes(range(256))
    array = np.frombuffer(content, dtype=np.uint8)
    for value in (content, array, array.copy()):
        assert bytes_of(read_pickle(pickle.dumps(value, protocol))) == content
    for value in (np.arange(3), collections.Counter("ab")):
        with pytest.raises(ValueError, match="it holds"):
            bytes_of(read_pickle(pickle.dumps(value, protocol)))


def test_damaged_pickles_are_refused():
    whole = pickle.dumps({"a": [1, 2], "b": b"bytes"}, 4)
    for end in range(len(whole)):
        with pytest.raises(ValueError, match="the pickle is damaged"):
            read_pickle(whole[:end])


# --- checkpoints --------------------------------------------------------------------------------


SETTINGS = {
    "end to end": {"norm": "layer", "bias": False, "ffn": True},
    "survival": {"norm": "layer", "bias": False, "attn_bias": True},
    "features": {"norm": None, "bias": True, "activation": "relu"},
    "ablation": {"norm": None, "bias": True, "gated": True, "refine": False, "ffn": True},
}


def authors_names(model):
    """Return the weights of a model by the authors' names."""
    names = {
        "attn_plus_fn.alpha": "attn_plus_fn.v.weight",
        "ffn.norm.": "norm_ffn.",
        "ffn.": "mlp.",
        "feature.0.": "feature.1." if model.output_norm else "feature.0.",
        "norm.layer.": "feature.0.",
    }
    if model.attention.gate is not None:
        names |= {f"attention.{ours}.": f"attention.attention_{theirs}." for ours, theirs in GATED.items()}
    state = {}
    for name, tensor in model.state_dict().items():
        ours = next((start for start in names if name.startswith(start)), "")
        state[names.get(ours, "") + name.removeprefix(ours)] = (
            tensor.reshape(1, 1) if "alpha" in name else tensor
        )
    return state


GATED = {"fc1": "a.0", "gate": "b.0", "fc2": "c"}


@pytest.mark.parametrize("name", SETTINGS)
def test_weights_by_the_authors_names_give_the_same_logits(name, tmp_path):
    torch.manual_seed(0)
    settings = SETTINGS[name]
    model = ABMILX(12, 3, embed_dim=16, num_heads=4, **settings).eval()
    x = torch.randn(2, 5, 12)
    state = {f"module.mil.{key}": tensor for key, tensor in authors_names(model).items()}
    torch.save({"model": collections.OrderedDict(state), "epoch": 3}, tmp_path / "ckp.pt")
    loaded = load_authors_checkpoint(tmp_path / "ckp.pt", settings.get("activation", "gelu"))
    torch.testing.assert_close(loaded.aggregator(x), model(x))
    assert loaded.encoder == {}
    plain = load_authors_checkpoint(authors_names(model), settings.get("activation", "gelu"))
    torch.testing.assert_close(plain.aggregator(x), model(x))


@pytest.mark.parametrize("kind", ["basic", "bottleneck"])
def test_the_encoder_fits_transformers_resnet(kind):
    config = ResNetConfig(embedding_size=4, hidden_sizes=[8, 8, 16], depths=[1, 2, 1], layer_type=kind)
    resnet = ResNetModel(config)
    theirs = {}
    for name, tensor in resnet.state_dict().items():
        *parts, leaf = name.split(".")
        if parts[0] == "embedder":
            new = {"convolution": "conv1", "normalization": "bn1"}[parts[2]]
        else:
            _, _, stage, _, block, *inner = parts
            if inner[0] == "shortcut":
                place = "downsample.0" if inner[1] == "convolution" else "downsample.1"
            else:
                place = ("conv" if inner[2] == "convolution" else "bn") + str(int(inner[1]) + 1)
            new = f"layer{int(stage) + 1}.{block}.{place}"
        theirs[f"encoder.model.{new}.{leaf}"] = tensor
    model = ABMILX(16, 2, embed_dim=16, num_heads=4, norm="layer", bias=False)
    mil = {f"mil.{name}": tensor for name, tensor in authors_names(model).items()}
    loaded = load_authors_checkpoint(theirs | mil)
    assert resnet.load_state_dict(loaded.encoder).missing_keys == []
    assert len(loaded.encoder) == len(resnet.state_dict())


def test_other_weights_are_refused():
    for state in ({}, {"fc.weight": torch.ones(2, 2)}, nn.TransformerEncoderLayer(8, 2).state_dict()):
        with pytest.raises(ValueError, match="no weights of the authors' ABMILX"):
            load_authors_checkpoint(state)
