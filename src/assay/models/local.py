"""Text models whose weights are here."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
    TopPLogitsWarper,
)

from assay.errors import InputError
from assay.files import digest
from assay.models.pretrained import load_model, load_tokenizer
from assay.models.source import ModelSource
from assay.models.text import (
    GenerateRequest,
    Reply,
    Score,
    ScoreRequest,
    TextModel,
    cut_at_stop,
    nothing_before,
)

_CONTEXT = 8  # tokens before a reply that its text is decoded with, since some decoders drop a leading space


class LocalTextModel(TextModel):
    """A causal language model of transformers with its tokenizer.

    Prompts of like length go through the model together, padded on the left. What a prompt gets does not
    depend on the others, apart from the rounding of floating-point sums. What a folder's own
    generation_config.json says about sampling and penalties is not used: the arguments say it all.

    Args:
        model: any causal language model of transformers, PEFT's wrapper around one included; it is used as
            it is, in eval mode and without gradients.
        tokenizer: its fast tokenizer (one with a tokenizer.json).
        batch_size: texts that go through the model at once.
        fingerprint: identifies the model for a cache. By default a hash of the weights as they are.

    Raises:
        InputError: the tokenizer is a slow one, which cannot say where its tokens stand.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        *,
        batch_size: int = 16,
        fingerprint: str | None = None,
    ) -> None:
        if not tokenizer.is_fast:
            raise InputError(
                f"{type(tokenizer).__name__} cannot say where its tokens stand in a text: the model needs a"
                " fast tokenizer, one with a tokenizer.json."
            )
        self.model: Any = model
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self._fingerprint = fingerprint
        begins = tokenizer("")["input_ids"][:1]
        self._start: list[int] = begins if begins == [tokenizer.bos_token_id] else []

    @classmethod
    def load(
        cls, source: ModelSource, *, device: str = "cpu", dtype: str | None = None, batch_size: int = 16
    ) -> LocalTextModel:
        """Load a model; see `assay.models.load_model`."""
        model = load_model(source, AutoModelForCausalLM, device=device, dtype=dtype)
        name = f"{source.fingerprint()} {model.dtype}"
        return cls(model, load_tokenizer(source), batch_size=batch_size, fingerprint=name)

    def fingerprint(self) -> str:
        """Identify the model by its source and number format, or by its weights as they are now."""
        if self._fingerprint is not None:
            return self._fingerprint
        words = self.tokenizer.backend_tokenizer.to_str()
        return f"weights:{digest(dict(self.model.state_dict()), words, self.tokenizer.chat_template)}"

    # --- generating -------------------------------------------------------------------------------

    def replies(self, requests: Sequence[GenerateRequest]) -> Iterator[tuple[int, Reply]]:
        """Yield the replies batch by batch, the longest prompts first."""
        prompts = [self._encode_prompt(request) for request in requests]
        for rows in _batches([len(ids) for ids in prompts], self.batch_size):
            batch = self._generate([prompts[row] for row in rows], [requests[row] for row in rows])
            yield from zip(rows, batch, strict=True)

    def _encode_prompt(self, request: GenerateRequest) -> list[int]:
        has_template = self.tokenizer.chat_template is not None
        if request.chat and not has_template:
            raise InputError("This model's tokenizer has no chat template: call generate with chat=False.")
        if has_template if request.chat is None else request.chat:
            text: Any = self.tokenizer.apply_chat_template(
                request.messages(), tokenize=False, add_generation_prompt=True
            )
            ids = self._encode(text)
        else:
            ids = self._start + self._encode(request.plain())
        if not ids:
            raise InputError("A prompt is empty, and this model has no start token: give it some text.")
        limit = self._limit()
        if limit is not None and len(ids) + request.max_new_tokens > limit:
            raise InputError(
                f"A prompt of {len(ids)} tokens and {request.max_new_tokens} new ones do not fit into the"
                f" model's {limit}. It begins: {request.prompt!r:.60}"
            )
        return ids

    def _generate(self, prompts: list[list[int]], requests: list[GenerateRequest]) -> list[Reply]:
        first = requests[0]
        width = max(len(ids) for ids in prompts)
        pad, ends = self._pad(), self._ends()
        input_ids = [[pad] * (width - len(ids)) + ids for ids in prompts]
        mask = [[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts]
        drawing = [SampleNamed(requests)] if first.temperature > 0 else []
        stopping = StopTexts(prompts, first.stop, self._text)
        with _as_asked(self.model):
            output = self.model.generate(
                input_ids=torch.tensor(input_ids, device=self.model.device),
                attention_mask=torch.tensor(mask, device=self.model.device),
                generation_config=GenerationConfig(
                    max_new_tokens=first.max_new_tokens,
                    do_sample=False,  # sampling is the argmax of noisy logits, see SampleNamed
                    eos_token_id=sorted(ends) or None,
                    pad_token_id=pad,
                ),
                logits_processor=LogitsProcessorList(drawing),
                stopping_criteria=StoppingCriteriaList([stopping] if first.stop else []),
            )
        rows = output[:, width:].tolist()
        lengths = [stopping.lengths.get(row, len(ids)) for row, ids in enumerate(rows)]
        return [
            self._reply(prompt, ids[:length], first.stop, ends)
            for prompt, ids, length in zip(prompts, rows, lengths, strict=True)
        ]

    def _reply(self, prompt: list[int], ids: list[int], stop: Sequence[str], ends: set[int]) -> Reply:
        end = next((place for place, token in enumerate(ids) if token in ends), None)
        text, stopped = cut_at_stop(self._text(prompt, ids[:end]), stop)
        tokens = len(ids) if end is None else end + 1
        return Reply(text, tokens, "stop" if stopped or end is not None else "length")

    def _text(self, prompt: list[int], ids: list[int]) -> str:
        """Decode what follows a prompt, with its leading space."""

        def decode(tokens: list[int]) -> str:
            return str(
                self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
            )

        before = prompt[-_CONTEXT:]
        lead, whole = decode(before), decode(before + ids)
        return whole[len(lead) :] if whole.startswith(lead) else decode(ids)

    # --- scoring ----------------------------------------------------------------------------------

    def scores(self, requests: Sequence[ScoreRequest]) -> Iterator[tuple[int, Score]]:
        """Yield the scores batch by batch, the longest texts first."""
        texts = [self._encode_pair(request) for request in requests]
        for rows in _batches([len(ids) for ids, _ in texts], self.batch_size):
            batch = self._score([texts[row] for row in rows])
            yield from zip(rows, batch, strict=True)

    def _encode_pair(self, request: ScoreRequest) -> tuple[list[int], int]:
        """Tokenise prompt and continuation together; the second value is where the continuation begins."""
        encoded = self.tokenizer(
            request.prompt + request.continuation, add_special_tokens=False, return_offsets_mapping=True
        )
        ids, ends = encoded["input_ids"], [end for _, end in encoded["offset_mapping"]]
        border = next((place for place, end in enumerate(ends) if end > len(request.prompt)), len(ids))
        if border == len(ids):
            raise InputError(f"The continuation {request.continuation!r:.60} has no token: nothing to score.")
        ids, border = self._start + ids, border + len(self._start)
        if border == 0:
            raise nothing_before(request.continuation)
        limit = self._limit()
        if limit is not None and len(ids) > limit:
            raise InputError(f"A text of {len(ids)} tokens does not fit into the model's {limit}.")
        return ids, border

    @torch.inference_mode()
    def _score(self, texts: list[tuple[list[int], int]]) -> list[Score]:
        width = max(len(ids) for ids, _ in texts)
        # On the right, since what comes later does not change what a causal model says before.
        input_ids = [ids + [self._pad()] * (width - len(ids)) for ids, _ in texts]
        mask = [[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in texts]
        first = min(border for _, border in texts) - 1
        options: dict[str, Any] = {"use_cache": False}
        if "logits_to_keep" in inspect.signature(self.model.forward).parameters:
            options["logits_to_keep"] = width - first
        with _as_asked(self.model):
            logits = self.model(
                input_ids=torch.tensor(input_ids, device=self.model.device),
                attention_mask=torch.tensor(mask, device=self.model.device),
                **options,
            ).logits
        skipped = width - logits.shape[1]
        scores = []
        for row, (ids, border) in enumerate(texts):
            targets = torch.tensor(ids[border:], device=logits.device)
            steps = logits[row, border - 1 - skipped : len(ids) - 1 - skipped].float().log_softmax(-1)
            scores.append(Score(tuple(steps.gather(1, targets[:, None])[:, 0].tolist())))
        return scores

    # --- tokens -----------------------------------------------------------------------------------

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _pad(self) -> int:
        pad, end = self.tokenizer.pad_token_id, self.tokenizer.eos_token_id
        return pad if pad is not None else end if end is not None else 0

    def _ends(self) -> set[int]:
        config = getattr(self.model, "generation_config", None)
        named = getattr(config, "eos_token_id", None)
        ends = set(named) if isinstance(named, list) else {named}
        return {end for end in ends | {self.tokenizer.eos_token_id} if end is not None}

    def _limit(self) -> int | None:
        limit: int | None = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return limit


class SampleNamed(LogitsProcessor):
    """Sampling by the Gumbel-max trick, with one named random stream for each row.

    With independent g_v = -log(-log u_v), argmax_v (logits_v / temperature + g_v) is distributed as
    softmax(logits / temperature). The noise of a row comes from a generator named by its request, so that a
    sampled reply does not depend on the batch that it is in.
    """

    def __init__(self, requests: Sequence[GenerateRequest]) -> None:
        self.temperature = requests[0].temperature
        top_p = requests[0].top_p
        self.filter = TopPLogitsWarper(top_p) if top_p < 1 else None
        self.streams = [torch.Generator().manual_seed(request.random_seed(63)) for request in requests]

    def __call__(self, input_ids: Int[Tensor, "n t"], scores: Float[Tensor, "n v"]) -> Float[Tensor, "n v"]:
        scores = scores / self.temperature
        if self.filter is not None:
            scores = self.filter(input_ids, scores)
        noise = [torch.empty(scores.shape[1]).exponential_(generator=stream) for stream in self.streams]
        return scores - torch.stack(noise).log().to(scores.device)


class StopTexts(StoppingCriteria):
    """Ends each row whose new text holds a stop string, and remembers its number of new tokens."""

    def __init__(self, prompts: list[list[int]], stop: Sequence[str], decode: Any) -> None:
        self.prompts = prompts
        self.width = max(len(ids) for ids in prompts)
        self.stop = stop
        self.decode = decode
        self.lengths: dict[int, int] = {}

    def __call__(self, input_ids: Int[Tensor, "n t"], scores: Any, **kwargs: Any) -> Bool[Tensor, " n"]:
        for row, ids in enumerate(input_ids[:, self.width :].tolist()):
            if row not in self.lengths and cut_at_stop(self.decode(self.prompts[row], ids), self.stop)[1]:
                self.lengths[row] = len(ids)
        return torch.tensor([row in self.lengths for row in range(len(input_ids))], device=input_ids.device)


def _batches(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Group positions of like length, the longest first, so that memory runs out at once or not at all."""
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    for start in range(0, len(order), size):
        yield order[start : start + size]


@contextlib.contextmanager
def _as_asked(model: Any) -> Iterator[None]:
    """Put the model into eval mode and its folder's generation settings aside, for as long as it is used."""
    modes = [(module, module.training) for module in model.modules()]
    settings = getattr(model, "generation_config", None)
    model.eval()
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = settings
        for module, training in modes:
            module.training = training
