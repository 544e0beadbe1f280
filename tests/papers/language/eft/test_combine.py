"""The rule on logits, and the accept-reject test, against hand-computed values and enumeration."""

import itertools

import pytest
import torch
from scipy.stats import chisquare

from assay.errors import InputError
from assay.papers.language.eft.method import (
    combine_logits,
    draw,
    entropy,
    nucleus,
    probabilities,
    speculative_accept,
    total_variation,
)
from assay.papers.language.eft.method.combine import floored


def random_logits(*shape, seed=0):
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


BASE, TUNED, REFERENCE, OTHER = (random_logits(4, 9, seed=seed) for seed in range(4))


def same_law(one, two):
    return torch.allclose(one.softmax(-1), two.softmax(-1), atol=1e-10)


def test_the_hand_example():
    base, tuned, reference = (
        torch.tensor([p], dtype=torch.float64).log()
        for p in ((0.5, 0.3, 0.2), (0.2, 0.5, 0.3), (0.4, 0.4, 0.2))
    )
    found = combine_logits(base, tuned, reference).softmax(-1)
    assert torch.allclose(found, torch.tensor([[0.27027, 0.40541, 0.32432]]).double(), atol=1e-5)


@pytest.mark.parametrize("weight", [-1.0, 0.0, 0.5, 1.0, 2.0])
def test_limits_of_the_rule(weight):
    assert torch.equal(combine_logits(BASE, TUNED, REFERENCE, 0.0), BASE)
    assert same_law(combine_logits(BASE, REFERENCE, REFERENCE, weight), BASE)
    assert same_law(combine_logits(REFERENCE, TUNED, REFERENCE), TUNED)
    assert same_law(combine_logits(BASE, TUNED, REFERENCE, amplify=0.0), TUNED)
    assert torch.equal(combine_logits(BASE, TUNED, REFERENCE, amplify=0.0), TUNED)


def test_parity_with_the_published_form_on_raw_logits():
    assert same_law(combine_logits(BASE, TUNED, REFERENCE, 1.7), BASE + 1.7 * (TUNED - REFERENCE))
    amplified = combine_logits(BASE, TUNED, REFERENCE, amplify=1.5)
    assert same_law(amplified, TUNED + 1.5 * (BASE - REFERENCE))


@pytest.mark.parametrize("delta_top_p", [None, 0.8])
def test_constants_added_to_a_row_change_nothing(delta_top_p):
    shifts = [random_logits(4, 1, seed=seed) for seed in (5, 6, 7)]
    shifted = [x + c for x, c in zip((BASE, TUNED, REFERENCE), shifts, strict=True)]
    plain = combine_logits(BASE, TUNED, REFERENCE, 1.3, 1.2, delta_top_p)
    assert same_law(combine_logits(*shifted, 1.3, 1.2, delta_top_p), plain)


def test_two_experts_with_equal_deltas_are_one():
    one = combine_logits(BASE, TUNED, REFERENCE, 1.0)
    assert same_law(combine_logits(BASE, [TUNED, TUNED], REFERENCE, [0.3, 0.7]), one)
    moved = [TUNED + OTHER, TUNED]
    assert same_law(combine_logits(BASE, moved, [REFERENCE + OTHER, REFERENCE], [0.3, 0.7]), one)


def test_a_mixture_adds_each_experts_own_delta():
    found = combine_logits(BASE, [TUNED, OTHER], [REFERENCE, BASE], [0.25, 0.5])
    assert same_law(found, BASE + 0.25 * (TUNED - REFERENCE) + 0.5 * (OTHER - BASE))


def test_the_top_p_of_the_delta_leaves_other_tokens_to_the_small_model():
    found = combine_logits(BASE, TUNED, REFERENCE, delta_top_p=0.6)
    for row in range(len(BASE)):
        small = TUNED[row].softmax(-1)
        order = small.argsort(descending=True).tolist()
        inside = set()
        for token in order:
            if sum(float(small[t]) for t in inside) >= 0.6:
                break
            inside.add(token)
        ratio = BASE[row].softmax(-1) / REFERENCE[row].softmax(-1)
        weights = torch.tensor([float(ratio[t]) if t in inside else 1.0 for t in range(9)]).double()
        expected = small * weights / (small * weights).sum()
        assert torch.allclose(found[row].softmax(-1), expected, atol=1e-10)
    assert same_law(combine_logits(BASE, TUNED, REFERENCE, delta_top_p=1.0), BASE + TUNED - REFERENCE)


def test_a_token_that_any_model_rules_out_is_ruled_out_without_nan():
    for place in range(3):
        models = [BASE.clone(), TUNED.clone(), REFERENCE.clone()]
        models[place][:, 2] = -torch.inf
        for settings in ({}, {"delta_top_p": 0.9}, {"weight": 0.0}, {"amplify": 0.0}):
            found = combine_logits(*models, **settings)
            assert torch.isneginf(found[:, 2]).all()
            assert torch.isfinite(found[:, [0, 1, 3]]).all()
    kept = [0, 1, *range(3, 9)]
    plain = (BASE + TUNED - REFERENCE)[:, kept]
    assert same_law(combine_logits(*models)[:, kept], plain)


