"""Replies kept on disk: a check on a server resumes where it was and replays without the server."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from assay import files
from assay.errors import StorageError
from assay.files import digest, read_json, write_atomic
from assay.models.text import GenerateRequest, Reply, Score, ScoreRequest, TextModel

Request = TypeVar("Request", GenerateRequest, ScoreRequest)
Answer = TypeVar("Answer")


class ReplyCache:
    """A folder with one JSON file for each reply, named by what was asked of which model.

    Files are written whole or not at all, so a killed run loses nothing that was finished, and several
    processes may share the folder. A file that is damaged or is not about its request counts as missing.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = files.user_path(folder)

    def get(self, model: str, request: GenerateRequest | ScoreRequest) -> dict[str, Any] | None:
        """Return the kept answer of the model with this fingerprint, or None."""
        try:
            entry = read_json(self._path(model, request))
        except (FileNotFoundError, StorageError):
            return None
        kept = isinstance(entry, dict) and isinstance(entry.get("answer"), dict)
        if kept and entry.get("model") == model and entry.get("request") == _plain(request):
            answer: dict[str, Any] = entry["answer"]
            return answer
        return None

    def put(self, model: str, request: GenerateRequest | ScoreRequest, answer: Reply | Score) -> None:
        """Keep an answer.

        Raises:
            StorageError: the disk is full or the folder cannot be written.
        """
        entry = {"model": model, "request": _plain(request), "answer": _plain(answer)}
        # ASCII, because a reply may hold half a surrogate pair, which UTF-8 cannot
        write_atomic(self._path(model, request), json.dumps(entry, indent=1) + "\n")

    def _path(self, model: str, request: GenerateRequest | ScoreRequest) -> Path:
        key = digest(model, request)
        return self.folder / key[:2] / f"{key[2:]}.json"


class CachedTextModel(TextModel):
    """A text model whose answers are kept; only what is missing is asked."""

    def __init__(self, model: TextModel, cache: ReplyCache) -> None:
        self.model = model
        self.cache = cache

    def fingerprint(self) -> str:
        """Identify the model behind the cache."""
        return self.model.fingerprint()

    def replies(self, requests: Sequence[GenerateRequest]) -> Iterator[tuple[int, Reply]]:
        """Yield kept replies, then those of the model, keeping each at once."""
        return self._through(requests, _reply, self.model.replies)

    def scores(self, requests: Sequence[ScoreRequest]) -> Iterator[tuple[int, Score]]:
        """Yield kept scores, then those of the model, keeping each at once."""
        return self._through(requests, _score, self.model.scores)

    def _through(
        self,
        requests: Sequence[Request],
        restore: Callable[[dict[str, Any]], Answer | None],
        ask: Callable[[Sequence[Request]], Iterator[tuple[int, Answer]]],
    ) -> Iterator[tuple[int, Answer]]:
        model = self.fingerprint()
        missing = []
        for position, request in enumerate(requests):
            kept = self.cache.get(model, request)
            answer = restore(kept) if kept is not None else None
            if answer is None:
                missing.append(position)
            else:
                yield position, answer
        if not missing:
            return
        for place, answer in ask([requests[position] for position in missing]):
            self.cache.put(model, requests[missing[place]], answer)  # type: ignore[arg-type]
            yield missing[place], answer


def _plain(value: Any) -> dict[str, Any]:
    """Return a dataclass as JSON gives it back (lists for tuples)."""
    return {
        name: list(item) if isinstance(item, tuple) else item
        for name, item in dataclasses.asdict(value).items()
    }


def _reply(kept: dict[str, Any]) -> Reply | None:
    text, tokens, reason = kept.get("text"), kept.get("tokens"), kept.get("finish_reason")
    if isinstance(text, str) and isinstance(tokens, int | None) and isinstance(reason, str):
        return Reply(text, tokens, reason)
    return None


def _score(kept: dict[str, Any]) -> Score | None:
    logprobs = kept.get("token_logprobs")
    if isinstance(logprobs, list) and all(isinstance(value, int | float) for value in logprobs):
        return Score(tuple(float(value) for value in logprobs))
    return None
