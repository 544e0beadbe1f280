"""The emulated model for texts, and on disk: where its models are and how they are put together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from assay import files
from assay.errors import InputError
from assay.models import ModelSource
from assay.papers.language.eft.config import content_of
from assay.papers.language.eft.given import load_emulated
from assay.papers.language.eft.method import EmulatedFineTuning, SpeculativeStats
from assay.papers.language.eft.method.generation import Batch

FILE = "emulator.json"
CHAT = "chat"
INSIDE = "inside:"
"""Before the name of a folder beside the file, for models that were trained here."""


@dataclass(frozen=True)
class Setup:
    """What an emulated model is made of."""

    base: str
    """Source of the large model."""
    tuned: tuple[str, ...]
    """Sources of the small fine-tuned models."""
    reference: tuple[str, ...]
    """Sources of what they were tuned from: one, or one each."""
    weights: tuple[float, ...] = (1.0,)
    amplify: float = 1.0
    delta_top_p: float | None = None
    reference_floor: float | None = None
    base_template: str = "{prompt}"
    """What base and references are given; `chat` for the chat template."""
    tuned_template: str = "{prompt}"
    """What the tuned models are given."""
    extra_tokens: str = "refuse"
    allow_negative: bool = False
    dtype: str = "auto"

    @property
    def sources(self) -> tuple[str, ...]:
        """All sources, each once."""
        return tuple(dict.fromkeys([self.base, *self.tuned, *self.reference]))


@dataclass(frozen=True)
class Written:
    """A reply, with what the emulated model thought of each of its tokens."""

    prompt: str
    text: str
    token_ids: list[int]
    logprobs: list[float]
    """log p(token) in nats, before temperature and truncation; an end token is the last."""
    tv: list[float]
    """Total variation distance to the small tuned model at each token."""
    entropy: list[float]


class Emulator:
    """An `EmulatedFineTuning` with its tokenizers, for texts.

    Args:
        setup: what it is made of.
        model: the models, put together.
        tokenizers: of the models, by `base`, `tuned`, `tuned.1`, ... and `reference`, ...
    """

    def __init__(
        self,
        setup: Setup,
        model: EmulatedFineTuning,
        tokenizers: dict[str, PreTrainedTokenizerBase],
    ) -> None:
        self.setup, self.model, self.tokenizers = setup, model, tokenizers
        for name in ("base_template", "tuned_template"):
            template = getattr(setup, name)
            if template != CHAT and "{prompt}" not in template:
                raise InputError(f"--{name.replace('_', '-')} {template!r} has no {{prompt}} in it.")

    @classmethod
    def of(cls, setup: Setup, device: torch.device | str = "cpu") -> Emulator:
        """Load the models that a setup names."""
        model, tokenizers = load_emulated(
            setup.base,
            setup.tuned,
            setup.reference,
            setup.weights,
            torch.device(device),
            setup.dtype,
            amplify=setup.amplify,
            delta_top_p=setup.delta_top_p,
            reference_floor=setup.reference_floor,
            extra_tokens=setup.extra_tokens,
            allow_negative=setup.allow_negative,
        )
        return cls(setup, model, tokenizers)

    def reweighted(self, weights: Sequence[float], amplify: float = 1.0) -> Emulator:
        """Return the same models with other weights."""
        setup = dataclasses.replace(self.setup, weights=tuple(weights), amplify=amplify, delta_top_p=None)
        return Emulator(setup, self.model.reweighted(weights, amplify), self.tokenizers)

    # --- texts ----------------------------------------------------------------------------------------

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int = 64,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        block_size: int = 4,
        seed: int = 0,
        batch_size: int = 8,
        report: Callable[[str], None] = lambda text: None,
    ) -> tuple[list[Written], list[SpeculativeStats]]:
        """Reply to prompts.

        Args:
            prompts: texts, each put into the template of each model.
            max_new_tokens: the most tokens of a reply.
            temperature: 0 takes the likeliest token.
            top_k: draw among so many likeliest tokens; 0 for all.
            top_p: draw among the likeliest tokens that together have this probability.
            block_size: tokens of a draft; 0 for none.
            seed: of the random numbers.
            batch_size: prompts at once.
            report: where progress goes.

        Returns:
            The replies, and what each batch cost.

        Raises:
            InputError: a prompt is empty or too long, or an option is out of its range. All prompts are
                looked at before the first is answered.
        """
        if batch_size < 1 or block_size < 0:
            raise InputError(
                f"batch_size must be at least 1 and block_size at least 0, got {batch_size}, {block_size}."
            )
        encoded = self.encode(prompts)
        names = [member.name for member in self.model.members.values()]
        whole = Batch.of_prompts(encoded, names, torch.device("cpu"))
        whole.check_room(self.model.members, max_new_tokens)
        generator = torch.Generator().manual_seed(seed)
        written: list[Written] = []
        stats = []
        for start in range(0, len(prompts), batch_size):
            rows = range(start, min(start + batch_size, len(prompts)))
            report(f"prompt {start + 1} of {len(prompts)}")
            some = {name: [ids[row] for row in rows] for name, ids in encoded.items()}
            settings: dict[str, Any] = {
                "max_new_tokens": max_new_tokens,
                "temperature": temperature,
                "top_k": top_k,
                "top_p": top_p,
                "eos": self._ends(),
                "generator": generator,
            }
            if block_size:
                found = self.model.speculative_generate(some, block_size=block_size, **settings)
            else:
                found = self.model.generate(some, **settings)
            stats.append(found.stats)
            texts = self.tokenizers["base"].batch_decode(found.tokens, skip_special_tokens=True)
            for place, (row, text) in enumerate(zip(rows, texts, strict=True)):
                mask = found.mask[place]
                columns = (found.sequences, found.logprobs, found.tv, found.entropy)
                written.append(Written(prompts[row], text, *(c[place][mask].tolist() for c in columns)))
        return written, stats

    def score(
        self, prompts: Sequence[str], continuations: Sequence[str], batch_size: int = 8
    ) -> list[list[float]]:
        """Return log p of each token of each continuation after its prompt."""
        encoded = self.encode(prompts)
        base = self.tokenizers["base"]
        ids = [base(text, add_special_tokens=False)["input_ids"] for text in continuations]
        return [found.tolist() for found in self.model.score(encoded, ids, batch_size)]

    def encode(self, prompts: Sequence[str]) -> dict[str, list[list[int]]]:
        """Return the token ids that each model is given for each prompt, by its name.

        Raises:
            InputError: there is no prompt, one is empty, or a tokenizer has no chat template.
        """
        if isinstance(prompts, str) or not prompts:
            raise InputError(f"prompts must be a list of texts, got {prompts!r:.60}.")
        for place, prompt in enumerate(prompts):
            if not isinstance(prompt, str) or not prompt.strip():
                raise InputError(f"Prompt {place} is empty: a model needs something to reply to.")
        found = {}
        for name, tokenizer in self.tokenizers.items():
            template = self.setup.tuned_template if name.startswith("tuned") else self.setup.base_template
            found[name] = [encode(prompt, tokenizer, template) for prompt in prompts]
        return found

    def _ends(self) -> list[int]:
        ends = {
            tokenizer.eos_token_id for name, tokenizer in self.tokenizers.items() if name.startswith("tuned")
        }
        return sorted({*self.model._ends(None), *(end for end in ends if end is not None)})

    # --- on disk --------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write where the models are and how they are put together; models that were trained here, too."""
        setup = self.setup
        inside = {source for source in setup.sources if source.startswith(INSIDE)}
        for name, member in (
            ("base", self.model.base),
            ("tuned", self.model.tuned[0]),
            ("reference", self.model.references[0]),
        ):
            if f"{INSIDE}{name}" in inside:
                member.model.save_pretrained(folder / name)
                self.tokenizers[name].save_pretrained(folder / name)
        fingerprints = {source: content_of(source) for source in setup.sources if source not in inside}
        files.write_json(folder / FILE, {**dataclasses.asdict(setup), "fingerprints": fingerprints})

    @classmethod
    def load(cls, folder: Path) -> Emulator:
        """Read what `save` wrote and load the models, onto the CPU.

        Raises:
            InputError: a model is no longer where it was, or is another one now.
        """
        described = files.read_json(folder / FILE)
        fingerprints = described.pop("fingerprints")
        for source, content in fingerprints.items():
            if content_of(source) != content:
                raise InputError(
                    f"{source} is not the model that this was made with: its content has changed."
                )
        lists = {name: tuple(value) for name, value in described.items() if isinstance(value, list)}
        setup = Setup(**described | lists)
        places = {
            source: f"folder:{files.inside(folder, source.removeprefix(INSIDE)).absolute()}"
            for source in setup.sources
            if source.startswith(INSIDE)
        }
        located = dataclasses.replace(
            setup,
            base=places.get(setup.base, setup.base),
            tuned=tuple(places.get(source, source) for source in setup.tuned),
            reference=tuple(places.get(source, source) for source in setup.reference),
        )
        loaded = cls.of(located)
        return cls(setup, loaded.model, loaded.tokenizers)

    def to(self, device: torch.device | str) -> Emulator:
        """Move all models to a device."""
        for member in self.model.members.values():
            member.model.to(device)
        return self


def encode(prompt: str, tokenizer: PreTrainedTokenizerBase, template: str) -> list[int]:
    """Return a prompt in a template as token ids, without an end token.

    Raises:
        InputError: the chat template is asked for, and the tokenizer has none.
    """
    if template == CHAT:
        if tokenizer.chat_template is None:
            raise InputError("A tokenizer has no chat template: write one with {prompt} in it.")
        message = [{"role": "user", "content": prompt}]
        text: Any = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
        ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids
    ids = tokenizer(template.replace("{prompt}", prompt))["input_ids"]
    return ids[:-1] if len(ids) > 1 and ids[-1] == tokenizer.eos_token_id else ids


def located(source: str) -> str:
    """Return a source that means the same from every folder."""
    known = ModelSource(source)
    return f"folder:{files.user_path(known.name).absolute()}" if known.kind == "folder" else source