def test_half_precision_is_combined_in_single():
    models = [x.to(torch.bfloat16) for x in (BASE, TUNED, REFERENCE)]
    found = combine_logits(*models)
    assert found.dtype == torch.float32
    assert same_law(found, sum((models[0].float(), models[1].float(), -models[2].float())))


def test_the_floor_bounds_the_delta_where_the_reference_sees_nothing():
    reference = torch.tensor([[0.0, -60.0]]).double()
    base, tuned = torch.tensor([[0.0, -9.0]]).double(), torch.tensor([[0.0, -20.0]]).double()
    assert combine_logits(base, tuned, reference).argmax() == 1
    found = combine_logits(base, tuned, floored(reference, -10.0))
    assert float(found[0, 1] - found[0, 0]) == pytest.approx(-9 - 20 + 10, abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([TUNED, TUNED], REFERENCE, [1.0]), "2 experts, 2 references and 1 weights"),
        (([TUNED, TUNED], [REFERENCE], 1.0), "2 experts, 1 references"),
        (([], REFERENCE, []), "0 experts"),
        ((TUNED, REFERENCE, float("nan")), "finite"),
        ((TUNED, REFERENCE, 1.0, -0.5), "amplify must be at least 0"),
        ((TUNED, REFERENCE, 1.0, 1.0, 1.5), "delta_top_p must be in"),
    ],
)
def test_wrong_settings_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        combine_logits(BASE, *arguments)


# --- drawing ------------------------------------------------------------------------------------


def test_the_nucleus_is_the_smallest_set():
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    assert nucleus(logits, 0.5).tolist() == [[True, False, False, False]]
    assert nucleus(logits, 0.51).tolist() == [[True, True, False, False]]
    assert nucleus(logits, 1.0).all()


def test_temperature_and_truncation():
    logits = torch.tensor([[1.0, 2.0, 0.0]])
    assert probabilities(logits, temperature=0.0).tolist() == [[0.0, 1.0, 0.0]]
    assert torch.allclose(probabilities(logits, 0.5), (2 * logits).softmax(-1))
    assert probabilities(logits, top_k=2)[0, 2] == 0
    assert probabilities(logits, top_p=0.5).tolist() == [[0.0, 1.0, 0.0]]


@pytest.mark.parametrize("row", [[float("nan"), 0.0], [-torch.inf, -torch.inf], [torch.inf, 0.0]])
def test_rows_without_a_distribution_are_refused(row):
    with pytest.raises(InputError, match="no finite largest value"):
        probabilities(torch.tensor([row]))


def test_draws_follow_the_distribution():
    p = torch.tensor([0.5, 0.3, 0.15, 0.05, 0.0])
    drawn = draw(p.expand(50_000, -1), torch.Generator().manual_seed(3))
    counts = torch.bincount(drawn, minlength=5)
    assert counts[4] == 0
    assert chisquare(counts[:4], 50_000 * p[:4].double() / p[:4].double().sum()).pvalue > 1e-3


def test_speculative_acceptance_gives_p_and_accepts_the_overlap():
    generator = torch.Generator().manual_seed(1)
    p, q = torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([0.4, 0.3, 0.2, 0.1])
    n = 200_000
    draft = draw(q.expand(n, -1), generator)
    accepted, token = speculative_accept(p.expand(n, 1, -1), q.expand(n, 1, -1), draft[:, None], generator)
    final = torch.where(accepted == 1, draft, token)
    assert (token[accepted == 1] == -1).all()
    assert chisquare(torch.bincount(final, minlength=4), n * p.double() / p.double().sum()).pvalue > 1e-3
    overlap = float(torch.minimum(p, q).sum())
    assert abs(float(accepted.float().mean()) - overlap) < 3 * (overlap * (1 - overlap) / n) ** 0.5
    assert overlap == pytest.approx(1 - float(total_variation(p.log(), q.log())))


def test_equal_distributions_accept_everything():
    p = random_logits(64, 5, 7, seed=9).softmax(-1)
    draft = p.argmax(-1)
    accepted, token = speculative_accept(p, p, draft, torch.Generator().manual_seed(0))
    assert (accepted == 5).all()
    assert (token == -1).all()


def test_acceptance_stops_at_the_first_rejection():
    one, two = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 1.0])
    p = torch.stack([one, two, one])[None]
    accepted, token = speculative_accept(p, one.expand(1, 3, -1), torch.zeros(1, 3, dtype=torch.long))
    assert (accepted.tolist(), token.tolist()) == ([1], [2])


def test_greedy_rows_accept_while_the_likeliest_token_agrees():
    p, q = random_logits(200, 3, 4, seed=1), random_logits(200, 3, 4, seed=2)
    draft = q.argmax(-1)
    accepted, token = speculative_accept(probabilities(p, 0.0), probabilities(q, 0.0), draft)
    for row in range(200):
        wanted = p[row].argmax(-1)
        agree = list(itertools.takewhile(lambda i: wanted[i] == draft[row, i], range(3)))  # noqa: B023
        assert accepted[row] == len(agree)
        assert token[row] == (-1 if len(agree) == 3 else wanted[len(agree)])


def test_distance_and_entropy_by_hand():
    p, q = torch.tensor([[0.5, 0.5, 0.0]]).log(), torch.tensor([[0.25, 0.25, 0.5]]).log()
    assert total_variation(p, q).tolist() == pytest.approx([0.5])
    assert entropy(p).tolist() == pytest.approx([0.693147])
