"""Recognisers for all sets or for one: the small one, or a pretrained encoder with a CTC head.

The latter is fine-tuned as the authors' wav2vec2 baselines are.
"""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from assay.errors import InputError
from assay.models import ModelSource, load_model
from assay.models.source import needs_transformers
from assay.papers.speech.audio import RATE
from assay.papers.speech.esb.config import Domains, Finetuning
from assay.papers.speech.esb.method import HFCTC, SpeechDataset, Utterance
from assay.papers.speech.options import Training
from assay.papers.speech.small_recogniser import SmallRecogniser, Speech, characters, train
from assay.training import Compute, fit
from assay.trial import Trial

LONGEST_TEXT = 512
"""Characters; utterances with more are left out."""
DELIMITER = "|"

# --- which recogniser learns from which set -----------------------------------------------------


def train_for_all(training: Sequence[SpeechDataset], config: Domains, trial: Trial) -> Any:
    """Train one recogniser on the utterances of all sets."""
    return _trained(_pooled(training), "one system", _options(config).steps, config, trial)


def train_for_each(training: Sequence[SpeechDataset], config: Domains, trial: Trial) -> list[Any]:
    """Train a recogniser for each set, all with the steps of the one system together.

    Those that are adapted go on, for half of the steps, from one that was trained on all sets for the other.
    """
    steps, start, way = _options(config).steps, None, "tuned"
    if config.recogniser == "adapted":
        start, way = _trained(_pooled(training), "half trained", steps // 2, config, trial), "adapted"
        steps -= steps // 2
    return [
        _trained(found.utterances, f"{way} {found.name}", count, config, trial, start)
        for found, count in zip(training, share_steps(steps, len(training)), strict=True)
    ]


def share_steps(steps: int, parts: int) -> list[int]:
    """Share gradient steps as equally as whole numbers allow.

    Raises:
        InputError: there are fewer steps than parts.
    """
    if steps < parts:
        raise InputError(
            f"{steps} gradient steps cannot be shared by {parts} sets. Give more --small-ctc.steps."
        )
    return [steps // parts + (row < steps % parts) for row in range(parts)]


def _pooled(training: Sequence[SpeechDataset]) -> list[Utterance]:
    return [utterance for found in training for utterance in found.utterances]


def _options(config: Domains) -> Training | Finetuning:
    """Return how recognisers are trained: the small one, or a pretrained encoder where there is one."""
    return config.small_ctc if config.fine_tuned.encoder.source is None else config.fine_tuned


def _trained(
    utterances: Sequence[Utterance], name: str, steps: int, config: Domains, trial: Trial, start: Any = None
) -> Any:
    """Train a recogniser on utterances, from the start or from another one."""
    trial.count("gradient_steps", steps)
    trial.count("utterances_seen", steps * _options(config).batch_size)
    if config.fine_tuned.encoder.source is not None:
        return finetune(utterances, config.fine_tuned, steps, trial.compute, start)
    speech = Speech([found.audio() for found in utterances], [found.text for found in utterances])
    recogniser: SmallRecogniser = trial.once(
        name, train, speech, config.small_ctc, steps, trial.compute, start
    )
    return recogniser


# --- fine-tuning --------------------------------------------------------------------------------


def finetune(
    utterances: Sequence[Utterance],
    options: Finetuning,
    steps: int,
    compute: Compute,
    start: HFCTC | None = None,
) -> HFCTC:
    """Put a CTC head over the characters of the transcripts on an encoder, and train all but its front end.

    Case and punctuation are kept; characters rarer than 0.01 % are left out. With a `start`, a copy of it is
    trained on, with the characters that it knows.

    Raises:
        InputError: the source is no encoder of speech, or no utterance is short enough.
    """
    usable = [utterance for utterance in utterances if len(utterance.text) <= LONGEST_TEXT]
    if not usable:
        raise InputError(f"No transcript is shorter than {LONGEST_TEXT} characters.")
    if start is not None:
        model, processor = copy.deepcopy(start.model), start.processor
    else:
        with needs_transformers():
            processor = _processor(characters([utterance.text for utterance in usable]))
            model = _model(options, len(processor.tokenizer), processor.tokenizer.pad_token_id)
    optimizer = torch.optim.AdamW(
        (parameter for parameter in model.parameters() if parameter.requires_grad), lr=options.learning_rate
    )
    warmup = max(1, min(options.warmup, steps // 2))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warmup, max(0.0, (steps - step) / max(1, steps - warmup)))
    )
    fit(
        model,
        _Batches(usable, processor, options, torch.initial_seed()),
        _loss,
        optimizer=optimizer,
        scheduler=schedule,
        steps=steps,
        clip=1.0,
        compute=compute,
    )
    return HFCTC(model, processor)


def _model(options: Finetuning, symbols: int, pad: int) -> Any:
    import transformers

    assert options.encoder.source is not None
    source = ModelSource(options.encoder.source)
    encoder = load_model(source, transformers.AutoModel)
    config = encoder.config
    for name in ("activation_dropout", "attention_dropout", "hidden_dropout", "feat_proj_dropout"):
        setattr(config, name, options.dropout)
    config.vocab_size, config.pad_token_id, config.ctc_zero_infinity = symbols, pad, True
    config.ctc_loss_reduction = "mean"
    try:
        model = transformers.AutoModelForCTC.from_config(config)
    except ValueError as error:
        raise InputError(f"{source} is no encoder that takes a CTC head: {error}") from None
    base = getattr(model, model.base_model_prefix)
    base.load_state_dict(encoder.state_dict(), strict=False)
    if hasattr(model, "freeze_feature_encoder"):
        model.freeze_feature_encoder()
    return model


def _processor(symbols: str) -> Any:
    """Return features of raw sound, at mean 0 and deviation 1, and a tokenizer of characters."""
    from transformers import Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2Processor

    letters = [DELIMITER if symbol == " " else symbol for symbol in symbols]
    vocabulary = {symbol: number for number, symbol in enumerate(["<pad>", "<unk>", *letters])}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocab.json"
        path.write_text(json.dumps(vocabulary), encoding="utf-8")
        tokenizer = Wav2Vec2CTCTokenizer(
            str(path), pad_token="<pad>", unk_token="<unk>", bos_token=None, eos_token=None
        )
    extractor = Wav2Vec2FeatureExtractor(sampling_rate=RATE, do_normalize=True, return_attention_mask=True)
    return Wav2Vec2Processor(extractor, tokenizer)


@dataclass(frozen=True)
class _Batches:
    """Batches of utterances, read when they are needed, in a new random order in each pass."""

    utterances: Sequence[Utterance]
    processor: Any
    options: Finetuning
    seed: int

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        random = np.random.default_rng(self.seed)
        batch: list[tuple[np.ndarray, str]] = []
        while True:
            used = 0
            for row in random.permutation(len(self.utterances)):
                audio = self.utterances[row].audio()
                if 0 < len(audio) <= self.options.longest * RATE:
                    used += 1
                    batch.append((audio, self.utterances[row].text))
                if len(batch) == self.options.batch_size:
                    yield self._tensors(batch)
                    batch = []
            if not used:
                raise InputError(f"No utterance to train on is shorter than {self.options.longest:g} s.")

    def _tensors(self, batch: list[tuple[np.ndarray, str]]) -> dict[str, torch.Tensor]:
        audio, texts = zip(*batch, strict=True)
        inputs = self.processor(list(audio), sampling_rate=RATE, return_tensors="pt", padding=True)
        tokens = self.processor.tokenizer(list(texts), return_tensors="pt", padding=True)
        labels = tokens.input_ids.masked_fill(tokens.attention_mask == 0, -100)
        return {**inputs, "labels": labels}


def _loss(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    loss: torch.Tensor = model(**batch).loss
    return loss
