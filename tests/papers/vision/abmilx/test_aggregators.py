"""The aggregators: closed forms, invariances, masks, and what they refuse."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from assay.errors import DivergedError
from assay.papers.vision.abmilx.method import (
    ABMIL,
    ABMILX,
    CLAM,
    DSMIL,
    GatedABMIL,
    GlobalAttentionRefinement,
    MaxMIL,
    MeanMIL,
    MultiHeadLocalAttention,
    TransMIL,
    attention_sparsity,
)
from assay.papers.vision.abmilx.method.aggregators import GATE_DROPOUT

ALL = {
    "abmilx": lambda **more: ABMILX(12, 3, embed_dim=16, num_heads=4, **more),
    "mhla": lambda **more: ABMILX(12, 3, embed_dim=16, num_heads=4, refine=False, **more),
    "abmil": lambda **more: ABMIL(12, 3, embed_dim=16, attn_hidden=8, **more),
    "gated": lambda **more: GatedABMIL(12, 3, embed_dim=16, attn_hidden=8, **more),
    "mean": lambda **more: MeanMIL(12, 3, embed_dim=16, **more),
    "max": lambda **more: MaxMIL(12, 3, embed_dim=16, **more),
    "clam-sb": lambda **more: CLAM(12, 3, embed_dim=16, attn_hidden=8, **more),
    "clam-mb": lambda **more: CLAM(12, 3, embed_dim=16, attn_hidden=8, multi_branch=True, **more),
    "dsmil": lambda **more: DSMIL(12, 3, embed_dim=16, query_dim=8, **more),
    "transmil": lambda **more: TransMIL(12, 3, embed_dim=16, num_heads=4, **more),
}
UNORDERED = [name for name in ALL if name != "transmil"]


@pytest.fixture(params=ALL)
def aggregator(request):
    torch.manual_seed(0)
    return ALL[request.param]().eval()


def features(bags=2, instances=7, seed=0):
    return torch.randn(bags, instances, 12, generator=torch.Generator().manual_seed(seed))


# --- what holds for all -------------------------------------------------------------------------


@pytest.mark.parametrize("aggregator", UNORDERED, indirect=True)
def test_the_order_of_instances_does_not_matter(aggregator):
    x, order = features(), torch.randperm(7)
    before, after = aggregator.explain(x), aggregator.explain(x[:, order])
    torch.testing.assert_close(after.logits, before.logits)
    torch.testing.assert_close(after.attention, before.attention[..., order])


@pytest.mark.parametrize("aggregator", UNORDERED, indirect=True)
def test_every_instance_twice_gives_the_same_logits(aggregator):
    x = features()
    torch.testing.assert_close(aggregator(torch.cat([x, x], dim=1)), aggregator(x))


def test_padding_changes_nothing_whatever_stands_in_it(aggregator):
    short, long = features(1, 3)[0], features(1, 9, seed=1)[0]
    padded = torch.full((2, 9, 12), math.nan)
    padded[0, :3], padded[1] = short, long
    mask = torch.zeros(2, 9, dtype=torch.bool)
    mask[0, :3], mask[1] = True, True
    found = aggregator.explain(padded, mask)
    for row, bag in enumerate((short, long)):
        alone = aggregator.explain(bag[None])
        torch.testing.assert_close(found.logits[row], alone.logits[0], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(found.attention[row, :, : len(bag)], alone.attention[0])
    assert not found.attention[0, :, 3:].any()
    assert padded[0, 3:].isnan().all()  # the input is left as it was
    torch.testing.assert_close(aggregator([short, long]), found.logits)


def test_attention_sums_to_one_and_the_input_is_not_changed(aggregator):
    x = features()
    kept = x.clone()
    torch.testing.assert_close(aggregator.explain(x).attention.sum(dim=-1).unique().max(), torch.tensor(1.0))
    assert torch.equal(x, kept)


def test_bad_bags_are_refused(aggregator):
    mask = torch.ones(2, 7, dtype=torch.bool)
    mask[1] = False
    with pytest.raises(ValueError, match="Bag 1 is fully masked"):
        aggregator(features(), mask)
    with pytest.raises(ValueError, match="Bag 1 is empty"):
        aggregator([features()[0], features()[0, :0]])
    with pytest.raises(ValueError, match="at least one of each"):
        aggregator(features(2, 0))
    with pytest.raises(ValueError, match="does not fit"):
        aggregator(features(), mask[:, :5])
    with pytest.raises(ValueError, match="width 5"):
        aggregator(features()[..., :5])
    with pytest.raises(ValueError, match="needs no mask"):
        aggregator([features()[0]], mask)
    with pytest.raises(ValueError, match="one shape"):
        aggregator([features()[0], features()[0, :, :5]])
    broken = features()
    broken[1, 2, 3] = math.nan
    with pytest.raises(ValueError, match=r"features of bag 1 .* NaN"):
        aggregator(broken)


def test_weights_that_diverged_are_told_from_bad_features(aggregator):
    nn.init.constant_(aggregator.feature[0].weight, math.nan)
    with pytest.raises(DivergedError, match="weights have diverged"):
        aggregator(features())


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_norms_are_there_and_train(name, norm):
    model = ALL[name](norm=norm)
    model(features()).sum().backward()
    assert all(parameter.grad is not None for parameter in model.norm.parameters())
    assert model(features()).isfinite().all()


def test_batch_norm_counts_only_instances_that_are_there():
    model = ALL["mean"](norm="batch")
    mask = torch.ones(2, 7, dtype=torch.bool)
    mask[0, 4:] = False
    x = features()
    model(x, mask)
    torch.testing.assert_close(model.norm.batch.running_mean, 0.1 * x[mask].mean(dim=0))


def test_batch_norm_on_one_instance_or_one_bag_is_refused():
    with pytest.raises(ValueError, match="single instance"):
        ALL["mean"](norm="batch")(features(1, 1))
    with pytest.raises(ValueError, match="single bag"):
        ALL["abmilx"](norm="batch")(features(1, 5))


# --- ABMILX -------------------------------------------------------------------------------------


def test_a_width_that_heads_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="embed_dim=16 is not divisible by num_heads=3"):
        ABMILX(12, 2, embed_dim=16, num_heads=3)


def test_it_has_as_many_parameters_as_the_authors_model():
    model = ABMILX(1024, 2, embed_dim=512, num_heads=8, bias=False)
    expected = (
        1024 * 512 + (64 * 64 + 64) + 2 * 64 + 64 * 128 + 1 + 512 * 512 + 512 * 2
    )  # embedding, scores, layer norm, queries and keys, alpha, projection, classifier
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


@pytest.mark.parametrize(
    ("settings", "count"),  # of the authors' models in their end-to-end settings
    [
        ({"num_classes": 6, "embed_dim": 512, "num_heads": 4, "ffn": True}, 2_546_305),
        ({"num_classes": 2, "embed_dim": 256, "num_heads": 8}, 135_265),
        ({"num_classes": 4, "embed_dim": 256, "num_heads": 8, "attn_bias": True}, 135_810),
    ],
)
def test_its_settings_for_a_resnet_18_have_as_many_parameters_as_the_authors(settings, count):
    model = ABMILX(256, norm="layer", bias=False, **settings)
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_the_embeddings_take_relu():
    model = ALL["abmilx"](activation="relu").eval()
    x = features()
    expected = functional.linear(x, model.feature[0].weight, model.feature[0].bias).relu()
    torch.testing.assert_close(model.embed(x, None), expected)


def test_it_compiles_to_one_graph():
    script = """
