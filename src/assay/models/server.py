"""Text models behind any server that speaks the OpenAI protocol (vLLM, SGLang, llama.cpp, a cloud)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import Any, TypeVar

from assay.errors import InputError, nearest
from assay.models.connection import Connection, ServerError
from assay.models.text import (
    GenerateRequest,
    Reply,
    Score,
    ScoreRequest,
    TextModel,
    cut_at_stop,
    nothing_before,
)

__all__ = ["ServerError", "ServerTextModel"]

_MOST_STOPS = 4  # what the protocol allows; further ones are cut off here

Request = TypeVar("Request")
Answer = TypeVar("Answer")


class ServerTextModel(TextModel):
    """A model behind an OpenAI-compatible server.

    The key, where one is needed, comes from the environment variable OPENAI_API_KEY and is kept nowhere. Each
    reply is one request, several of them at a time; sampled ones carry a seed that is named by prompt, seed
    and index. Scoring needs /completions with `echo` and `logprobs`.

    Args:
        url: where the protocol's routes begin, such as `http://localhost:8000/v1`.
        model: the model's name there.
        timeout: seconds to wait for an answer.
        retries: how often to try again when the server cannot be reached, is busy (429) or fails (5xx).
        backoff: seconds before the second try; doubled each time, unless the server names a time.
        concurrency: the most requests at a time.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        timeout: float = 600.0,
        retries: int = 4,
        backoff: float = 0.5,
        concurrency: int = 8,
    ) -> None:
        self.url = url.rstrip("/")
        self.model = model
        self.timeout = timeout
        self.retries = retries
        self.backoff = backoff
        self.concurrency = concurrency

    def fingerprint(self) -> str:
        """Identify the model by its address and name; what a server changes behind them is not seen."""
        return f"{self.url}#{self.model}"

    def replies(self, requests: Sequence[GenerateRequest]) -> Iterator[tuple[int, Reply]]:
        """Yield each reply as it comes."""
        return self._each(requests, self._generate)

    def scores(self, requests: Sequence[ScoreRequest]) -> Iterator[tuple[int, Score]]:
        """Yield each score as it comes."""
        return self._each(requests, self._score)

    def _each(
        self, requests: Sequence[Request], ask: Callable[[Connection, Request], Answer]
    ) -> Iterator[tuple[int, Answer]]:
        """Ask all, a few at a time. After a failure, what is in flight is still yielded, to be kept."""
        if not requests:
            return
        failure: BaseException | None = None
        options = (self.timeout, self.retries, self.backoff, self.concurrency)
        with Connection(self.url, *options) as server:
            self._check_offered(server)
            pool = ThreadPoolExecutor(self.concurrency)
            try:
                futures: dict[Future[Answer], int] = {
                    pool.submit(ask, server, request): position for position, request in enumerate(requests)
                }
                for future in as_completed(futures):
                    if future.cancelled():
                        continue
                    error = future.exception()
                    if error is None:
                        yield futures[future], future.result()
                    elif failure is None:
                        failure = error
                        for other in futures:
                            other.cancel()
            finally:
                pool.shutdown(cancel_futures=True)
        if failure is not None:
            raise failure

    def _check_offered(self, server: Connection) -> None:
        """Make sure that the model is one that the server has, where it says what it has."""
        known = server.offered_models()
        if known and self.model not in known:
            shown = ", ".join(known[:10]) + (f" and {len(known) - 10} more" if len(known) > 10 else "")
            guess = nearest(self.model, known)
            raise InputError(f"{self.url} has no model {self.model!r}.{guess} It has: {shown}.")

    # --- generating -------------------------------------------------------------------------------

    def _generate(self, server: Connection, request: GenerateRequest) -> Reply:
        chat = request.chat is not False
        route = "chat/completions" if chat else "completions"
        what = "chat (chat=False completes the prompt instead)" if chat else "complete a text"
        answer = server.post(route, self._generate_body(request, chat), what)
        choice = _choice(server, route, answer)
        if chat:
            message = choice.get("message")
            if not isinstance(message, dict):
                raise server.nonsense(route, "the choice has no message", answer)
            text = message.get("content") or ""  # null where a model has only thought
        else:
            text = choice.get("text")
        if not isinstance(text, str):
            raise server.nonsense(route, "the choice has no text", answer)
        text, stopped = cut_at_stop(text, request.stop)
        reason = "stop" if stopped else str(choice.get("finish_reason") or "stop")
        return Reply(text, _generated_tokens(answer), reason)

    def _generate_body(self, request: GenerateRequest, chat: bool) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.model,
            "max_tokens": request.max_new_tokens,
            "temperature": request.temperature,
        }
        body |= {"messages": request.messages()} if chat else {"prompt": request.plain()}
        if request.stop:
            body["stop"] = list(request.stop[:_MOST_STOPS])
        if request.temperature > 0:
            body |= {"top_p": request.top_p, "seed": request.random_seed(31)}
        return body

    # --- scoring ----------------------------------------------------------------------------------

    def _score(self, server: Connection, request: ScoreRequest) -> Score:
        """Let the server read prompt and continuation and say how likely each token was.

        One token is generated besides, since not every server takes `max_tokens=0`; it is dropped.
        """
        body = {
            "model": self.model,
            "prompt": request.prompt + request.continuation,
            "max_tokens": 1,
            "temperature": 0,
            "echo": True,
            "logprobs": 1,
        }
        answer = server.post("completions", body, "score continuations")
        tokens, values = self._echoed(_choice(server, "completions", answer), _generated_tokens(answer))
        border = _border(tokens, request.prompt, request.continuation)
        if border is None:
            raise self._no_scores("the tokens it echoes do not spell the text that it was sent")
        if border == 0 or values[border] is None:
            raise nothing_before(request.continuation)
        scored = values[border:]
        if not all(isinstance(value, int | float) and not math.isnan(value) for value in scored):
            raise server.nonsense("completions", "a log-probability is no number", answer)
        return Score(tuple(float(value) for value in scored))

    def _echoed(self, choice: dict[str, Any], generated: int | None) -> tuple[list[str], list[Any]]:
        """Return the tokens that the server was sent and their log-probabilities, without generated ones."""
        logprobs = choice.get("logprobs")
        if not isinstance(logprobs, dict):
            raise self._no_scores("its answers have no logprobs")
        tokens, values = logprobs.get("tokens"), logprobs.get("token_logprobs")
        if not (isinstance(tokens, list) and isinstance(values, list) and len(tokens) == len(values)):
            raise self._no_scores("its answers have no log-probability for each token")
        kept = len(tokens) - (1 if generated is None else generated)
        if kept <= 0 or not all(isinstance(token, str) for token in tokens):
            raise self._no_scores("it does not echo the prompt")
        return tokens[:kept], values[:kept]

    def _no_scores(self, why: str) -> InputError:
        return InputError(
            f"{self.url} cannot score continuations: {why}. That needs /completions with echo and logprobs,"
            " as vLLM has them; or give the model's weights (folder: or hub:)."
        )


