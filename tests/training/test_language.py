"""The masked loss, greedy decoding and scores of continuations, against transformers and by hand."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from assay.training import (
    batches,
    completion_rows,
    fit,
    greedy_decode,
    mean_token_loss,
    next_token_loss,
    pack_documents,
    pad_rows,
)

PAD, STOP = 0, 1


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=12,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=32,
        pad_token_id=PAD,
        bos_token_id=None,
        eos_token_id=STOP,
    )
    return LlamaForCausalLM(config)


def test_rows_are_filled_up_on_either_side() -> None:
    rows = [[5, 6, 7], [8], []]
    assert pad_rows(rows, PAD).tolist() == [[5, 6, 7], [8, 0, 0], [0, 0, 0]]
    assert pad_rows(rows, PAD, side="left").tolist() == [[5, 6, 7], [0, 0, 8], [0, 0, 0]]
    assert pad_rows([], PAD).shape == (0, 0)


def test_the_loss_is_that_of_transformers(model: LlamaForCausalLM) -> None:
    ids = torch.randint(2, 12, (3, 7))
    labels = ids.clone()
    labels[:, :3] = -100
    expected = model(input_ids=ids, labels=labels).loss
    torch.testing.assert_close(next_token_loss(model, (ids, labels)), expected)


def test_the_mean_loss_of_a_token_does_not_depend_on_batches(model: LlamaForCausalLM) -> None:
    rows = completion_rows([[2, 3], [4]], [[5, 6, 7, STOP], [8, STOP]], PAD)
    found = [mean_token_loss(model, rows, batch_size=size) for size in (1, 2)]
    assert found[0] == pytest.approx(found[1])
    assert found[0] == pytest.approx(next_token_loss(model.eval(), rows).item())


def test_only_completions_are_labelled_and_cut_at_the_context() -> None:
    ids, labels = completion_rows([[2, 3], [4]], [[5, 6, 7], [8]], PAD, context=4)
    assert ids.tolist() == [[2, 3, 5, 6], [4, 8, PAD, PAD]]
    assert labels.tolist() == [[-100, -100, 5, 6], [-100, 8, -100, -100]]


def test_documents_are_packed_without_gaps() -> None:
    assert pack_documents([[1, 2, 3], [4, 5], [6, 7]], 3).tolist() == [[1, 2, 3], [4, 5, 6]]
    with pytest.raises(ValueError, match="2 tokens in all, which do not fill a row of 3"):
        pack_documents([[1], [2]], 3)


def test_greedy_decoding_does_not_depend_on_padding_or_batches(model: LlamaForCausalLM) -> None:
    prompts = [[3, 4, 5, 6, 7], [8], [9, 10], [11, 2, 3]]
    alone = [greedy_decode(model, [prompt], 6, None, PAD)[0] for prompt in prompts]
    assert greedy_decode(model, prompts, 6, None, PAD) == alone
    assert greedy_decode(model, prompts, 6, None, PAD, batch_size=2) == alone
    for prompt, found in zip(prompts, alone, strict=True):
        whole = list(prompt)
        for token in found:
            assert model(input_ids=torch.tensor([whole])).logits[0, -1].argmax() == token
            whole.append(token)


def test_decoding_ends_at_the_stop_token(model: LlamaForCausalLM) -> None:
    endless = greedy_decode(model, [[3, 4]], 6, None, PAD)[0]
    stop = endless[2]
    assert greedy_decode(model, [[3, 4]], 6, stop, PAD)[0] == endless[: endless.index(stop)]


def test_a_model_learns_what_is_labelled_alone(model: LlamaForCausalLM) -> None:
    ids = torch.tensor([[2, 3, 4], [5, 6, 7]])
    labels = torch.tensor([[-100, -100, 4], [-100, -100, 7]])
    fit(
        model,
        batches(ids, labels, batch_size=2, shuffle=False),
        next_token_loss,
        optimizer=torch.optim.Adam(model.parameters(), 1e-2),
        steps=60,
    )
    assert greedy_decode(model, [[2, 3], [5, 6]], 1, None, PAD) == [[4], [7]]