import torch
from assay.papers.vision.abmilx import ABMILX
model = ABMILX(12, 3, embed_dim=16, num_heads=4, norm="layer", ffn=True).eval()
x, mask = torch.randn(2, 7, 12), torch.ones(2, 7, dtype=torch.bool)
mask[1, 5:] = False
compiled = torch.compile(model, fullgraph=True, backend="eager")
for given in ((x,), (x, mask)):
    torch.testing.assert_close(compiled(*given), model(*given))
compiled.train()(x).sum().backward()
"""
    subprocess.run([sys.executable, "-c", script], check=True)  # without the checks of shapes at run time


def test_with_one_head_tanh_and_no_projection_it_is_abmil():
    torch.manual_seed(1)
    baseline = ABMIL(12, 3, embed_dim=16, attn_hidden=8).eval()
    model = ABMILX(
        12,
        3,
        embed_dim=16,
        num_heads=1,
        alpha_init=0.0,
        attn_hidden=8,
        attn_activation="tanh",
        attn_bias=True,
    ).eval()
    model.feature.load_state_dict(baseline.feature.state_dict())
    model.attention.load_state_dict(baseline.attention.state_dict())
    model.classifier.load_state_dict(baseline.classifier.state_dict())
    model.proj = nn.Identity()
    torch.testing.assert_close(model(features()), baseline(features()))


def test_without_scores_it_is_the_mean_of_the_embeddings():
    model = ALL["abmilx"]().eval()
    nn.init.zeros_(model.attention.fc2.weight)
    found = model.explain(features())
    torch.testing.assert_close(found.attention, torch.full_like(found.attention, 1 / 7))
    torch.testing.assert_close(found.embedding, model.proj(model.feature(features()).mean(dim=1)))


def test_equal_instances_get_equal_attention():
    x = features(1, 1).expand(1, 5, 12)
    attention = ALL["abmilx"]().eval().explain(x).attention
    torch.testing.assert_close(attention, torch.full_like(attention, 0.2))


def test_the_pooled_values_get_gradient_in_proportion_to_attention():
    model = ALL["abmilx"](dropout=0.0)
    x = features(1, 6)
    attention = model.explain(x).attention.detach()
    heads = model.feature(x).unflatten(-1, (4, -1)).transpose(1, 2).detach().requires_grad_()
    pooled = (attention[:, :, None] @ heads).flatten(1)
    model.classifier(model.proj(pooled))[0, 0].backward()
    norms = heads.grad.norm(dim=-1)
    torch.testing.assert_close(norms / norms.sum(-1, keepdim=True), attention)


def test_the_feed_forward_block_is_residual():
    torch.manual_seed(2)
    model = ALL["abmilx"](ffn=True).eval()
    with_block = model(features())
    nn.init.zeros_(model.ffn.fc2.weight)
    without = model(features())
    model.ffn = None
    torch.testing.assert_close(without, model(features()))
    assert not torch.allclose(with_block, without)


@pytest.mark.parametrize("gated", [False, True])
def test_local_scores_follow_the_formula(gated):
    torch.manual_seed(3)
    local = MultiHeadLocalAttention(4, 6, gated=gated).eval()
    x = torch.randn(2, 3, 5, 4)
    hidden = functional.gelu(x @ local.fc1.weight.T)
    if gated:
        hidden = hidden * (x @ local.gate.weight.T).sigmoid()
    torch.testing.assert_close(local(x), (hidden @ local.fc2.weight.T)[..., 0])


# --- the refinement -----------------------------------------------------------------------------


@pytest.fixture
def refinement():
    torch.manual_seed(4)
    return GlobalAttentionRefinement(8, alpha_init=0.7)


def scores_and_heads(instances=6):
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(2, 3, instances, 8, generator=generator)
    return x, torch.randn(2, 3, instances, generator=generator)


def explicit(refinement, x, scores, mask=None):
    queries, keys = refinement.qk(refinement.norm_x(x)).chunk(2, dim=-1)
    product = queries @ keys.transpose(-1, -2) / math.sqrt(x.shape[-1])
    if mask is not None:
        product = product.masked_fill(~mask[:, None, None], -math.inf)
    return scores + (product.softmax(dim=-1) @ (refinement.alpha * scores)[..., None])[..., 0]


@pytest.mark.parametrize("masked", [False, True])
def test_it_is_the_explicit_product_and_so_are_its_gradients(refinement, masked):
    x, scores = scores_and_heads()
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2]) if masked else None
    gradients = []
    for function in (refinement, lambda *given: explicit(refinement, *given)):
        refinement.zero_grad()
        leaf = x.clone().requires_grad_()
        found = function(leaf, scores, mask)
        found.square().sum().backward()
        gradients.append((found.detach(), leaf.grad, refinement.qk.weight.grad, refinement.alpha.grad))
    for fused, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(fused, plain, atol=1e-5, rtol=1e-4)


def test_a_single_instance_adds_alpha_times_its_score(refinement):
    x, scores = scores_and_heads(1)
    torch.testing.assert_close(refinement(x, scores), 1.7 * scores)


def test_without_queries_and_keys_a_constant_is_added_and_the_attention_stays(refinement):
    x, scores = scores_and_heads()
    nn.init.zeros_(refinement.qk.weight)
    refined = refinement(x, scores)
    torch.testing.assert_close(refined, scores + 0.7 * scores.mean(dim=-1, keepdim=True))
    torch.testing.assert_close(refined.softmax(-1), scores.softmax(-1))


def test_alpha_starts_where_it_is_told_or_anywhere():
    assert GlobalAttentionRefinement(8, 1.0).alpha.item() == 1.0
    torch.manual_seed(6)
    drawn = np.array([GlobalAttentionRefinement(2).alpha.item() for _ in range(200)])
    assert abs(drawn.mean()) < 0.25
    assert 0.8 < drawn.std() < 1.2


def test_the_fused_product_is_used_on_a_cpu(refinement):
    x, scores = scores_and_heads()
    with torch.profiler.profile() as profile:
        refinement(x, scores)
    assert any("flash_attention" in event.key for event in profile.key_averages())


# --- baselines ----------------------------------------------------------------------------------


def test_mean_and_max_pool_the_logits_of_instances():
    x = features()
    mean, largest = ALL["mean"]().eval(), ALL["max"]().eval()
    torch.testing.assert_close(mean(x), mean.instance_logits(x).mean(dim=1))
    found = largest.explain(x)
    torch.testing.assert_close(found.logits, largest.instance_logits(x).amax(dim=1))
    torch.testing.assert_close(
        (found.attention * largest.instance_logits(x).transpose(1, 2)).sum(-1), found.logits
    )


def test_gated_attention_drops_units_of_both_branches():
    torch.manual_seed(0)
    local = MultiHeadLocalAttention(4, 4000, gated=True, activation="tanh")
    nn.init.ones_(local.fc2.weight)
    x = torch.ones(1, 1, 4)
    with torch.no_grad():
        local.fc1.weight.fill_(9.0)  # both branches are 1
        local.gate.weight.fill_(9.0)
        kept = local(x).item() * (1 - GATE_DROPOUT) ** 2 / 4000  # each unit survives twice
        assert kept == pytest.approx((1 - GATE_DROPOUT) ** 2, abs=0.03)
        assert local.eval()(x).item() == pytest.approx(4000)


# --- heads --------------------------------------------------------------------------------------


@pytest.mark.parametrize("multi_branch", [False, True])
def test_clams_loss_tells_the_instances_of_most_and_least_attention_apart(multi_branch):
    torch.manual_seed(0)
    model = CLAM(12, 2, embed_dim=16, num_instances=2, multi_branch=multi_branch).eval()
    x, labels = features(2, 9), torch.tensor([1, 0])
    mask = torch.arange(9) < torch.tensor([[9], [6]])
    found = model.explain(x, mask)
    expected = []
    for bag, label in enumerate(labels.tolist()):
        embedded = model.feature(x[bag, mask[bag]])
        for number, classifier in enumerate(model.instance_classifiers):
            order = found.attention[bag, number if multi_branch else 0, mask[bag]].argsort(descending=True)
            chances = classifier(embedded[order]).log_softmax(dim=-1)
            if number == label:
                expected.append(-(chances[:2, 1].sum() + chances[-2:, 0].sum()) / 4)
            else:
                expected.append(-chances[:2, 0].mean())
    bags = functional.cross_entropy(found.logits, labels)
    loss = 0.7 * bags + 0.3 * torch.stack(expected).mean()
    torch.testing.assert_close(model.loss(found, labels, mask), loss)


def test_dsmil_weighs_instances_by_their_likeness_to_the_critical_one():
    torch.manual_seed(0)
    model = ALL["dsmil"]().eval()
    x, labels = features(1), torch.tensor([2])
    found = model.explain(x)
    embedded = model.feature(x)[0]
    logits = model.classifier(embedded)
    for number in range(3):
        queries = model.query(embedded)
        products = queries @ queries[logits[:, number].argmax()] / math.sqrt(8)
        torch.testing.assert_close(found.attention[0, number], products.softmax(dim=0))
    streams = [functional.cross_entropy(out, labels) for out in (found.logits, logits.amax(0, keepdim=True))]
    torch.testing.assert_close(model.loss(found, labels), sum(streams) / 2)


def test_transmils_attention_is_that_of_its_class_token():
    torch.manual_seed(0)
    model = ALL["transmil"]().eval()
    x = features(1, 4)  # a square already
    tokens, _ = model.layer1(torch.cat([model.cls_token, model.feature(x)], dim=1))
    plane = tokens[:, 1:].mT.reshape(1, 16, 2, 2)
    plane = plane + sum(convolution(plane) for convolution in model.positions)
    tokens, weights = model.layer2(torch.cat([tokens[:, :1], plane.flatten(2).mT], dim=1))
    found = model.explain(x)
    torch.testing.assert_close(found.logits, model.classifier(model.final_norm(tokens)[:, 0]))
    torch.testing.assert_close(found.attention, functional.normalize(weights[..., 1:], p=1, dim=-1))
    assert not torch.allclose(model(x), model(x.flip(1)))  # the order counts
    with pytest.raises(ValueError, match="embed_dim=16 is not divisible"):
        TransMIL(12, 2, embed_dim=16, num_heads=3)


# --- sparsity -----------------------------------------------------------------------------------


def test_sparsity_is_one_on_a_single_instance_and_zero_where_uniform():
    one = torch.tensor([[[0.0, 1.0, 0.0, 0.0]]])
    uniform = torch.full((1, 2, 4), 0.25)
    half = torch.tensor([[[0.5, 0.5, 0.0, 0.0]]])
    assert attention_sparsity(one).item() == pytest.approx(1)
    assert attention_sparsity(uniform).item() == pytest.approx(0, abs=1e-6)
    assert attention_sparsity(half).item() == pytest.approx(0.5)
    assert attention_sparsity(half, torch.tensor([2])).item() == pytest.approx(0, abs=1e-6)
    assert attention_sparsity(torch.ones(1, 1, 1)).item() == 0
