"""Recognisers for all sets or for one, and the fine-tuning of a pretrained encoder."""

import pytest
import torch
from transformers import Wav2Vec2ForCTC

from assay.errors import InputError
from assay.models import OwnModel
from assay.papers.speech.esb.config import Finetuning
from assay.papers.speech.esb.method import HFCTC, SpeechDataset
from assay.papers.speech.esb.training import finetune, share_steps
from assay.training import Compute


def test_gradient_steps_are_shared_in_whole_numbers():
    assert share_steps(960, 4) == [240] * 4
    assert share_steps(8, 6) == [2, 2, 1, 1, 1, 1]
    with pytest.raises(InputError, match=r"3 gradient steps cannot be shared by 4 sets"):
        share_steps(3, 4)


def test_a_pretrained_encoder_is_fine_tuned_on_characters(ctc, noise, tmp_path):
    dataset = SpeechDataset.from_arrays("x", noise(0.5, 0.6, 0.7), ["Ab c.", "De", "ab"])
    options = Finetuning(OwnModel(f"folder:{ctc}"), batch_size=2, learning_rate=1e-3, warmup=1)
    torch.manual_seed(0)
    system = finetune(dataset.utterances, options, 3, Compute("cpu"))
    letters = system.processor.tokenizer.get_vocab()
    assert {"A", "b", "|", "."} <= set(letters)
    assert system.model.config.vocab_size == len(letters)
    before = Wav2Vec2ForCTC.from_pretrained(ctc).wav2vec2.feature_extractor.state_dict()
    after = system.model.wav2vec2.feature_extractor.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not torch.equal(
        Wav2Vec2ForCTC.from_pretrained(ctc).wav2vec2.feature_projection.projection.weight,
        system.model.wav2vec2.feature_projection.projection.weight,
    )
    assert len(system(noise(0.5))) == 1
    system.save(tmp_path)
    assert HFCTC.load(tmp_path)(noise(0.5, 0.7)) == system(noise(0.5, 0.7))

    weights = {name: value.clone() for name, value in system.model.state_dict().items()}
    other = SpeechDataset.from_arrays("y", noise(0.5, 0.6), ["ad", "be"])
    adapted = finetune(other.utterances, options, 3, Compute("cpu"), system)
    assert adapted.processor.tokenizer.get_vocab() == letters
    assert all(torch.equal(value, weights[name]) for name, value in system.model.state_dict().items())
    assert not torch.equal(adapted.model.lm_head.weight, system.model.lm_head.weight)


def test_fine_tuning_without_a_short_utterance_is_refused(ctc, noise):
    dataset = SpeechDataset.from_arrays("x", noise(0.5), ["a"])
    with pytest.raises(InputError, match=r"shorter than 0.1 s"):
        finetune(dataset.utterances, Finetuning(OwnModel(f"folder:{ctc}"), longest=0.1), 1, Compute("cpu"))
