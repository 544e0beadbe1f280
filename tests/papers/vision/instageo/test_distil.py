"""The loss, the student and the choice of a depth."""

import copy

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from transformers import BertConfig, BertForSequenceClassification, ViTConfig, ViTForImageClassification

from assay.papers.vision.instageo.method import (
    DepthDistiller,
    DistillationLoss,
    EncoderShape,
    RegressionDistillationLoss,
    SegmentationModel,
    choose_depth,
    class_weights,
    find_blocks,
    kept_blocks,
    prune,
)

SHAPE = EncoderShape(dim=16, depth=3, heads=2, patch_size=4, image_size=8)


@pytest.fixture
def teacher():
    torch.manual_seed(0)
    return SegmentationModel(SHAPE, 3).eval()


def maps(count=2, classes=3):
    generator = torch.Generator().manual_seed(1)
    logits = [torch.randn(count, classes, 4, 4, generator=generator) for _ in range(2)]
    return *logits, torch.randint(-1, classes, (count, 4, 4), generator=generator)


def rows(logits, labels):
    return logits.movedim(1, -1)[labels >= 0]


def test_the_loss_is_cross_entropy_plus_divergence_over_valid_pixels():
    student, teacher, labels = maps()
    weights = torch.tensor([1.0, 2.0, 0.5])
    own, taught, true = rows(student, labels), rows(teacher, labels), labels[labels >= 0]
    ce = (weights[true] * F.cross_entropy(own, true, reduction="none")).mean()  # not torch's weighted mean
    kl = F.kl_div(own.log_softmax(1), taught.softmax(1), reduction="batchmean")
    assert DistillationLoss(weights)(student, teacher, labels).item() == pytest.approx((ce + kl).item())
    assert DistillationLoss(weights, kd_weight=0.0)(student, teacher, labels).item() == pytest.approx(
        ce.item()
    )
    assert DistillationLoss(ce_weight=0.0)(student, teacher, labels).item() == pytest.approx(kl.item())


def test_the_gradient_of_the_divergence_is_the_difference_of_probabilities():
    student, teacher, labels = maps()
    student.requires_grad_(True)
    DistillationLoss(ce_weight=0.0)(student, teacher, labels).backward()
    valid = (labels >= 0)[:, None]
    expected = torch.where(valid, student.softmax(1) - teacher.softmax(1), 0.0) / valid.sum()
    torch.testing.assert_close(student.grad, expected)


def test_the_divergence_from_oneself_is_nothing():
    student, _, labels = maps()
    leaf = student.clone().requires_grad_(True)
    loss = DistillationLoss(ce_weight=0.0)(leaf, student, labels)
    loss.backward()
    assert loss.item() == pytest.approx(0.0, abs=1e-7)
    assert leaf.grad.abs().max() < 1e-7


def test_without_a_valid_pixel_the_loss_and_its_gradient_are_0():
    student, teacher, labels = maps()
    student.requires_grad_(True)
    loss = DistillationLoss()(student, teacher, torch.full_like(labels, -1))
    loss.backward()
    assert loss.item() == 0.0
    assert student.grad.abs().sum() == 0


def test_everywhere_learns_from_the_teacher_without_labels_too():
    student, teacher, labels = maps()
    loss = DistillationLoss(ce_weight=0.0, everywhere=True)(student, teacher, torch.full_like(labels, -1))
    flat = [logits.movedim(1, -1).reshape(-1, 3) for logits in (student, teacher)]
    expected = F.kl_div(flat[0].log_softmax(1), flat[1].softmax(1), reduction="batchmean")
    assert loss.item() == pytest.approx(expected.item())


def test_temperature_softens_both():
    student, teacher, labels = maps()
    own, taught = rows(student, labels) / 3, rows(teacher, labels) / 3
    expected = 9 * F.kl_div(own.log_softmax(1), taught.softmax(1), reduction="batchmean")
    assert DistillationLoss(ce_weight=0.0, temperature=3.0)(student, teacher, labels).item() == pytest.approx(
        expected.item()
    )
    with pytest.raises(ValueError, match=r"temperature must be above 0"):
        DistillationLoss(temperature=0.0)
    with pytest.raises(ValueError, match=r"nor both 0"):
        DistillationLoss(ce_weight=0.0, kd_weight=0.0)


def test_regression_learns_from_values():
    student, teacher = torch.tensor([[[[1.0, 5.0]]]]), torch.tensor([[[[2.0, 9.0]]]])
    loss = RegressionDistillationLoss()(student, teacher, torch.tensor([[[4.0, -1.0]]]))
    assert loss.item() == 9.0 + 1.0
    assert RegressionDistillationLoss()(student, teacher, torch.tensor([[[-1.0, -1.0]]])).item() == 0.0


def test_class_weights_are_the_inverse_of_frequencies():
    labels = torch.tensor([[0, 0, 0, 1, -1]])
    assert class_weights(labels, 2).tolist() == pytest.approx([4 / (2 * 3), 4 / 2])
    assert class_weights(labels, 3)[2] == 0


def test_a_student_of_full_depth_is_its_teacher(teacher):
    chips = torch.rand(2, 6, 1, 8, 8)
    student = DepthDistiller(teacher, 3).student().eval()
    assert torch.equal(student(chips), teacher(chips))