def _choice(server: Connection, route: str, answer: dict[str, Any]) -> dict[str, Any]:
    choices = answer.get("choices")
    if not (isinstance(choices, list) and choices and isinstance(choices[0], dict)):
        raise server.nonsense(route, "it has no choices", answer)
    choice: dict[str, Any] = choices[0]
    return choice


def _generated_tokens(answer: dict[str, Any]) -> int | None:
    usage = answer.get("usage")
    count = usage.get("completion_tokens") if isinstance(usage, dict) else None
    return count if isinstance(count, int) and count >= 0 else None


def _border(tokens: Sequence[str], prompt: str, continuation: str) -> int | None:
    """Find the first token that ends after the prompt, counting from the end of the text.

    From the end, because servers show a start token that is no part of the text. Some show tokens without
    their leading spaces; the text is then compared without any. None where the border stays open.
    """
    border = _spelled_border(tokens, prompt, continuation)
    if border is None:
        tokens = ["".join(token.split()) for token in tokens]
        border = _spelled_border(tokens, "".join(prompt.split()), "".join(continuation.split()))
    if border is None or border == len(tokens) or (border > 0 and not tokens[border - 1]):
        return None  # an empty token at the border, such as half a character, may be on either side
    return border


def _spelled_border(tokens: Sequence[str], prompt: str, continuation: str) -> int | None:
    """Walk back over tokens, which must spell the end of the text, until the continuation is behind."""
    text = prompt + continuation
    end = len(text)
    for index in range(len(tokens) - 1, -1, -1):
        if end <= len(prompt):
            return index + 1
        if not text.endswith(tokens[index], 0, end):
            return None
        end -= len(tokens[index])
    return 0 if end <= len(prompt) else None
