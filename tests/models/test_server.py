from __future__ import annotations

import threading
import time

import pytest
from transformers import PreTrainedTokenizerFast

from assay.errors import InputError
from assay.models import (
    LocalTextModel,
    ModelSource,
    ServerError,
    ServerTextModel,
    connection,
    open_text_model,
)
from assay.models.server import _border

from .server import OpenAIServer

PROMPTS = ["the quick brown fox", "who", "a slow green turtle walks under the busy bridge, and", "he"]
CONTINUATIONS = [" jumps over", " saw the dog?", " the fox sleeps!", "llo there"]


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def remote(server: OpenAIServer, **options) -> ServerTextModel:
    return ServerTextModel(server.url, "tiny", **{"retries": 1, "backoff": 0.01} | options)


def test_server_and_local_scores_agree(server: OpenAIServer, local: LocalTextModel) -> None:
    there, here = remote(server).score(PROMPTS, CONTINUATIONS), local.score(PROMPTS, CONTINUATIONS)
    for one, other in zip(there, here, strict=True):
        assert one.token_logprobs == pytest.approx(other.token_logprobs, abs=1e-4)
    assert there[3].tokens == 2  # "hello" spans the border: it and " there"


def test_server_and_local_greedy_replies_agree(
    server: OpenAIServer, local: LocalTextModel, chatty: PreTrainedTokenizerFast
) -> None:
    for options in ({"chat": False}, {"system": "hello"}, {"chat": True, "stop": [" the"]}):
        here = local.generate(PROMPTS, max_new_tokens=10, **options)
        assert remote(server).generate(PROMPTS, max_new_tokens=10, **options) == here


def test_a_source_makes_the_server_model(server: OpenAIServer, local: LocalTextModel) -> None:
    model = open_text_model(ModelSource(f"{server.url}#tiny"))
    assert model.fingerprint() == f"{server.url}#tiny"
    assert model.generate(["the"], max_new_tokens=3, chat=False) == local.generate(["the"], max_new_tokens=3)


def test_samples_are_one_request_each_with_their_own_seed(server: OpenAIServer) -> None:
    options = {"max_new_tokens": 6, "temperature": 1.0, "n": 3, "chat": False, "top_p": 0.9}
    replies = remote(server).generate(PROMPTS, **options)
    seeds = {body["seed"] for body in server.posts()}
    assert len(seeds) == len(server.posts()) == 12
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert all(body["top_p"] == 0.9 for body in server.posts())
    assert remote(server).generate(PROMPTS, **options) == replies
    assert remote(server).generate(PROMPTS, **options, seed=1) != replies


def test_stop_texts_beyond_four_are_cut_here(server: OpenAIServer, local: LocalTextModel) -> None:
    (whole,) = local.generate(["the quick"], max_new_tokens=10)
    last = f" {whole.text.split(' ')[2]}"
    (reply,) = remote(server).generate(
        ["the quick"], max_new_tokens=10, chat=False, stop=["1", "2", "3", "4", last]
    )
    assert server.posts()[0]["stop"] == ["1", "2", "3", "4"]
    assert reply.text == whole.text[: whole.text.index(last)]
    assert reply.finish_reason == "stop"


def test_requests_run_at_once_but_not_too_many(server: OpenAIServer) -> None:
    gate = threading.Barrier(3)
    inner = server._answer

    def together(path: str, body: dict) -> tuple[int, object]:
        if body:
            gate.wait(5)  # goes on only when three are there
        return inner(path, body)

    server._answer = together  # type: ignore[method-assign]
    remote(server, concurrency=3).generate(
        ["the", "who", "he", "dog", "fox", "a"], max_new_tokens=1, chat=False
    )
    assert server.most_at_once == 3


# --- the key ------------------------------------------------------------------------------------


