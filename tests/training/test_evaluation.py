"""Evaluation gives what the model gives in evaluation mode, and leaves the model as it was."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from assay.training import accuracy, batches, evaluate, predict


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 2))


@pytest.mark.parametrize("batch_size", [1, 4, 7, 100])
def test_predictions_are_those_of_evaluation_mode(batch_size: int) -> None:
    model, inputs = network(), torch.randn(7, 3)
    outputs = predict(model, inputs, batch_size=batch_size)
    with torch.no_grad():
        torch.testing.assert_close(outputs, model.eval()(inputs))


def test_predictions_take_several_inputs() -> None:
    left, right = torch.randn(5, 2), torch.randn(5, 3)
    model = nn.Bilinear(2, 3, 4)
    torch.testing.assert_close(predict(model, left, right, batch_size=2), model(left, right).detach())


def test_predictions_can_be_learnt_from() -> None:
    teacher, student, inputs = nn.Linear(3, 1), nn.Linear(3, 1), torch.randn(6, 3)
    targets = predict(teacher, inputs)
    assert not targets.requires_grad
    (student(inputs) * targets).sum().backward()  # the product keeps the targets for the gradient
    torch.testing.assert_close(student.weight.grad, (inputs * targets).sum(0, keepdim=True))


def test_modes_are_restored_also_after_an_error() -> None:
    model = network()
    model[1].eval()
    before = [module.training for module in model.modules()]
    predict(model, torch.randn(2, 3))
    assert [module.training for module in model.modules()] == before
    with pytest.raises(RuntimeError, match="shapes"):
        predict(model, torch.randn(2, 4))
    assert [module.training for module in model.modules()] == before


def test_accuracy_counts_the_largest_logits() -> None:
    logits = torch.tensor([[2.0, 1.0], [0.0, 3.0], [5.0, 4.0], [1.0, 2.0]])
    assert accuracy(logits, torch.tensor([0, 1, 1, 1])) == 0.75


def test_a_metric_is_computed_over_all_batches_not_averaged_over_them() -> None:
    inputs = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    labels = torch.tensor([0, 1, 1])
    rows = batches(inputs, labels, batch_size=2, shuffle=False)
    assert evaluate(nn.Identity(), rows, accuracy) == pytest.approx(2 / 3)


def test_outputs_may_be_any_tensors() -> None:
    def squares(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, ...]:
        return model(batch["x"]), batch["x"].square()

    rows = [{"x": torch.tensor([1.0, 2.0])}, {"x": torch.tensor([3.0])}]
    sums = evaluate(nn.Identity(), rows, lambda x, square: (x.sum().item(), square.sum().item()), squares)
    assert sums == (6.0, 14.0)


def test_nothing_to_evaluate_is_refused() -> None:
    with pytest.raises(ValueError, match="no batches"):
        evaluate(network(), [], accuracy)
    with pytest.raises(ValueError, match="no rows"):
        predict(network(), torch.zeros(0, 3))
