"""Transformers models as Swift and Super: raw texts, decoder and encoder energies."""

import dataclasses

import pytest
import torch
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertForSequenceClassification,
)

from assay.models import Training
from assay.models.sequence import reply_mask
from assay.papers.language.elang.method import (
    EncoderEnergyHead,
    EnergyRouter,
    RoutingPolicy,
    TextClassifier,
    TextGenerator,
    fingerprint,
    free_energy,
    sequence_energy,
)

TEXTS = ["the film was great", "awful", "it was a dull plot a poor cast", "nice score", "bad film"]


def classifier(folder):
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    return TextClassifier(model, AutoTokenizer.from_pretrained(folder)).eval()


def two_below(scores):
    """A threshold halfway between the second and the third lowest score."""
    return scores.sort().values[1:3].mean().item()


def generator(folder, **options):
    model = AutoModelForSeq2SeqLM.from_pretrained(folder)
    return TextGenerator(model, AutoTokenizer.from_pretrained(folder), max_new_tokens=4, **options).eval()


# --- classifiers --------------------------------------------------------------------------------


def test_classifiers_with_different_tokenizers_share_raw_texts(tiny_bert):
    swift = classifier(tiny_bert(8))
    super_ = classifier(tiny_bert(16, words=["film", "great", "was", "awful", "poor"], seed=1))
    threshold = two_below(-free_energy(swift(TEXTS)))
    output = EnergyRouter(swift, super_, policy=RoutingPolicy(threshold)).predict(TEXTS)
    assert output.route.sum() == 2
    for row, text in enumerate(TEXTS):
        model = super_ if output.route[row] else swift
        torch.testing.assert_close(output.logits[row], model([text])[0], atol=1e-5, rtol=0)


def test_label_names_come_from_the_config(tiny_bert):
    swift = classifier(tiny_bert(8))
    assert swift.label_names == ("negative", "positive")
    assert EnergyRouter(swift, classifier(tiny_bert(16))).label_names == ("negative", "positive")
    with pytest.raises(ValueError, match="the same labels in another order"):
        EnergyRouter(swift, classifier(tiny_bert(16, labels=("positive", "negative"))))
    with pytest.raises(ValueError, match="another order"):  # bare transformers models too
        EnergyRouter(swift.model, classifier(tiny_bert(16, labels=("positive", "negative"))).model)


def test_placeholder_labels_are_no_labels(tiny_bert):
    placeholders = classifier(tiny_bert(8, labels=("LABEL_0", "LABEL_1")))
    assert placeholders.label_names is None
    assert EnergyRouter(placeholders, classifier(tiny_bert(16))).label_names is None


def test_long_texts_are_cut_to_what_the_model_can_take(tiny_bert):
    assert classifier(tiny_bert(8))(["film " * 100]).shape == (1, 2)


def test_bare_models_take_token_ids(tiny_bert):
    swift, super_ = classifier(tiny_bert(8)), classifier(tiny_bert(16))
    tokens = dict(swift.tokenizer(TEXTS, padding=True, return_tensors="pt"))
    policy = RoutingPolicy(two_below(-free_energy(swift(TEXTS))))
    bare = EnergyRouter(swift.model, super_.model, policy=policy).predict(tokens)
    wrapped = EnergyRouter(swift, super_, policy=policy).predict(TEXTS)
    assert torch.equal(bare.route, wrapped.route)
    torch.testing.assert_close(bare.logits, wrapped.logits, atol=1e-5, rtol=0)


def test_a_loaded_copy_has_the_same_fingerprint(tiny_bert, tmp_path):
    first = classifier(tiny_bert(8))
    first.model.save_pretrained(tmp_path)
    again = BertForSequenceClassification.from_pretrained(tmp_path)
    assert fingerprint(again) == fingerprint(first.model)


def test_calibration_on_texts(tiny_bert):
    router = EnergyRouter(classifier(tiny_bert(8)), classifier(tiny_bert(32, seed=1)))
    labels = torch.tensor([1, 0, 0, 1, 0])
    policy = router.calibrate([(TEXTS, labels)] * 4, "share", 0.4)
    assert policy.label_names == ("negative", "positive")
    assert policy.costs.super_ > 2 * policy.costs.swift
    assert policy.held_out.rows == 10


# --- generators ---------------------------------------------------------------------------------


def test_decoder_energy_is_the_mean_over_the_generated_tokens(tiny_t5):
    swift = generator(tiny_t5(16))
    replies = swift(TEXTS)
    tokens = swift.tokenizer(TEXTS, padding=True, return_tensors="pt")
    sequences = swift.model.generate(**tokens, max_new_tokens=4, do_sample=False, num_beams=1)
    assert replies.texts == swift.tokenizer.batch_decode(sequences[:, 1:], skip_special_tokens=True)
    forced = swift.model(**tokens, decoder_input_ids=sequences[:, :-1]).logits
    torch.testing.assert_close(
        sequence_energy(replies.step_logits, replies.mask),
        sequence_energy(forced, replies.mask),
        atol=1e-4,
        rtol=0,
    )
    output = EnergyRouter(swift, generator(tiny_t5(8)), policy=RoutingPolicy(-100.0)).predict(TEXTS)
    assert output.prediction == replies.texts
    torch.testing.assert_close(output.score, -sequence_energy(replies.step_logits, replies.mask))


