from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from assay.errors import InputError, StorageError
from assay.models import (
    CachedTextModel,
    LocalTextModel,
    ModelSource,
    Reply,
    ReplyCache,
    Score,
    ServerTextModel,
    TextModel,
    open_text_model,
)
from assay.models.text import GenerateRequest, ScoreRequest

from .server import OpenAIServer

PROMPTS = ["the quick brown fox", "who", "the lazy dog"]


class Counting(TextModel):
    """A model that says its prompt backwards and counts what it is asked."""

    def __init__(self, name: str = "counting") -> None:
        self.name = name
        self.asked: list[str] = []

    def fingerprint(self) -> str:
        return self.name

    def replies(self, requests: Sequence[GenerateRequest]) -> Iterator[tuple[int, Reply]]:
        for position in reversed(range(len(requests))):
            self.asked.append(requests[position].prompt)
            yield (
                position,
                Reply(requests[position].prompt[::-1] + str(requests[position].index), None, "stop"),
            )

    def scores(self, requests: Sequence[ScoreRequest]) -> Iterator[tuple[int, Score]]:
        for position, request in enumerate(requests):
            self.asked.append(request.prompt)
            yield position, Score((-float(len(request.continuation)), -float("inf")))


def test_a_finished_run_replays_with_the_server_shut_down(server: OpenAIServer, tmp_path: Path) -> None:
    source = ModelSource(f"{server.url}#tiny")

    def run() -> tuple:
        model = open_text_model(source, cache=tmp_path)
        options = {"max_new_tokens": 5, "chat": False}
        return (
            model.generate(PROMPTS, **options),
            model.generate(PROMPTS, temperature=1.0, n=2, **options),
            model.score(PROMPTS, [" jumps"] * 3),
        )

    first = run()
    sent = len(server.posts())
    assert sent == 3 + 6 + 3
    assert run() == first
    assert len(server.posts()) == sent
    server.close()
    assert run() == first
    with pytest.raises(Exception, match="cannot be reached"):
        CachedTextModel(ServerTextModel(server.url, "tiny", retries=0), ReplyCache(tmp_path)).generate(
            ["new"], chat=False
        )


def test_only_what_is_missing_is_asked(tmp_path: Path) -> None:
    inner = Counting()
    model = CachedTextModel(inner, ReplyCache(tmp_path))
    model.generate(["a", "b"])
    replies = model.generate(["c", "b", "d", "a"])
    assert sorted(inner.asked) == ["a", "b", "c", "d"]
    assert [reply.text for reply in replies] == ["c0", "b0", "d0", "a0"]
    model.score(["a"], ["x"])
    assert [score.token_logprobs for score in model.score(["a", "a"], ["xy", "x"])] == [
        (-2.0, -float("inf")),
        (-1.0, -float("inf")),
    ]
    assert inner.asked[4:] == ["a", "a"]


def test_keys_hold_all_that_a_reply_depends_on(tmp_path: Path) -> None:
    inner = Counting()
    model = CachedTextModel(inner, ReplyCache(tmp_path))
    variants: list[dict] = [
        {},
        {"temperature": 0.5},
        {"temperature": 0.5, "seed": 1},
        {"temperature": 0.5, "top_p": 0.5},
        {"max_new_tokens": 7},
        {"stop": "x"},
        {"system": "be brief"},
        {"chat": False},
    ]
    for options in variants:
        model.generate(["a"], **options)
    assert len(inner.asked) == len(variants)
    for options in variants:
        model.generate(["a"], **options)
    model.generate(["a"], seed=3)  # does not matter without sampling
    assert len(inner.asked) == len(variants)
    assert [reply.text for reply in model.generate(["a"], temperature=0.5, n=3)] == ["a0", "a1", "a2"]
    assert len(inner.asked) == len(variants) + 2  # index 0 was there
    CachedTextModel(Counting("another"), ReplyCache(tmp_path)).generate(["a"])
    assert len(list(tmp_path.glob("*/*.json"))) == len(variants) + 3


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: text.replace("stop", "length", 1).replace('"text"', '"txet"'),
        lambda text: text.replace('"prompt": "a"', '"prompt": "b"'),
    ],
)
def test_a_damaged_file_is_asked_again_and_mended(tmp_path: Path, damage) -> None:
    inner = Counting()
    model = CachedTextModel(inner, ReplyCache(tmp_path))
    expected = model.generate(["a"])
    (path,) = tmp_path.glob("*/*.json")
    good = path.read_text()
    path.write_text(damage(good))
    assert model.generate(["a"]) == expected
    assert inner.asked == ["a", "a"]
    assert path.read_text() == good


def test_what_was_done_before_a_failure_is_kept(server: OpenAIServer, tmp_path: Path) -> None:
    model = CachedTextModel(
        ServerTextModel(server.url, "tiny", concurrency=1, retries=0), ReplyCache(tmp_path)
    )
    server.fail_on = "lazy"
    with pytest.raises(InputError, match="refused"):
        model.generate(PROMPTS, max_new_tokens=2, chat=False)
    assert len(list(tmp_path.glob("*/*.json"))) == 2
    server.fail_on = None
    server.requests.clear()
    model.generate(PROMPTS, max_new_tokens=2, chat=False)
    assert [body["prompt"] for body in server.posts()] == ["the lazy dog"]


def test_odd_texts_come_back_as_they_were(tmp_path: Path) -> None:
    cache = ReplyCache(tmp_path)
    request = GenerateRequest("é\ud83d \x00 \u2028", 3)
    reply = Reply("\udcff \n 你", 3, "length")
    cache.put("m", request, reply)
    assert cache.get("m", request) == dataclasses.asdict(reply)
    assert cache.get("other", request) is None


def test_local_models_are_cached_too(local: LocalTextModel, tmp_path: Path) -> None:
    model = CachedTextModel(local, ReplyCache(tmp_path))
    expected = local.generate(PROMPTS, max_new_tokens=4)
    assert model.generate(PROMPTS, max_new_tokens=4) == expected
    assert model.generate(PROMPTS, max_new_tokens=4) == expected


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="Cannot write"):
        CachedTextModel(Counting(), ReplyCache(tmp_path / "file")).generate(["a"])


WRITER = """
import sys
sys.path.insert(0, {here!r})
from assay.models import ReplyCache, Reply
from assay.models.text import GenerateRequest
cache = ReplyCache({folder!r})
print("ready", flush=True)
for turn in range(10**6):
    cache.put("m", GenerateRequest(str(turn % 20), 1), Reply("x" * 5000, 1, "stop"))
"""


def test_two_writers_one_of_them_killed_leave_whole_files(tmp_path: Path) -> None:
    program = WRITER.format(here=str(Path(__file__).parent), folder=str(tmp_path))
    writers = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) for _ in range(2)]
    try:
        for writer in writers:
            assert writer.stdout is not None
            writer.stdout.readline()
        deadline = time.monotonic() + 10
        while len(list(tmp_path.glob("*/[!.]*.json"))) < 20 and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        for writer in writers:
            os.kill(writer.pid, signal.SIGKILL)
            writer.communicate()
    files = list(tmp_path.glob("*/[!.]*.json"))
    assert len(files) == 20
    assert all(json.loads(path.read_text())["answer"]["text"] == "x" * 5000 for path in files)
