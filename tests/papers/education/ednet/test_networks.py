"""Networks: zero weights, causality, memories, windows, and training that stops in time."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from assay.errors import InputError
from assay.papers.education.ednet.method import KTDataset, collate
from assay.papers.education.ednet.method.networks import DKVMN, NETWORKS, NetworkSize, causal
from assay.papers.education.ednet.method.tracer import (
    NeuralTracer,
    Training,
    answer_loss,
    build_network,
    train_network,
)
from assay.papers.education.ednet.method.windows import Batches

SMALL = NetworkSize(width=8, layers=2, heads=2, slots=4, seq_len=16, dropout=0.1, times=True)


def network(name, steps, **changes):
    torch.manual_seed(0)
    return build_network(name, steps.catalogue, dataclasses.replace(SMALL, **changes)).eval()


def whole(steps, seq_len=16):
    data = KTDataset(steps, seq_len)
    return data.batch(np.arange(len(data)))


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_of_zero_know_nothing(name, random_steps):
    steps = random_steps(learners=4)
    model = network(name, steps)
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    batch = whole(steps)
    assert torch.equal(model(batch), torch.full(batch.item.shape, 0.5))
    assert answer_loss(model, batch).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("name", NETWORKS)
def test_an_answer_moves_only_what_comes_after_it(name, random_steps):
    steps = random_steps(learners=3, length=10)
    model, batch = network(name, steps), whole(steps)
    plain = model(batch)
    for place in (0, 4, 9):
        correct = batch.correct.clone()
        correct[:, place] = 1 - correct[:, place]
        moved = (model(batch._replace(correct=correct)) - plain).abs() > 1e-6
        assert not moved[:, : place + 1].any()
        assert moved[:, place + 1 :].any() == (place < 9)
        later = batch.item.clone()
        later[:, place + 1 :] = 1
        assert torch.allclose(
            model(batch._replace(item=later))[:, : place + 1], plain[:, : place + 1], atol=1e-6
        )


@pytest.mark.parametrize("name", NETWORKS)
def test_a_blind_network_does_not_see_answers(name, random_steps):
    steps = random_steps(learners=3)
    model, batch = network(name, steps, blind=True), whole(steps)
    assert torch.equal(model(batch), model(batch._replace(correct=1 - batch.correct)))


@pytest.mark.parametrize("name", NETWORKS)
def test_padding_changes_nothing(name, random_steps):
    steps = random_steps(learners=3)
    model, batch = network(name, steps), whole(steps)
    padded = collate([KTDataset(steps, 16)[0], KTDataset(steps, 5)[1]])
    assert torch.allclose(model(padded)[0], model(batch)[0], atol=1e-6)
    assert not padded.trained[1, 5:].any()


def test_dkvmn_reads_before_it_writes_and_keeps_what_it_does_not_write(random_steps):
    steps = random_steps(learners=2)
    model = network("dkvmn", steps)
    assert isinstance(model, DKVMN)
    torch.manual_seed(1)
    weight = torch.softmax(torch.randn(2, 3, 4), dim=-1)
    nothing = torch.zeros(2, 3, 8)
    reads = model.reads(weight, nothing, nothing)
    assert torch.allclose(reads, weight @ model.values)  # the memory of the start, at every step
    erase, add = torch.rand(2, 3, 8), torch.rand(2, 3, 8)
    reads = model.reads(weight, erase, add)
    assert torch.allclose(reads[:, 0], weight[:, 0] @ model.values)
    slot = weight[:, 0].unsqueeze(-1)
    memory = model.values * (1 - slot * erase[:, :1]) + slot * add[:, :1]
    assert torch.allclose(reads[:, 1], (weight[:, 1].unsqueeze(-1) * memory).sum(1), atol=1e-6)


def test_a_question_is_itself_plus_the_mean_of_its_skills(make_steps):
    steps = make_steps([(1, 1), (3, 0)])
    embed = network("dkt", steps).question
    found = embed(torch.tensor([[1, 3]]))
    skills, own = embed.skill.weight, embed.own.weight
    assert torch.allclose(found[0, 0], own[1] + skills[0])
    assert torch.allclose(found[0, 1], own[3] + (skills[0] + skills[1]) / 2)


def test_saint_plus_sees_times_and_only_those_before(make_steps):
    steps = make_steps([(1, 1), (2, 0), (1, 1)], time=[0, 60_000, 10**9])
    steps = dataclasses.replace(steps, elapsed=np.array([5.0, 10.0, 400.0]))
    batch = whole(steps)
    assert batch.lag[0].tolist() == [0, 1, 1440]
    model, blind = network("saint", steps), network("saint", steps, times=False)
    changed = batch._replace(elapsed=batch.elapsed + torch.tensor([[0.0, 30.0, 0.0]]))
    moved = (model(changed) - model(batch)).abs()[0]
    assert moved[1] == 0
    assert moved[2] > 0
    assert torch.equal(blind(changed), blind(batch))


def test_a_second_block_of_sakt_asks_what_the_first_found(random_steps):
    steps = random_steps(learners=3, length=8)
    model, batch = network("sakt", steps), whole(steps)
    question, found = model.question(batch.item), model.shifted(model.events(batch))
    for block in range(2):
        seen, _ = model.attend[block](question, found, found, attn_mask=causal(8, found.device))
        asked = model.norm[2 * block](question + seen)
        found = model.norm[2 * block + 1](asked + model.feed[block](asked))
    expected = model.out(found).squeeze(-1) + model.easiness_of(batch)
    assert torch.allclose(model.logits(batch), expected, atol=1e-6)


def test_saint_normalises_before_each_sublayer(random_steps):
    """With sublayers that add nothing, what goes in comes out: nothing normalises the way past them."""
    steps = random_steps(learners=2, length=6)
    model, batch = network("saint", steps), whole(steps)
    for name, parameter in model.named_parameters():
        if name.startswith("decoder") and "norm" not in name:
            torch.nn.init.zeros_(parameter)
    taken = model.responses(batch) + model.position(torch.arange(6))
    expected = model.out(taken).squeeze(-1) + model.easiness_of(batch)
    assert torch.allclose(model.logits(batch), expected, atol=1e-6)


# --- windows ------------------------------------------------------------------------------------


def test_windows_cover_every_step_once(random_steps):
    steps = random_steps(learners=5, length=23)
    for seq_len, stride in ((7, 7), (10, 4), (50, 25)):
        data = KTDataset(steps, seq_len, stride)
        rows = torch.cat([batch.row[batch.trained] for batch in Batches(data, 3)])
        assert sorted(rows.tolist()) == list(range(len(steps)))
        scored = torch.cat([batch.row[batch.scored] for batch in Batches(data, 3)])
        assert sorted(scored.tolist()) == np.flatnonzero(steps.scored).tolist()


def test_a_data_loader_gives_the_same_batches(random_steps):
    data = KTDataset(random_steps(learners=4), 8)
    ours = data.batch(np.arange(len(data)))
    (theirs,) = DataLoader(data, batch_size=len(data), collate_fn=collate)
    assert all(torch.equal(one * 1, other * 1) for one, other in zip(ours[:7], theirs[:7], strict=True))


def test_long_histories_are_seen_through_windows_with_a_past(random_steps):
    steps = random_steps(learners=2, length=12)
    model = network("dkt", steps)
    straight = NeuralTracer(model).predict(steps)
    model.size = dataclasses.replace(model.size, seq_len=6)
    cut = NeuralTracer(model).predict(steps)
    assert cut[:6] == pytest.approx(straight[:6], abs=1e-6)
    assert not np.allclose(cut[6:12], straight[6:12])


# --- training -----------------------------------------------------------------------------------


def test_training_learns_an_obvious_rule_and_keeps_the_best_pass(make_steps):
    random = np.random.default_rng(0)
    rows = [
        [(int(random.integers(1, 4)), good) for _ in range(8)] for good in random.integers(0, 2, 80).tolist()
    ]
    steps = make_steps(*rows)
    train, validation = steps.learners(np.arange(60)), steps.learners(np.arange(60, 80))
    torch.manual_seed(0)
    model = build_network("dkt", steps.catalogue, NetworkSize(width=8, seq_len=8, dropout=0.0))
    seen = []
    trained = train_network(
        model,
        train,
        validation,
        Training(epochs=12, patience=3, learning_rate=0.03, batch_size=16),
        generator=torch.Generator().manual_seed(0),
        on_epoch=lambda epoch, value: seen.append(epoch),
    )
    assert trained.best > 0.95
    assert seen == list(range(1, len(trained.validation) + 1))
    assert trained.best == max(trained.validation)
    since = len(trained.validation) - 1 - trained.validation.index(trained.best)
    assert since == 3 or len(trained.validation) == 12
    assert trained.gradient_steps == 4 * len(trained.validation)


def test_widths_that_heads_cannot_share_are_refused(random_steps):
    with pytest.raises(InputError, match="cannot be shared by 3 heads"):
        network("sakt", random_steps(), heads=3)
