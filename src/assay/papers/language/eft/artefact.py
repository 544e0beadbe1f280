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
from assay.papers.language.eft.config import content_of
from assay.papers.language.eft.inputs import Setup, load_emulated
from assay.papers.language.eft.method import EmulatedFineTuning, SpeculativeStats
from assay.papers.language.eft.method.decoding import ends_of

FILE = "emulator.json"
CHAT = "chat"
INSIDE = "inside:"
"""Before the name of a folder beside the file, for models that were trained here."""


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
        return cls(setup, *load_emulated(setup, device))

    def __repr__(self) -> str:
        return f"Emulator({self.setup})"

    def reweighted(self, weights: Sequence[float], amplify: float = 1.0) -> Emulator:
        """Return the same models with other weights."""
        setup = dataclasses.replace(self.setup, weights=tuple(weights), amplify=amplify, delta_top_p=None)
        return Emulator(setup, self.model.reweighted(weights, amplify), self.tokenizers)

    # --- texts ----------------------------------------------------------------------------------------

    def generate(
        self,
        prompts: Sequence[str],
        *,
        block_size: int = 4,
        seed: int = 0,
        batch_size: int = 8,
        report: Callable[[str], None] = lambda text: None,
        **settings: Any,
    ) -> tuple[list[Written], list[SpeculativeStats]]:
        """Reply to prompts.

        Args:
            prompts: texts, each put into the template of each model.
            block_size: tokens of a draft; 0 for none.
            seed: of the random numbers.
            batch_size: prompts at once.
            report: where progress goes.
            settings: as for `EmulatedFineTuning.generate`; `max_new_tokens` is 64 unless given.

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
        settings = {"max_new_tokens": 64, "eos": self._ends(), **settings}
        encoded = self.encode(prompts)
        self.model.batch(encoded).check_room(self.model.members.values(), settings["max_new_tokens"])
        settings["generator"] = torch.Generator().manual_seed(seed)
        written: list[Written] = []
        stats = []
        for start in range(0, len(prompts), batch_size):
            report(f"prompt {start + 1} of {len(prompts)}")
            some = {name: ids[start : start + batch_size] for name, ids in encoded.items()}
            if block_size:
                found = self.model.speculative_generate(some, block_size=block_size, **settings)
            else:
                found = self.model.generate(some, **settings)
            stats.append(found.stats)
            texts = self.tokenizers["base"].batch_decode(found.tokens, skip_special_tokens=True)
            for prompt, text, tokens in zip(prompts[start:], texts, found.measured, strict=False):
                columns = (list(column) for column in zip(*tokens, strict=True))
                written.append(Written(prompt, text, *columns))
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
        tuned = (tokenizer for name, tokenizer in self.tokenizers.items() if name.startswith("tuned"))
        known = {tokenizer.eos_token_id for tokenizer in tuned} - {None}
        return sorted({*ends_of(self.model.drafter, None), *known})

    # --- on disk --------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write where the models are and how they are put together; models that were trained here, too."""
        members = (self.model.base, self.model.tuned[0], self.model.references[0])
        inside = {source for source in self.setup.sources if source.startswith(INSIDE)}
        for member in members:
            if f"{INSIDE}{member.name}" in inside:
                member.model.save_pretrained(folder / member.name)
                self.tokenizers[member.name].save_pretrained(folder / member.name)
        fingerprints = {source: content_of(source) for source in self.setup.sources if source not in inside}
        files.write_json(folder / FILE, {**dataclasses.asdict(self.setup), "fingerprints": fingerprints})

    @classmethod
    def load(cls, folder: Path) -> Emulator:
        """Read what `save` wrote and load the models, onto the CPU.

        Raises:
            InputError: a model is no longer where it was, or is another one now.
        """
        described = files.read_json(folder / FILE)
        for source, content in described.pop("fingerprints").items():
            if content_of(source) != content:
                raise InputError(
                    f"{source} is not the model that this was made with: its content has changed."
                )
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in described.items()}
        setup = Setup(**plain)

        def place(source: str) -> str:
            if not source.startswith(INSIDE):
                return source
            return f"folder:{files.inside(folder, source.removeprefix(INSIDE)).absolute()}"

        placed = dataclasses.replace(
            setup,
            base=place(setup.base),
            tuned=tuple(map(place, setup.tuned)),
            reference=tuple(map(place, setup.reference)),
        )
        return cls(setup, *load_emulated(placed))

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
