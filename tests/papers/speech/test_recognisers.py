"""Adapters: transformers models from folders, pipelines, pocketsphinx."""

import numpy as np
import pytest
import torch
from transformers import (
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
    pipeline,
)

from assay.errors import InputError
from assay.models import tiny_causal_lm, word_tokenizer
from assay.papers.speech.recognisers import HFCTC, HFSeq2Seq, PocketSphinx, as_system, load_system

RATE = 16_000
LETTERS = ["<pad>", "<unk>", "|", *"abcde"]


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    """The folder of a tiny Whisper for English."""
    folder = tmp_path_factory.mktemp("whisper")
    torch.manual_seed(0)
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    special = ["<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>"]
    vocabulary = {token: number for number, token in enumerate([*letters, *special])}
    tokenizer = WhisperTokenizer(vocab=vocabulary, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": special[1:]})
    extractor = WhisperFeatureExtractor(feature_size=8, chunk_length=2)
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        num_mel_bins=8,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_source_positions=100,
        max_target_positions=20,
        decoder_start_token_id=vocabulary["<|startoftranscript|>"],
        eos_token_id=vocabulary["<|endoftext|>"],
        pad_token_id=vocabulary["<|endoftext|>"],
        bos_token_id=vocabulary["<|endoftext|>"],
        begin_suppress_tokens=None,
        suppress_tokens=None,
    )
    model = WhisperForConditionalGeneration(config)
    model.generation_config.max_length = 8
    model.generation_config.begin_suppress_tokens = None
    model.save_pretrained(folder)
    WhisperProcessor(extractor, tokenizer).save_pretrained(folder)
    return folder


def test_a_ctc_model_is_decoded_greedily_whatever_the_padding(ctc, noise):
    system = load_system(f"folder:{ctc}")
    assert isinstance(system, HFCTC)
    audio = noise(0.2, 0.5, 0.3)
    together = system(audio)
    assert together == [system([sound])[0] for sound in audio]
    inputs = system.processor(audio[0], sampling_rate=RATE, return_tensors="pt")
    path = system.model(**inputs).logits.argmax(-1)[0]
    letters = [LETTERS[token] for token in torch.unique_consecutive(path).tolist()]
    expected = "".join(letter for letter in letters if letter != "<pad>").replace("|", " ")
    assert together[0] == expected.strip()


def test_a_sound_shorter_than_a_frame_is_no_reason_to_stop(ctc, noise):
    system = load_system(f"folder:{ctc}")
    assert len(system([np.zeros(0, np.float32)])) == 1
    assert len(system([np.zeros(30, np.float32)])) == 1


def test_an_encoder_decoder_generates(whisper, noise):
    system = load_system(f"folder:{whisper}")
    assert isinstance(system, HFSeq2Seq)
    texts = system(noise(0.2, 0.5))
    assert len(texts) == 2
    assert all(isinstance(text, str) for text in texts)
    with pytest.raises(InputError, match=r"2.5 s is longer than the 2 s .* \(--chunk-seconds\)"):
        system(noise(0.2, 2.5))  # the processor would cut it off without a word
    assert system(noise(0.2, 0.5))[0] == system(noise(0.2))[0]


def pipeline_of(loaded):
    """Return transformers' own pipeline of the same model."""
    return pipeline(
        "automatic-speech-recognition",
        model=loaded.model,
        tokenizer=loaded.processor.tokenizer,
        feature_extractor=loaded.processor.feature_extractor,
    )


def test_a_pipeline_is_a_system(ctc, noise):
    loaded, audio = load_system(f"folder:{ctc}"), noise(0.2, 0.3)
    assert as_system(pipeline_of(loaded))(audio) == loaded(audio)


def test_with_five_beams_an_encoder_decoder_says_what_its_pipeline_says(whisper, noise):
    loaded, audio = load_system(f"folder:{whisper}", beams=5), noise(0.2, 0.5)
    assert as_system(pipeline_of(loaded))(audio) == loaded(audio)


def test_models_that_do_not_recognise_speech_are_refused(tmp_path):
    tokenizer = word_tokenizer(["a b"], 8)
    tiny_causal_lm(tokenizer, hidden=8, layers=1, heads=2).save_pretrained(tmp_path / "lm")
    with pytest.raises(InputError, match=r"does not recognise speech. Give one with a CTC head"):
        load_system(f"folder:{tmp_path / 'lm'}")
    with pytest.raises(InputError, match=r"There is no folder"):
        load_system(f"folder:{tmp_path / 'none'}")
    with pytest.raises(InputError, match=r"built-in 'pocketsphinx'"):
        load_system("pocketsfinx")
    with pytest.raises(InputError, match=r"server of text models"):
        load_system("http://localhost/v1#x")


def test_pocketsphinx_forgets_the_last_sound(noise):
    system = PocketSphinx(lm=None, keyphrase="hello")
    audio = [*noise(0.3, 0.5), np.zeros(0, np.float32)]
    assert system(audio) == system(audio[::-1])[::-1]
    assert system(audio)[2] == ""
