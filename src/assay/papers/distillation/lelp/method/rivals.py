"""The distillation losses that LELP is compared with.

Each is a module to add to a student's loss; those with parameters of their own (regressors, projections) are
to be optimised with the student. `student` and `teacher` are features before the last linear layer, (N, d)
and (N, D).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional


class KnowledgeDistillation(nn.Module):
    """Vanilla distillation: tau^2 KL(softmax(z / tau) || softmax(l / tau)).

    Hinton, Vinyals, Dean 2015, "Distilling the knowledge in a neural network".
    """

    def __init__(self, temperature: float = 4.0) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(
        self, logits: Float[Tensor, "n c"], teacher_logits: Float[Tensor, "n c"]
    ) -> Float[Tensor, ""]:
        """Return the loss of student logits l against teacher logits z."""
        student = functional.log_softmax(logits / self.temperature, dim=1)
        teacher = functional.log_softmax(teacher_logits / self.temperature, dim=1)
        divergence = functional.kl_div(student, teacher, reduction="batchmean", log_target=True)
        return self.temperature**2 * divergence


class DecoupledDistillation(nn.Module):
    """DKD: tau^2 (alpha KL(b_T || b_S) + beta KL(p_T || p_S)).

    b is the pair (target class, all others) and p the distribution over the non-target classes. With two
    classes p has a single entry, so the second term vanishes: DKD cannot help where LELP is meant to.

    Zhao et al. 2022, "Decoupled knowledge distillation".
    """

    def __init__(
        self, target_weight: float = 1.0, other_weight: float = 8.0, temperature: float = 4.0
    ) -> None:
        super().__init__()
        self.target_weight = target_weight
        self.other_weight = other_weight
        self.temperature = temperature

    def forward(
        self,
        logits: Float[Tensor, "n c"],
        teacher_logits: Float[Tensor, "n c"],
        labels: Int[Tensor, " n"],
    ) -> Float[Tensor, ""]:
        """Return the loss of student logits against teacher logits, with the true classes as targets."""
        is_target = functional.one_hot(labels, logits.shape[1]).bool()
        student, teacher = logits / self.temperature, teacher_logits / self.temperature
        target = _kl(_target_and_rest(student, is_target), _target_and_rest(teacher, is_target))
        other = _kl(_without_target(student, is_target), _without_target(teacher, is_target))
        return self.temperature**2 * (self.target_weight * target + self.other_weight * other)


class FitNet(nn.Module):
    """Mean squared error between a linear regression from the student's features and the teacher's.

    Romero et al. 2015, "FitNets: hints for thin deep nets".
    """

    def __init__(self, student_features: int, teacher_features: int) -> None:
        super().__init__()
        self.regressor = nn.Linear(student_features, teacher_features)

    def forward(self, student: Float[Tensor, "n s"], teacher: Float[Tensor, "n t"]) -> Float[Tensor, ""]:
        """Return the loss of student features against teacher features."""
        return functional.mse_loss(self.regressor(student), teacher)


class VariationalInformation(nn.Module):
    """VID: negative log-likelihood of the teacher's features under a Gaussian around a regression,

        mean_d [ log sigma_d^2 + (t_d - mu_d(s))^2 / sigma_d^2 ] / 2,   sigma_d^2 = softplus(rho_d) + 1e-5,

    a lower bound on the mutual information up to a constant. sigma_d^2 starts at 5; mu has three layers
    without biases, as published.

    Ahn et al. 2019, "Variational information distillation for knowledge transfer".
    """

    def __init__(self, student_features: int, teacher_features: int) -> None:
        super().__init__()
        sizes = (student_features, teacher_features, teacher_features)
        layers = [nn.Linear(size, teacher_features, bias=False) for size in sizes]
        self.regressor = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
        self.rho = nn.Parameter(torch.full((teacher_features,), 5.0 - 1e-5).expm1().log())

    def forward(self, student: Float[Tensor, "n s"], teacher: Float[Tensor, "n t"]) -> Float[Tensor, ""]:
        """Return the loss of student features against teacher features."""
        variance = functional.softplus(self.rho) + 1e-5
        return functional.gaussian_nll_loss(self.regressor(student), teacher, variance.expand_as(teacher))


class RelationalDistillation(nn.Module):
    """RKD: Huber losses between the two networks' pairwise distances and triplet angles.

    Distances are divided by their mean over the batch; the angle at j of rows i and k is
    cos(h_i - h_j, h_k - h_j). Features may differ in size. Of N rows there are N^3 angles: `angle_rows` takes
    those among the first rows of a batch alone.

    Park et al. 2019, "Relational knowledge distillation".
    """

    def __init__(
        self, distance_weight: float = 25.0, angle_weight: float = 50.0, angle_rows: int | None = None
    ) -> None:
        super().__init__()
        self.angle_rows = angle_rows
        self.distance_weight = distance_weight
        self.angle_weight = angle_weight

    def forward(self, student: Float[Tensor, "n s"], teacher: Float[Tensor, "n t"]) -> Float[Tensor, ""]:
        """Return the loss of student features against teacher features."""
        distances = functional.smooth_l1_loss(relative_distances(student), relative_distances(teacher))
        few = slice(self.angle_rows)
        angles = functional.smooth_l1_loss(cosines(student[few]), cosines(teacher[few]))
        return self.distance_weight * distances + self.angle_weight * angles


class ContrastiveDistillation(nn.Module):
    """CRD with in-batch negatives: the student's and the teacher's view of one row attract each other.

        f = normalize(A student), g = normalize(B teacher), both of size `projection`
        s_ij = f_i^T g_j / tau
        L = -mean_i log [ exp(s_ii) / (exp(s_ii) + sum_{j: y_j != y_i} exp(s_ij)) ]

    plus the same with f and g exchanged. The paper draws its 16,384 negatives, also of other classes, from a
    memory bank and uses a noise-contrastive estimate of this loss.

    Tian, Krishnan, Isola 2020, "Contrastive representation distillation".
    """

    def __init__(
        self, student_features: int, teacher_features: int, projection: int = 128, temperature: float = 0.07
    ) -> None:
        super().__init__()
        self.student_projection = nn.Linear(student_features, projection)
        self.teacher_projection = nn.Linear(teacher_features, projection)
        self.temperature = temperature

    def forward(
        self, student: Float[Tensor, "n s"], teacher: Float[Tensor, "n t"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, ""]:
        """Return the loss of student features against teacher features, with the rows' classes."""
        f = functional.normalize(self.student_projection(student), dim=1)
        g = functional.normalize(self.teacher_projection(teacher), dim=1)
        similarities = f @ g.T / self.temperature
        same_class = labels[:, None] == labels[None, :]
        excluded = same_class & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        similarities = similarities.masked_fill(excluded, -torch.inf)
        rows = torch.arange(len(labels), device=labels.device)
        return functional.cross_entropy(similarities, rows) + functional.cross_entropy(similarities.T, rows)