def test_steps_end_before_the_end_token():
    tokens = torch.tensor([[5, 6, 1, 0], [5, 6, 7, 8], [1, 0, 0, 0]])
    expected = [[True, True, False, False], [True] * 4, [True, False, False, False]]
    assert reply_mask(tokens, [1]).tolist() == expected


def test_routed_texts_are_supers_replies(tiny_t5):
    swift, super_ = generator(tiny_t5(16)), generator(tiny_t5(32, seed=1), keep_logits=False)
    own, other = swift(TEXTS), super_(TEXTS)
    threshold = two_below(-sequence_energy(own.step_logits, own.mask))
    output = EnergyRouter(swift, super_, policy=RoutingPolicy(threshold)).predict(TEXTS)
    routes = output.route.tolist()
    assert sum(routes) == 2
    assert output.prediction == [
        other.texts[row] if to_super else own.texts[row] for row, to_super in enumerate(routes)
    ]
    assert not other.step_logits
    with pytest.raises(ValueError, match="keep_logits=True"):
        EnergyRouter(super_, swift, policy=RoutingPolicy(0.0)).predict(TEXTS)


def test_generators_are_calibrated_on_texts(tiny_t5):
    router = EnergyRouter(generator(tiny_t5(8)), generator(tiny_t5(32, seed=1), keep_logits=False))
    policy = router.calibrate([(TEXTS, TEXTS)] * 2, "share", 0.4)
    assert policy.num_classes is None
    assert policy.costs.super_ > policy.costs.swift > 0


# --- encoder energy -----------------------------------------------------------------------------


@pytest.fixture
def head(tiny_t5):
    swift = generator(tiny_t5(16))
    labels = torch.tensor([1, 0, 0, 1, 0])
    stream = torch.Generator().manual_seed(0)
    training = Training(epochs=200, learning_rate=0.1, batch_size=2)
    fitted = EncoderEnergyHead(16, 2).fit(swift.encode, [(TEXTS, labels)], training, stream)
    return swift, fitted, labels


def test_the_head_learns_on_frozen_states(head):
    swift, fitted, labels = head
    before = fingerprint(swift)
    encoded = swift.encode(TEXTS)
    assert torch.equal(fitted(encoded.hidden, encoded.mask).argmax(-1), labels)
    assert fingerprint(swift) == before
    padded = torch.cat([encoded.hidden, torch.full_like(encoded.hidden[:, :1], 9.0)], dim=1)
    mask = torch.cat([encoded.mask, torch.zeros(5, 1, dtype=torch.bool)], dim=1)
    torch.testing.assert_close(fitted(padded, mask), fitted(encoded.hidden, encoded.mask))


def test_a_routed_row_does_not_run_swifts_decoder(head, tiny_t5, monkeypatch):
    swift, fitted, _ = head
    encoded = swift.encode(TEXTS)
    scores = -free_energy(fitted(encoded.hidden, encoded.mask))
    decoded = []
    decode = swift.decode
    monkeypatch.setattr(swift, "decode", lambda part: decoded.append(len(part.mask)) or decode(part))
    policy = RoutingPolicy(two_below(scores), read_from="encoder")
    super_ = generator(tiny_t5(8), keep_logits=False)
    router = EnergyRouter(swift, super_, head=fitted, policy=policy)
    output = router.predict(TEXTS)
    torch.testing.assert_close(output.score, scores, atol=1e-4, rtol=0)
    assert decoded == [3]
    alone = swift(TEXTS).texts
    assert all(output.prediction[row] == alone[row] for row in (~output.route).nonzero().flatten().tolist())
    list(
        EnergyRouter(swift, super_, head=fitted, policy=RoutingPolicy(1e9, read_from="encoder")).stream(
            [TEXTS]
        )
    )
    assert decoded == [3, 5]  # the 5 are `alone`; nothing was kept in the stream


def test_costs_tell_encoder_and_decoder_apart(head, tiny_t5):
    swift, fitted, _ = head
    router = EnergyRouter(swift, generator(tiny_t5(32)), head=fitted)
    policy = router.calibrate([(TEXTS, TEXTS)] * 2, "share", 0.4)
    whole = EnergyRouter(swift, generator(tiny_t5(32))).count_costs(TEXTS)
    head_flops = 2 * 16 * 2
    assert policy.costs.head + policy.costs.swift == pytest.approx(whole.swift + head_flops)
    assert policy.costs.head > head_flops
    assert policy.wall_time.head > 0
    assert policy.read_from == "encoder"
    assert policy.num_classes == 2
    assert EnergyRouter(swift, router.super_, policy=policy).swift.head is fitted
    with pytest.raises(ValueError, match="read_from='encoder'"):
        EnergyRouter(swift, router.super_, policy=dataclasses.replace(policy, head=None))


def test_a_head_survives_its_file(head, tmp_path):
    _, fitted, _ = head
    fitted.save(tmp_path)
    assert fingerprint(EncoderEnergyHead.load(tmp_path)) == fingerprint(fitted)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}


def test_a_head_needs_an_encoder(head, tiny_bert):
    _, fitted, _ = head
    with pytest.raises(ValueError, match="encode and decode"):
        EnergyRouter(classifier(tiny_bert(8)), classifier(tiny_bert(8)), head=fitted)
