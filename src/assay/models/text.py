"""Text models: one interface over weights here and models behind a server.

`generate` continues prompts, `score` gives the log-probability of continuations. What a subclass does is to
answer requests one by one as they are done, so that a cache can keep each of them.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from assay.errors import InputError


@dataclass(frozen=True)
class Reply:
    """One generated text, without the prompt and without the stop string that ended it."""

    text: str
    tokens: int | None
    """How many tokens were generated, an end token included; None where a server does not say."""
    finish_reason: str
    """`stop` at an end token or a stop string, `length` at `max_new_tokens`; servers have others."""


@dataclass(frozen=True)
class Score:
    """The natural log-probabilities of a continuation's tokens, each given all before it."""

    token_logprobs: tuple[float, ...]

    @property
    def logprob(self) -> float:
        """log p(continuation | prompt) = sum of the tokens' log-probabilities."""
        return math.fsum(self.token_logprobs)

    @property
    def tokens(self) -> int:
        """The number of tokens that belong to the continuation."""
        return len(self.token_logprobs)


@dataclass(frozen=True)
class GenerateRequest:
    """One reply that is asked for. Equal requests have equal replies, up to what a server makes of a seed."""

    prompt: str
    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int = 0
    index: int = 0
    """Which of several sampled replies to the same prompt this is."""
    system: str | None = None
    chat: bool | None = None

    def random_seed(self, bits: int) -> int:
        """Name the random stream of this reply: it depends on the request alone, not on its batch."""
        name = f"{self.seed}/{self.index}/{self.system!r}/{self.prompt!r}"
        return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> (64 - bits)

    def messages(self) -> list[dict[str, str]]:
        """Return the conversation that a chat model is given."""
        opening = [{"role": "system", "content": self.system}] if self.system is not None else []
        return [*opening, {"role": "user", "content": self.prompt}]

    def plain(self) -> str:
        """Return the text that a model without a chat template continues."""
        return self.prompt if self.system is None else f"{self.system}\n\n{self.prompt}"


@dataclass(frozen=True)
class ScoreRequest:
    """One continuation that is to be scored."""

    prompt: str
    continuation: str


class TextModel(ABC):
    """What generates and scores text: `LocalTextModel`, `ServerTextModel` or `CachedTextModel`."""

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int = 128,
        temperature: float = 0.0,
        top_p: float = 1.0,
        stop: str | Sequence[str] = (),
        seed: int = 0,
        n: int = 1,
        system: str | None = None,
        chat: bool | None = None,
    ) -> list[Reply]:
        """Continue each prompt.

        Args:
            prompts: the texts, each a user's message (`chat`) or a text to go on with.
            max_new_tokens: the most tokens of one reply.
            temperature: 0 takes the likeliest token at each step; otherwise tokens are drawn from
                softmax(logits / temperature).
            top_p: draw only among the likeliest tokens that together have at least this probability.
            stop: texts that end a reply; they are cut off.
            seed: names the random streams of sampled replies. A local reply then depends on the prompt, the
                seed and its index among `n` alone, not on the other prompts; the same prompt given twice gets
                the same reply twice, so ask for `n` where several are wanted. Servers do their best.
            n: replies for each prompt; with temperature 0 they are copies of one.
            system: the system message of a chat, or, without a chat, a text before the prompt with an empty
                line between.
            chat: whether to put the prompt into the model's chat template. By default where the tokenizer has
                one; a server is asked to chat by default.

        Returns:
            len(prompts) * n replies: the n of the first prompt, then the n of the second, and so on.

        Raises:
            InputError: an argument is out of its range, or the model cannot take the request.
            ServerError: the server is down, too slow or answers nonsense.
        """
        _check_texts("prompts", prompts)
        stops = (stop,) if isinstance(stop, str) else tuple(stop)
        if max_new_tokens < 1 or n < 1:
            raise InputError(f"max_new_tokens and n must be at least 1, got {max_new_tokens} and {n}.")
        if not (0 <= temperature < math.inf and 0 < top_p <= 1):
            raise InputError(
                f"temperature must be at least 0 and top_p in (0, 1], got {temperature} and {top_p}."
            )
        if "" in stops:
            raise InputError("stop holds an empty text, which would end every reply at once.")
        sampled = temperature > 0
        requests = [
            GenerateRequest(
                prompt=prompt,
                max_new_tokens=max_new_tokens,
                temperature=float(temperature),
                top_p=float(top_p)
                if sampled
                else 1.0,  # so that what does not matter does not name the reply
                stop=stops,
                seed=seed if sampled else 0,
                index=index if sampled else 0,
                system=system,
                chat=chat,
            )
            for prompt in prompts
            for index in range(n)
        ]
        return _collect(requests, self.replies)

    def score(self, prompts: Sequence[str], continuations: Sequence[str]) -> list[Score]:
        """Give log p(continuation | prompt) for each pair.

        Prompt and continuation are joined as they are (no space is put between) and tokenised together, as
        the model would read them. The continuation's tokens are those that end after the prompt's last
        character: a token that spans the border counts as the continuation's. Chat templates are not applied.

        Args:
            prompts: the given texts.
            continuations: as many texts, each with at least one character.

        Raises:
            InputError: the lists differ in length, a continuation is empty, a prompt is empty and the model
                has no start token, or a server cannot score.
            ServerError: the server is down, too slow or answers nonsense.
        """
        _check_texts("prompts", prompts)
        _check_texts("continuations", continuations)
        if len(prompts) != len(continuations):
            raise InputError(f"There are {len(prompts)} prompts and {len(continuations)} continuations.")
        if "" in continuations:
            raise InputError(
                f"Continuation {list(continuations).index('')} is empty: there is nothing to score."
            )
        requests = [ScoreRequest(*pair) for pair in zip(prompts, continuations, strict=True)]
        return _collect(requests, self.scores)

    @abstractmethod
    def fingerprint(self) -> str:
        """Identify the model, for the keys of cached replies."""

    @abstractmethod
    def replies(self, requests: Sequence[GenerateRequest]) -> Iterator[tuple[int, Reply]]:
        """Yield each request's position and reply as it is done; they differ only in prompt and index."""

    @abstractmethod
    def scores(self, requests: Sequence[ScoreRequest]) -> Iterator[tuple[int, Score]]:
        """Yield each request's position and score as it is done."""


def cut_at_stop(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """Return the text before the first stop string, and whether there was one."""
    found = [place for place in (text.find(end) for end in stop) if place >= 0]
    return (text[: min(found)], True) if found else (text, False)


def nothing_before(continuation: str) -> InputError:
    """Return the error for a first token that no probability can be given to."""
    return InputError(
        f"Nothing stands before the first token of {continuation!r:.60}, and this model has no start token:"
        " give a prompt."
    )


def _check_texts(name: str, texts: Sequence[str]) -> None:
    if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
        raise InputError(f"{name} must be a list of texts, got {texts!r:.80}.")


Request = TypeVar("Request")
Answer = TypeVar("Answer")


def _collect(
    requests: Sequence[Request], answer: Callable[[Sequence[Request]], Iterator[tuple[int, Answer]]]
) -> list[Answer]:
    """Ask each distinct request once and bring the answers into the order of the requests."""
    distinct = list(dict.fromkeys(requests))
    answers = {distinct[position]: result for position, result in answer(distinct)}
    return [answers[request] for request in requests]