class SubclassDiversity(nn.Module):
    """The auxiliary loss of Subclass Distillation, that makes a teacher use all its subclass logits.

        L = -mean_i log [ exp(v_i^T v_i / T) / mean_j exp(v_i^T v_j / T) ]

    over a batch, v_i being row i's C * S subclass logits with zero mean and unit variance, divided by
    sqrt(C * S) so that v_i^T v_i = 1. It is added to the cross entropy of the summed class probabilities with
    the labels when the teacher is trained, which has to happen anew for every S, T and weight.

    Mueller, Kornblith, Hinton 2020, "Subclass distillation".
    """

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, logits: Float[Tensor, "n cs"]) -> Float[Tensor, ""]:
        """Return the loss of the teacher's subclass logits."""
        centred = logits - logits.mean(1, keepdim=True)
        unit = functional.normalize(centred, dim=1)
        similarities = unit @ unit.T / self.temperature
        spread = similarities.logsumexp(1) - math.log(len(logits))
        return (spread - similarities.diagonal()).mean()


def relative_distances(features: Float[Tensor, "n d"]) -> Float[Tensor, "n n"]:
    """Return all pairwise Euclidean distances, divided by their mean over different rows."""
    centred = features - features.mean(0)  # which keeps the digits of the differences
    norms = centred.square().sum(1)
    squared = norms[:, None] + norms - 2 * centred @ centred.T
    different = ~torch.eye(len(features), dtype=torch.bool, device=features.device)
    distances = squared.clamp_min(1e-12).sqrt() * different
    return distances / (distances.sum() / different.sum().clamp_min(1)).clamp_min(1e-12)


def cosines(features: Float[Tensor, "n d"]) -> Float[Tensor, "n n n"]:
    """Return the cosine of the angle at row j between rows i and k, as element (j, i, k)."""
    directions = functional.normalize(features.unsqueeze(0) - features.unsqueeze(1), dim=2)
    return directions @ directions.transpose(1, 2)


def _target_and_rest(logits: Tensor, is_target: Bool[Tensor, "n c"]) -> Tensor:
    """Return log-probabilities of (target, not target)."""
    log_probs = functional.log_softmax(logits, dim=1)
    target = log_probs[is_target].unsqueeze(1)
    rest = log_probs.masked_fill(is_target, -torch.inf).logsumexp(1, keepdim=True)
    return torch.cat([target, rest], dim=1)


def _without_target(logits: Tensor, is_target: Bool[Tensor, "n c"]) -> Tensor:
    """Return log-probabilities of the classes other than the target, among themselves."""
    others = logits[~is_target].view(len(logits), -1)
    return functional.log_softmax(others, dim=1)


def _kl(student: Tensor, teacher: Tensor) -> Tensor:
    """Return KL(teacher || student) of log-probabilities, averaged over rows."""
    return functional.kl_div(student, teacher, reduction="batchmean", log_target=True)
