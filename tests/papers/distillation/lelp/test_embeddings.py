"""Reading a teacher: the input of its last linear layer, or a clear refusal."""

import pytest
import torch
from torch import nn
from transformers import AlbertConfig, AlbertForSequenceClassification

from assay.models.embeddings import two_class_layer
from assay.papers.distillation.lelp.method import (
    SubspaceProjector,
    extract_embeddings,
    iterate_embeddings,
    two_class_logits,
)

ROWS = torch.randn(20, 5, generator=torch.Generator().manual_seed(1))


def test_embeddings_are_the_inputs_of_the_last_layer(teacher):
    read = extract_embeddings(teacher, ROWS.split(6))
    torch.testing.assert_close(read.embeddings, teacher.act(teacher.body(ROWS)))
    torch.testing.assert_close(read.embeddings @ read.weight.T + read.bias, read.logits)
    torch.testing.assert_close(read.logits, teacher(ROWS).detach())
    assert not read.embeddings.requires_grad


@pytest.mark.parametrize("layer", ["head", None])
def test_batches_may_be_tuples(teacher, layer):
    batches = [(rows, torch.zeros(len(rows))) for rows in ROWS.split(7)]
    assert len(extract_embeddings(teacher, batches, layer).embeddings) == 20


def test_the_hook_is_removed(teacher):
    extract_embeddings(teacher, [ROWS], teacher.head)
    assert not teacher.head._forward_pre_hooks
    with pytest.raises(ValueError, match="not the one"):
        extract_embeddings(teacher, [ROWS], "body")
    assert not teacher.body._forward_pre_hooks


def test_pooled_outputs_of_a_transformer(tmp_path):
    torch.manual_seed(0)
    config = AlbertConfig(
        vocab_size=30, embedding_size=8, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, num_labels=2,
    )  # fmt: skip
    model = AlbertForSequenceClassification(config).eval()
    ids = torch.randint(30, (6, 9))
    batch = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "labels": torch.zeros(6, dtype=torch.long),
    }
    read = extract_embeddings(model, [batch])
    torch.testing.assert_close(read.embeddings, model.albert(input_ids=ids).pooler_output)
    torch.testing.assert_close(read.logits, model(input_ids=ids).logits)


def test_streaming_gives_what_extracting_gives(teacher):
    rows = torch.randn(300, 5, generator=torch.Generator().manual_seed(2))
    read = extract_embeddings(teacher, [rows])
    labels = torch.arange(300) % 3
    whole = SubspaceProjector(2).fit(read.embeddings, labels, read.weight)
    streamed = SubspaceProjector(2)
    for (h, _), y in zip(iterate_embeddings(teacher, rows.split(64)), labels.split(64), strict=True):
        streamed.partial_fit(h, y, read.weight)
    torch.testing.assert_close(
        streamed.transform(read.embeddings), whole.transform(read.embeddings), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("squeeze", [False, True])
def test_a_sigmoid_teacher_becomes_one_of_two_classes(squeeze):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1), *([nn.Flatten(0)] if squeeze else [])
    )
    read = extract_embeddings(network.eval(), [ROWS])
    z = network(ROWS).reshape(-1)
    torch.testing.assert_close(read.logits.softmax(1)[:, 1], z.sigmoid())
    torch.testing.assert_close(read.embeddings @ read.weight.T + read.bias, read.logits)
    assert read.weight.shape == (2, 4)


def test_two_class_layer_gives_two_class_logits():
    weight, bias, h = torch.randn(1, 4), torch.randn(1), torch.randn(6, 4)
    both, offsets = two_class_layer(weight, bias)
    torch.testing.assert_close(h @ both.T + offsets, two_class_logits(h @ weight.T + bias))


# --- bad input ----------------------------------------------------------------------------------


def test_a_teacher_in_training_mode_is_refused(teacher):
    teacher.dropout.train()
    with pytest.raises(ValueError, match=r"training mode.*teacher\.eval\(\)"):
        extract_embeddings(teacher, [ROWS])


def test_a_layer_that_does_not_give_the_logits_is_refused():
    network = nn.Sequential(nn.Linear(5, 3), nn.Linear(3, 3)).eval()
    with pytest.raises(ValueError, match=r"W h \+ b with its input h differs"):
        extract_embeddings(network, [ROWS], "0")


def test_a_cosine_classifier_is_refused():
    class Cosine(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = nn.Linear(5, 3)

        def forward(self, x):
            return 16 * nn.functional.normalize(self.last(x), dim=1)

    with pytest.raises(ValueError, match="normalises or scales"):
        extract_embeddings(Cosine().eval(), [ROWS])


def test_embeddings_of_tokens_are_refused():
    class LastToken(nn.Module):
        def __init__(self):
            super().__init__()
            self.score = nn.Linear(5, 3)

        def forward(self, x):
            return self.score(x.unsqueeze(1).expand(-1, 4, -1))[:, -1]

    with pytest.raises(ValueError, match="not the one that gives"):
        extract_embeddings(LastToken().eval(), [ROWS])


def test_unknown_layers_and_empty_loaders_are_refused(teacher):
    with pytest.raises(ValueError, match="no linear layer 'last'; it has body, head"):
        extract_embeddings(teacher, [ROWS], "last")
    with pytest.raises(ValueError, match="no batches"):
        extract_embeddings(teacher, [])
    with pytest.raises(ValueError, match="has no linear layer"):
        extract_embeddings(nn.Tanh().eval(), [ROWS])
