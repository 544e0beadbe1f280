"""Recognisers behind one interface: a list of sounds goes in, a list of texts comes out, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch

from assay.errors import InputError, MissingExtraError
from assay.models import ModelSource, load_model
from assay.models.source import needs_transformers
from assay.papers.speech.audio import RATE

Recogniser: TypeAlias = Callable[[list[np.ndarray]], list[str]]
"""Takes sounds, float32 [samples] at 16 kHz, and returns one text for each."""


class ASRSystem(Protocol):
    """What the benchmark calls. It learns nothing of where a sound is from."""

    def __call__(self, audio: list[np.ndarray]) -> list[str]:
        """Return one text for each sound."""


LEAST = 800
"""Samples to which shorter sounds are filled up with silence: an encoder needs a frame of 25 ms."""


class _FromTransformers:
    """A transformers model with its processor, saved in a folder of transformers."""

    def __init__(self, model: Any, processor: Any) -> None:
        self.model, self.processor = model.eval(), processor

    def save(self, folder: str | Path) -> None:
        """Write the model and its processor."""
        self.model.save_pretrained(folder)
        self.processor.save_pretrained(folder)

    @classmethod
    def load(cls, folder: str | Path) -> Any:
        """Read what `save` wrote."""
        return load_system(f"folder:{folder}")


class HFCTC(_FromTransformers):
    """A transformers model with a CTC head (wav2vec2, HuBERT, ...), decoded greedily.

    Args:
        model: with logits over the tokens of the processor.
        processor: features in, text out.
    """

    @torch.inference_mode()
    def __call__(self, audio: list[np.ndarray]) -> list[str]:
        """Return the transcripts of sounds, padded to the longest."""
        audio = [np.pad(sound, (0, max(0, LEAST - len(sound)))) for sound in audio]
        inputs = self.processor(audio, sampling_rate=RATE, return_tensors="pt", padding=True)
        tokens = self.model(**_on(inputs, self.model)).logits.argmax(-1).cpu()
        steps = self._steps(inputs, audio)
        rows = tokens if steps is None else [row[:count] for row, count in zip(tokens, steps, strict=True)]
        return [self.processor.tokenizer.decode(row).strip() for row in rows]

    def _steps(self, inputs: Any, audio: list[np.ndarray]) -> list[int] | None:
        """Return how many outputs are of each sound and not of padding, where the model can tell."""
        count = getattr(self.model, "_get_feat_extract_output_lengths", None)
        mask = inputs.get("attention_mask")
        if count is None or (mask is None and "input_values" not in inputs):
            return None
        lengths = torch.tensor([len(sound) for sound in audio]) if mask is None else mask.sum(-1)
        steps: list[int] = count(lengths).tolist()
        return steps


class HFSeq2Seq(_FromTransformers):
    """A transformers encoder-decoder for speech (Whisper, Speech2Text, ...).

    Args:
        model: with `generate`.
        processor: features in, text out.
        **generation: options of `generate`, the same for all sounds, such as `num_beams=5`, which is what
            transformers' pipeline takes; by default the model's own, which decode greedily in most cases.
    """

    def __init__(self, model: Any, processor: Any, **generation: Any) -> None:
        super().__init__(model, processor)
        self.generation = generation

    @torch.inference_mode()
    def __call__(self, audio: list[np.ndarray]) -> list[str]:
        """Return the transcripts of sounds.

        Raises:
            InputError: a sound is longer than what the model takes in (Whisper: 30 s), so that its processor
                would cut it off.
        """
        most = getattr(getattr(self.processor, "feature_extractor", None), "n_samples", None)
        longest = max(map(len, audio), default=0)
        if most is not None and longest > most:
            raise InputError(
                f"A sound of {longest / RATE:.1f} s is longer than the {most / RATE:g} s that the model takes"
                f" in. Have it cut: chunk_seconds={most / RATE:g} (--chunk-seconds) at most."
            )
        inputs = self.processor(audio, sampling_rate=RATE, return_tensors="pt")
        tokens = self.model.generate(**_on(inputs, self.model), **self.generation)
        texts: list[str] = self.processor.batch_decode(tokens, skip_special_tokens=True)
        return [text.strip() for text in texts]


class FromPipeline:
    """A transformers pipeline for automatic speech recognition."""

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline

    def __call__(self, audio: list[np.ndarray]) -> list[str]:
        """Return the transcripts of sounds."""
        inputs = [{"raw": sound, "sampling_rate": RATE} for sound in audio]
        return [found["text"].strip() for found in self.pipeline(inputs)]


class PocketSphinx:
    """The recogniser that comes in a wheel of 30 MB: pocketsphinx with its own English model.

    Its front end is set back before each sound, since it would otherwise remember the last one.

    Args:
        **options: of `pocketsphinx.Decoder`, such as `fwdflat=False`.
    """

    def __init__(self, **options: Any) -> None:
        try:
            import pocketsphinx
        except ModuleNotFoundError:
            raise MissingExtraError("pocketsphinx", "speech") from None
        self.options = options
        self._decoder = pocketsphinx.Decoder(samprate=RATE, loglevel="FATAL", **options)

    def __call__(self, audio: list[np.ndarray]) -> list[str]:
        """Return the transcripts of sounds, in lower case without punctuation."""
        return [self._one(sound) for sound in audio]

    def _one(self, sound: np.ndarray) -> str:
        samples = (np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes()
        if not samples:
            return ""
        self._decoder.reinit_feat()
        self._decoder.start_utt()
        self._decoder.process_raw(samples, no_search=False, full_utt=True)
        self._decoder.end_utt()
        found = self._decoder.hyp()
        return found.hypstr if found else ""


def as_system(given: Any) -> Recogniser:
    """Return a recogniser of a function, a transformers pipeline, or what is one already.

    Raises:
        InputError: it cannot be called, or is a class.
    """
    if type(given).__name__ == "AutomaticSpeechRecognitionPipeline":
        return FromPipeline(given)
    if isinstance(given, type):
        raise InputError(f"The system {given.__name__} is a class. Give an object of it, or a function.")
    if not callable(given):
        raise InputError(
            f"A system is a function from a list of sounds to a list of texts, not {type(given).__name__}."
        )
    system: Recogniser = given
    return system


def load_system(
    source: str,
    *,
    device: str | torch.device = "cpu",
    dtype: str | None = None,
    beams: int | None = None,
) -> HFCTC | HFSeq2Seq | PocketSphinx:
    """Load a recogniser by its source.

    Args:
        source: `pocketsphinx`, or a transformers model as `folder:DIR` or `hub:NAME[@REVISION]`.
        device: where a transformers model runs.
        dtype: its number format; by default float32 on the CPU.
        beams: of an encoder-decoder; by default what the model's own settings say.

    Raises:
        InputError: there is no such model, or it does not recognise speech.
        MissingExtraError: pocketsphinx is not installed.
    """
    if source == "pocketsphinx":
        return PocketSphinx()
    try:
        model_source = ModelSource(source)
    except InputError as error:
        raise InputError(f"{error} For speech there is also the built-in 'pocketsphinx'.") from None
    with needs_transformers():
        import transformers
        from transformers.models.auto import modeling_auto

    kind = _loaded(model_source, transformers.AutoConfig).model_type
    ctc = kind in modeling_auto.MODEL_FOR_CTC_MAPPING_NAMES
    if not ctc and kind not in modeling_auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES:
        raise InputError(
            f"{source} is a model of type {kind!r}, which does not recognise speech. Give one with a CTC head"
            " (wav2vec2, hubert, ...) or an encoder-decoder for speech (whisper, ...)."
        )
    auto = transformers.AutoModelForCTC if ctc else transformers.AutoModelForSpeechSeq2Seq
    processor = _loaded(model_source, transformers.AutoProcessor)
    model = load_model(model_source, auto, device=device, dtype=dtype)
    if ctc:
        return HFCTC(model, processor)
    return HFSeq2Seq(model, processor, **({} if beams is None else {"num_beams": beams}))


def _loaded(source: ModelSource, auto: Any) -> Any:
    """Load what lies beside the weights, under the same rules as these."""
    if source.kind == "server":
        raise InputError(f"{source} is a server of text models. Give folder:DIR or hub:NAME.")
    revision = {"revision": source.revision} if source.revision else {}
    try:
        return auto.from_pretrained(
            source.weights(), trust_remote_code=False, local_files_only=source.kind != "hub", **revision
        )
    except (OSError, ValueError, KeyError, ImportError, TypeError) as error:
        line = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        gated = " If the model is gated, accept its terms on the hub and log in."
        raise InputError(
            f"{source} cannot be loaded: {line}{gated if source.kind == 'hub' else ''}"
        ) from error


def _on(inputs: Any, model: Any) -> dict[str, Any]:
    """Move inputs to the model's device and floating-point ones to its number format."""
    parameter = next(model.parameters())
    return {
        name: value.to(parameter.device, parameter.dtype if value.is_floating_point() else value.dtype)
        for name, value in inputs.items()
    }


def transcribe_checked(
    system: Recogniser, audio: Sequence[np.ndarray], ids: Sequence[str]
) -> list[str | None]:
    """Call a system on copies of sounds and check what it returns: one text, or None, for each.

    Raises:
        InputError: the outputs are not a list, not one for each sound, or not texts.
    """
    outputs: Any = system([np.array(sound, dtype=np.float32) for sound in audio])
    where = f"the batch of {len(audio)} from {ids[0]!r} on" if ids else "an empty batch"
    if isinstance(outputs, str) or not hasattr(outputs, "__len__"):
        raise InputError(
            f"The system returned {type(outputs).__name__} for {where}; it must return a list with one"
            " text each."
        )
    if len(outputs) != len(audio):
        raise InputError(
            f"The system returned {len(outputs)} texts for {where}; it must return one for each, "
            "'' for silence."
        )
    wrong = [output for output in outputs if output is not None and not isinstance(output, str)]
    if wrong:
        raise InputError(f"The system returned {type(wrong[0]).__name__} in place of a text for {where}.")
    return list(outputs)