def test_a_student_has_the_first_blocks_and_a_new_head(teacher):
    student = DepthDistiller(teacher, 1, reset=["head"]).student()
    assert len(student.encoder.blocks) == 1
    assert student.shape.depth == student.encoder.shape.depth == 1
    for name, tensor in student.encoder.state_dict().items():
        assert torch.equal(tensor, teacher.encoder.state_dict()[name])
    assert not torch.equal(student.head.classify.weight, teacher.head.classify.weight)
    assert student.head.classify.bias.abs().sum() == 0
    assert len(teacher.encoder.blocks) == teacher.shape.depth == 3  # as it was


def test_blocks_are_kept_from_either_end_or_evenly():
    assert kept_blocks(12, 3, "first") == [0, 1, 2]
    assert kept_blocks(12, 3, "last") == [9, 10, 11]
    assert kept_blocks(12, 3, "uniform") == [0, 6, 11]
    assert kept_blocks(12, 1, "uniform") == [0]
    for depth in (0, 13):
        with pytest.raises(ValueError, match=f"depth must be from 1 to the teacher's 12 blocks, not {depth}"):
            kept_blocks(12, depth)


def batches():
    generator = torch.Generator().manual_seed(2)
    chips = torch.rand(4, 6, 1, 8, 8, generator=generator)
    return [(chips, torch.randint(-1, 3, (4, 8, 8), generator=generator))]


def test_full_depth_without_divergence_is_fine_tuning(teacher):
    teacher = teacher.double()  # Adam blows up the rounding of gradients that are 0, such as of key biases
    given = [(chips.double(), labels) for chips, labels in batches()]
    torch.manual_seed(3)
    distilled = DepthDistiller(teacher, 3, loss=DistillationLoss(kd_weight=0.0)).fit(given, steps=3)
    tuned = copy.deepcopy(teacher).train()
    torch.manual_seed(3)
    optimizer = torch.optim.AdamW(tuned.parameters(), lr=1e-4, weight_decay=0.01)
    for chips, labels in given * 3:
        optimizer.zero_grad()
        F.cross_entropy(rows(tuned(chips), labels), labels[labels >= 0]).backward()
        optimizer.step()
    for mine, theirs in zip(distilled.parameters(), tuned.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_training_leaves_the_teacher_alone_and_in_eval_mode(teacher):
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    student = DepthDistiller(teacher, 1).fit(batches(), epochs=2)
    assert not teacher.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    assert not any("teacher" in name for name in student.state_dict())


def test_known_logits_of_the_teacher_change_nothing(teacher):
    known = [(chips, labels, teacher(chips).detach()) for chips, labels in batches()]
    trained = []
    for each in (batches(), known):
        torch.manual_seed(4)
        trained.append(DepthDistiller(teacher, 1).fit(each, steps=2))
    for mine, theirs in zip(trained[0].parameters(), trained[1].parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_a_vision_transformer_of_transformers_is_distilled():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "num_hidden_layers": 4}
    vit = ViTForImageClassification(ViTConfig(**sizes, image_size=8, patch_size=4, num_labels=3)).eval()
    batch = ({"pixel_values": torch.rand(4, 3, 8, 8)}, torch.tensor([0, 1, 2, -1]))
    distiller = DepthDistiller(vit, 2, reset=["classifier"])
    student = distiller.fit([batch], steps=2)
    blocks = student.get_submodule(find_blocks(student))
    assert len(blocks) == student.config.num_hidden_layers == 2
    assert vit.config.num_hidden_layers == 4
    assert student(**batch[0]).logits.shape == (4, 3)
    whole = DepthDistiller(vit, 4).student().eval()
    assert torch.equal(whole(**batch[0]).logits, vit(**batch[0]).logits)


def test_a_text_model_of_transformers_is_pruned():
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "num_hidden_layers": 3}
    bert = BertForSequenceClassification(BertConfig(**sizes, vocab_size=20)).eval()
    student = prune(bert, 1).eval()
    assert student(torch.tensor([[1, 2, 3]])).logits.shape == (1, 2)
    assert sum(p.numel() for p in student.parameters()) < sum(p.numel() for p in bert.parameters())


def test_any_module_with_a_list_of_blocks_will_do():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(5))
            self.heads = nn.ModuleList([nn.Linear(4, 2), nn.ReLU()])

        def forward(self, inputs):
            for layer in self.layers:
                inputs = inputs + layer(inputs)
            return self.heads[0](inputs)

    assert find_blocks(Net()) == "layers"
    assert len(prune(Net(), 2, keep="last").layers) == 2
    with pytest.raises(ValueError, match=r"Linear has no nn.ModuleList of at least two blocks"):
        find_blocks(nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"'heads.0' is a Linear; name an nn.ModuleList"):
        prune(Net(), 1, blocks="heads.0")


def test_the_smallest_student_within_tolerance_is_chosen():
    score = {1: 0.70, 2: 0.79, 4: 0.80}
    models = {depth: nn.Linear(depth, 1) for depth in score}

    def scored(model):
        return score[model.in_features]

    chosen = choose_depth(models.__getitem__, [4, 1, 2], scored, 0.80, 0.015)
    assert chosen.depth == 2
    assert chosen.within
    assert chosen.student is models[2]
    none = choose_depth(models.__getitem__, [1, 2], scored, 0.90)
    assert none.depth == 2
    assert not none.within
    with pytest.raises(ValueError, match=r"at least one depth"):
        choose_depth(models.__getitem__, [], scored, 0.9)
