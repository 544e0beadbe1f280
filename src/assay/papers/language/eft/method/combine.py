"""The rule itself, on logits and on probabilities: no models here."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from assay.errors import InputError

Logits = Float[Tensor, "*n v"]


def combine_logits(
    base: Logits,
    tuned: Logits | Sequence[Logits],
    reference: Logits | Sequence[Logits],
    weight: float | Sequence[float] = 1.0,
    amplify: float = 1.0,
    delta_top_p: float | None = None,
) -> Logits:
    """Return the logits of the emulated fine-tuned model: the paper's sampling rule, token by token.

        l = beta (l_base - l_ref) + l_ref + sum_k w_k (l_tuned,k - l_ref,k)

    With one expert, w = 1 and beta = 1 this is l_base + l_tuned - l_ref. Constants added to a row of any of
    the logits change nothing once the softmax is taken, so logits and log-probabilities may be mixed. A token
    that any model rules out (-inf) is ruled out.

    Args:
        base: of the large model without fine-tuning [..., v].
        tuned: of the small fine-tuned model, or of several [..., v] each.
        reference: of the small model before fine-tuning; one for all experts, or one each.
        weight: w, how much of each expert's behaviour is taken; 1 is the paper's rule.
        amplify: beta, how much of what the large model knows beyond the first reference is taken.
        delta_top_p: keep that up-scaling delta beta (log p_base - log p_ref) only for the likeliest tokens of
            the small fine-tuned model that together have this probability; it is 0 for all others.

    Returns:
        Logits in single precision (double where the base's are double), not normalised.

    Raises:
        InputError: the numbers of experts, references and weights differ, or an option is out of its range.
    """
    tuned, reference, weights = _listed(tuned, reference, weight)
    check_settings(weights, amplify, delta_top_p)
    wanted = torch.float64 if base.dtype == torch.float64 else torch.float32
    names = [id(logits) for logits in reference]  # a reference that several experts share counts once
    shared = {id(logits): logits.to(wanted) for logits in reference}
    base, tuned = base.to(wanted), [logits.to(wanted) for logits in tuned]
    ruled_out = _ruled_out([base, *tuned, *shared.values()])

    def filled(logits: Logits, value: float) -> Logits:
        return logits if ruled_out is None else logits.masked_fill(ruled_out, value)

    base, tuned = filled(base, 0.0), [filled(logits, 0.0) for logits in tuned]
    references = {name: filled(logits, 0.0) for name, logits in shared.items()}
    behaviour = [*zip(weights, tuned, strict=True)]
    changes = [*zip(names, weights, strict=True)]
    if delta_top_p is None:
        result = _sum([*behaviour, *_remainder(references, changes, amplify)], (amplify, base))
    else:
        first = references[names[0]]
        small = _sum([*behaviour, *_remainder(references, changes, 1.0)], (1.0, first))
        small, large, anchor = (filled(x, -torch.inf).log_softmax(-1) for x in (small, base, first))
        delta = filled(large - anchor, 0.0)
        result = small + amplify * delta * nucleus(small, delta_top_p)
    return filled(result, -torch.inf)


def _remainder(
    references: dict[int, Logits], changes: Sequence[tuple[int, float]], amplify: float
) -> list[tuple[float, Logits]]:
    """Return what each reference is multiplied by: (1 - beta) for the first, minus w_k for each expert's."""
    coefficients = {changes[0][0]: 1.0 - amplify}
    for name, weight in changes:
        coefficients[name] = coefficients.get(name, 0.0) - weight
    return [(coefficient, references[name]) for name, coefficient in coefficients.items()]


def _sum(terms: Sequence[tuple[float, Logits]], last: tuple[float, Logits]) -> Logits:
    """Add up the logits; what has the coefficient 0 is left out, so that limits are exact."""
    total: Tensor = torch.zeros_like(last[1])
    for coefficient, logits in [*terms, last]:
        if coefficient:
            total += coefficient * logits
    return total


def floored(reference: Logits, least: float | None) -> Logits:
    """Return log-probabilities of a reference, none lower than `least` nats; None changes nothing."""
    if least is None:
        return reference
    precise = reference.to(torch.promote_types(reference.dtype, torch.float32))
    return precise.log_softmax(-1).clamp(min=least)


def nucleus(logits: Logits, top_p: float) -> Bool[Tensor, "*n v"]:
    """Return which tokens are among the likeliest that together have at least the probability `top_p`."""
    ordered, order = logits.softmax(-1).sort(-1, descending=True)
    before = ordered.cumsum(-1) - ordered
    return torch.zeros_like(logits, dtype=torch.bool).scatter(-1, order, before < top_p)


def probabilities(
    logits: Logits, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0
) -> Float[Tensor, "*n v"]:
    """Return what tokens are drawn from: temperature, then top k, then top p. Temperature 0 is greedy.

    Raises:
        InputError: a row has no token left, or holds NaN.
    """
    if not torch.isfinite(logits.amax(-1)).all():
        raise InputError(
            "The combined logits have no finite largest value: the models give NaN or inf, or rule out every"
            " token between them."
        )
    if temperature == 0:
        return torch.zeros_like(logits).scatter(-1, logits.argmax(-1, keepdim=True), 1.0)
    logits = logits / temperature
    if top_k and top_k < logits.shape[-1]:
        least = logits.topk(top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if top_p < 1:
        logits = logits.masked_fill(~nucleus(logits, top_p), -torch.inf)
    return logits.softmax(-1)


def draw(p: Float[Tensor, "b v"], generator: torch.Generator | None = None) -> Int[Tensor, " b"]:
    """Draw one token a row: argmax_v p_v / e_v with e_v ~ Exp(1) is distributed as p."""
    device = p.device if generator is None else generator.device
    noise = torch.empty(p.shape, device=device, dtype=torch.float64).exponential_(generator=generator)
    return torch.div(p, noise.clamp_(min=1e-300).to(p.device)).argmax(-1)


def speculative_accept(
    p: Float[Tensor, "b g v"],
    q: Float[Tensor, "b g v"],
    draft: Int[Tensor, "b g"],
    generator: torch.Generator | None = None,
) -> tuple[Int[Tensor, " b"], Int[Tensor, " b"]]:
    """Accept a draft as far as it goes, so that what comes out is distributed as p.

    Token i is accepted with probability min(1, p_i(y_i) / q_i(y_i)); at the first rejection a token is drawn
    from max(p_i - q_i, 0), normalised.

    Args:
        p: the distributions wanted, one a drafted token.
        q: those that the tokens were drawn from.
        draft: the tokens.
        generator: of the random numbers.

    Returns:
        How many tokens of each row are accepted, and the token that takes the place of the first rejected
        one; -1 where all are accepted.
    """
    rows, length = draft.shape
    chosen_p, chosen_q = (x.gather(-1, draft[..., None]).squeeze(-1) for x in (p, q))
    device = p.device if generator is None else generator.device
    uniform = torch.rand((rows, length), device=device, dtype=torch.float64, generator=generator)
    passed = uniform.to(p.device) * chosen_q < chosen_p
    accepted = passed.long().cumprod(-1).sum(-1)
    rejected = (accepted < length).nonzero().squeeze(-1)
    token = torch.full_like(accepted, -1)
    if len(rejected):
        place = accepted[rejected]
        wanted = p[rejected, place]
        residual = (wanted - q[rejected, place]).clamp(min=0)
        # Where p and q are equal up to rounding nothing is left over, and nothing is really rejected.
        residual = torch.where(residual.sum(-1, keepdim=True) > 0, residual, wanted)
        token[rejected] = draw(residual, generator)
    return accepted, token


def total_variation(p_logits: Logits, q_logits: Logits) -> Float[Tensor, "*n"]:
    """Return TV = 1/2 sum_v |p_v - q_v| of two rows of logits; a draft from q is accepted with 1 - TV."""
    return 0.5 * (p_logits.float().softmax(-1) - q_logits.float().softmax(-1)).abs().sum(-1)


def entropy(logits: Logits) -> Float[Tensor, "*n"]:
    """Return -sum_v p_v log p_v in nats; a token that is ruled out adds nothing."""
    spread: Tensor = torch.special.entr(logits.float().softmax(-1))
    return spread.sum(-1)


def check_settings(
    weights: Sequence[float],
    amplify: float,
    delta_top_p: float | None,
    reference_floor: float | None = None,
    allow_negative: bool = True,
) -> None:
    """Refuse settings out of their range, and weights below 0 unless they are allowed."""
    if not all(abs(value) < float("inf") for value in (*weights, amplify)):
        raise InputError(f"weights and amplify must be finite numbers, got {list(weights)} and {amplify}.")
    if amplify < 0:
        raise InputError(f"amplify must be at least 0 (1 is the paper's rule), got {amplify}.")
    if delta_top_p is not None and not 0 < delta_top_p <= 1:
        raise InputError(f"delta_top_p must be in (0, 1], or None for no truncation, got {delta_top_p}.")
    if reference_floor is not None and not reference_floor < 0:
        raise InputError(f"reference_floor is a log-probability and must be below 0, got {reference_floor}.")
    if min(weights, default=0) < 0 and not allow_negative:
        raise InputError(
            f"The weight {min(weights)} is below 0: it reverses fine-tuning and undoes safety training."
            " Pass allow_negative=True (--allow-negative) if that is what you want."
        )


def _listed(
    tuned: Logits | Sequence[Logits],
    reference: Logits | Sequence[Logits],
    weight: float | Sequence[float],
) -> tuple[list[Logits], list[Logits], list[float]]:
    """Return experts, references and weights as lists of one length."""
    experts = [tuned] if isinstance(tuned, Tensor) else list(tuned)
    references = [reference] * len(experts) if isinstance(reference, Tensor) else list(reference)
    numbers = [weight] * len(experts) if isinstance(weight, int | float) else weight
    weights = [float(number) for number in numbers]
    if not experts or not len(experts) == len(references) == len(weights):
        raise InputError(
            f"Got {len(experts)} experts, {len(references)} references and {len(weights)} weights: give one"
            " weight an expert, and one reference for all or one each."
        )
    return experts, references, weights


def _ruled_out(logits: Sequence[Logits]) -> Bool[Tensor, "*n v"] | None:
    """Return the tokens that any of the models rules out, None where none does."""
    masks = [torch.isneginf(each) for each in logits]
    masks = [mask for mask in masks if mask.any()]
    return functools.reduce(torch.logical_or, masks) if masks else None
