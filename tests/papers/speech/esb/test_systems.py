"""Adapters: transformers models from folders, pipelines, pocketsphinx."""

import json

import numpy as np
import pytest
import torch
from transformers import (
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2Processor,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
    pipeline,
)

from assay.errors import InputError
from assay.models import OwnModel, tiny_causal_lm, word_tokenizer
from assay.papers.speech.esb.config import Finetuning
from assay.papers.speech.esb.finetuning import finetune
from assay.papers.speech.esb.method import (
    HFCTC,
    Benchmark,
    HFSeq2Seq,
    PocketSphinx,
    SpeechDataset,
    as_system,
    load_system,
)

RATE = 16_000
LETTERS = ["<pad>", "<unk>", "|", *"abcde"]


def noise(*seconds):
    random = np.random.default_rng(0)
    return [random.normal(0, 0.1, int(length * RATE)).astype(np.float32) for length in seconds]


@pytest.fixture(scope="module")
def ctc(tmp_path_factory):
    """The folder of a tiny wav2vec2 with a CTC head, of the form of wav2vec2-large (layer norm, masks)."""
    folder = tmp_path_factory.mktemp("wav2vec2")
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        vocab_size=len(LETTERS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8, 8),
        conv_stride=(10, 8),
        conv_kernel=(10, 8),
        num_feat_extract_layers=2,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        pad_token_id=0,
    )
    Wav2Vec2ForCTC(config).save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps({letter: number for number, letter in enumerate(LETTERS)}))
    tokenizer = Wav2Vec2CTCTokenizer(
        str(folder / "vocab.json"), pad_token="<pad>", unk_token="<unk>", bos_token=None, eos_token=None
    )
    extractor = Wav2Vec2FeatureExtractor(sampling_rate=RATE, do_normalize=True, return_attention_mask=True)
    Wav2Vec2Processor(extractor, tokenizer).save_pretrained(folder)
    return folder


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


def test_a_ctc_model_is_decoded_greedily_whatever_the_padding(ctc):
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


def test_a_sound_shorter_than_a_frame_is_no_reason_to_stop(ctc):
    system = load_system(f"folder:{ctc}")
    assert len(system([np.zeros(0, np.float32)])) == 1
    assert len(system([np.zeros(30, np.float32)])) == 1


def test_an_encoder_decoder_generates(whisper):
    system = load_system(f"folder:{whisper}")
    assert isinstance(system, HFSeq2Seq)
    texts = system(noise(0.2, 0.5))
    assert len(texts) == 2
    assert all(isinstance(text, str) for text in texts)
    with pytest.raises(InputError, match=r"2.5 s is longer than the 2 s .* \(--chunk-seconds\)"):
        system(noise(0.2, 2.5))  # the processor would cut it off without a word
    dataset = SpeechDataset.from_arrays("x", noise(0.2, 0.3), ["a b", "c"])
    assert not Benchmark([dataset]).run(system).violations


def pipeline_of(loaded):
    """Return transformers' own pipeline of the same model."""
    return pipeline(
        "automatic-speech-recognition",
        model=loaded.model,
        tokenizer=loaded.processor.tokenizer,
        feature_extractor=loaded.processor.feature_extractor,
    )


def test_a_pipeline_is_a_system(ctc):
    loaded, audio = load_system(f"folder:{ctc}"), noise(0.2, 0.3)
    assert as_system(pipeline_of(loaded))(audio) == loaded(audio)


def test_with_five_beams_an_encoder_decoder_says_what_its_pipeline_says(whisper):
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


def test_pocketsphinx_forgets_the_last_sound():
    system = PocketSphinx(lm=None, keyphrase="hello")
    audio = [*noise(0.3, 0.5), np.zeros(0, np.float32)]
    assert system(audio) == system(audio[::-1])[::-1]
    assert system(audio)[2] == ""


def test_a_pretrained_encoder_is_fine_tuned_on_characters(ctc):
    dataset = SpeechDataset.from_arrays("x", noise(0.5, 0.6, 0.7), ["Ab c.", "De", "ab"])
    options = Finetuning(OwnModel(f"folder:{ctc}"), batch_size=2, learning_rate=1e-3, warmup=1)
    torch.manual_seed(0)
    system = finetune(f"folder:{ctc}", dataset.utterances, options, 3, "cpu")
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

    weights = {name: value.clone() for name, value in system.model.state_dict().items()}
    other = SpeechDataset.from_arrays("y", noise(0.5, 0.6), ["ad", "be"])
    adapted = finetune(f"folder:{ctc}", other.utterances, options, 3, "cpu", system)
    assert adapted.processor.tokenizer.get_vocab() == letters
    assert all(torch.equal(value, weights[name]) for name, value in system.model.state_dict().items())
    assert not torch.equal(adapted.model.lm_head.weight, system.model.lm_head.weight)


def test_fine_tuning_without_a_short_utterance_is_refused(ctc):
    dataset = SpeechDataset.from_arrays("x", noise(0.5), ["a"])
    with pytest.raises(InputError, match=r"shorter than 0.1 s"):
        finetune(f"folder:{ctc}", dataset.utterances, Finetuning(longest=0.1), 1, "cpu")