def test_the_key_comes_from_the_environment_only(
    server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = remote(server)
    model.generate(["the"], max_new_tokens=1, chat=False)
    assert all("authorization" not in headers for _, headers, _ in server.requests)
    server.requests.clear()
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-123\n")
    model.generate(["the"], max_new_tokens=1, chat=False)
    assert [headers["authorization"] for _, headers, _ in server.requests] == ["Bearer sk-secret-123"] * 2
    assert "sk-secret" not in repr(vars(model))
    assert "sk-secret" not in repr(server.posts())


@pytest.mark.parametrize("trouble", ["html", "list", "no choices", "deny", "refuse", "redirect", "no text"])
def test_the_key_is_in_no_error(
    server: OpenAIServer, monkeypatch: pytest.MonkeyPatch, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-123")
    server.trouble = trouble
    with caplog.at_level("DEBUG"), pytest.raises((ServerError, InputError)) as caught:
        remote(server).generate(["the"])
    assert "sk-secret" not in str(caught.value)
    assert "sk-secret" not in caplog.text


def test_a_key_that_cannot_be_sent_is_not_shown(
    server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret\n-123")
    with pytest.raises(InputError, match="cannot be sent") as caught:
        remote(server).generate(["the"])
    assert "sk-secret" not in str(caught.value)


# --- trouble ------------------------------------------------------------------------------------


def test_a_server_that_is_down_is_said(server: OpenAIServer) -> None:
    server.close()
    started = time.monotonic()
    with pytest.raises(ServerError, match=r"cannot be reached.*in 2 tries.*Is the server running"):
        remote(server).generate(["the"])
    assert time.monotonic() - started < 3


def test_a_slow_server_is_said(server: OpenAIServer) -> None:
    server.trouble = "slow"
    with pytest.raises(ServerError, match=r"gave no answer within 0\.2 s"):
        remote(server, timeout=0.2).generate(["the"])
    assert len(server.requests) == 1  # not asked again


def test_a_reply_that_trickles_is_not_waited_for_without_end(server: OpenAIServer) -> None:
    server.trouble = "trickle"
    with pytest.raises(ServerError, match=r"gave no answer within 0\.5 s"):
        remote(server, timeout=0.5).generate(["the"])


def test_an_answer_without_end_is_not_read_on(server: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LARGEST_ANSWER", 2**20)
    server.trouble = "endless"
    with pytest.raises(ServerError, match="more than 1 MiB"):
        remote(server, timeout=20.0).generate(["the"])


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("html", "it is not JSON"),
        ("list", "no JSON object"),
        ("no choices", "no choices"),
        ("no text", "no message"),
    ],
)
def test_nonsense_is_said(server: OpenAIServer, trouble: str, said: str) -> None:
    server.trouble = trouble
    with pytest.raises(ServerError, match=f"does not know: .*{said}"):
        remote(server).generate(["the"])


@pytest.mark.parametrize(
    ("trouble", "error", "said"),
    [
        ("no text", ServerError, "the choice has no text"),
        ("no route", InputError, r"cannot complete a text: it has no /completions\.$"),
        ("deny", InputError, r"refuses access \(401\): the key in OPENAI_API_KEY is not set"),
        ("refuse", InputError, "answers 400 to /.*Bad request of no key"),
        ("redirect", InputError, "sends on to 'http://elsewhere"),
    ],
)
def test_refusals_are_said(server: OpenAIServer, trouble: str, error: type[Exception], said: str) -> None:
    server.trouble = trouble
    with pytest.raises(error, match=said):
        remote(server).generate(["the"], chat=False)


def test_a_wrong_base_address_is_said(server: OpenAIServer) -> None:
    with pytest.raises(InputError, match=r"it has no /chat/completions\. Such addresses mostly end in /v1"):
        ServerTextModel(server.url[: -len("/v1")], "tiny").generate(["the"])


def test_an_unknown_model_is_answered_with_those_that_are_there(server: OpenAIServer) -> None:
    with pytest.raises(InputError, match=r"no model 'tinny'\. Did you mean 'tiny'\? It has: other, tiny\."):
        ServerTextModel(server.url, "tinny").generate(["the"])
    server.trouble = "no models"
    with pytest.raises(InputError, match=r"answers 404 to /completions: The model 'tinny' does not exist"):
        ServerTextModel(server.url, "tinny").generate(["the"], chat=False)


def test_a_server_that_does_not_list_its_models_is_used(server: OpenAIServer, local: LocalTextModel) -> None:
    server.trouble = "no models"
    there = remote(server).generate(["the"], max_new_tokens=3, chat=False)
    assert there == local.generate(["the"], max_new_tokens=3)


@pytest.mark.parametrize(
    ("trouble", "said"),
    [("no logprobs", "have no logprobs"), ("no echo", "does not echo"), ("no route", "has no /completions")],
)
def test_a_server_that_cannot_score_is_said(server: OpenAIServer, trouble: str, said: str) -> None:
    server.trouble = trouble
    with pytest.raises(InputError, match=f"cannot score continuations: .*{said}"):
        remote(server).score(["the"], [" dog"])


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(server: OpenAIServer, local: LocalTextModel, status: int) -> None:
    server.failures, server.failure_status = 2, status
    there = remote(server, retries=2).generate(["the"], max_new_tokens=3, chat=False)
    assert there == local.generate(["the"], max_new_tokens=3)
    assert len(server.posts()) == 3
    server.failures = 9
    with pytest.raises(ServerError, match=f"answers {status} to /completions: busy, in 3 tries"):
        remote(server, retries=2).generate(["the"], max_new_tokens=3, chat=False)
    assert server.failures == 6


def test_a_request_that_is_wrong_is_not_sent_again(server: OpenAIServer) -> None:
    server.fail_on = "who"
    with pytest.raises(InputError, match="This prompt is refused"):
        remote(server, concurrency=1).generate(["who", "the", "he"], chat=False)
    assert len(server.posts()) <= 2  # the rest was not begun


# --- where the continuation begins in a server's tokens -------------------------------------------


@pytest.mark.parametrize(
    ("tokens", "prompt", "continuation", "border"),
    [
        (["a", " b", " c"], "a b", " c", 2),
        (["<s>", "a", " b", " c"], "a b", " c", 3),  # a start token that is not in the text
        (["a", " bc", "d"], "a b", "cd", 1),  # a token over the border
        (["ab"], "a", "b", 0),
        (["<s>", "a", "b", "c"], "a b", " c", 3),  # tokens without their spaces
        (["<s>", "a", "b", "c"], "a ", "b c", 2),
        (["a", "\n", "b"], "a", "\nb", 1),
        (["a", "", "b"], "a", "\nb", None),  # did the empty token stand before the border?
        (["a", "\ufffd", "\ufffd"], "a", "é", None),  # characters in pieces
        (["x", "y"], "a", "b", None),
        (["a", "\n"], "a", "\n", 1),
    ],
)
def test_the_border_is_found_or_left_open(
    tokens: list[str], prompt: str, continuation: str, border: int | None
) -> None:
    assert _border(tokens, prompt, continuation) == border
