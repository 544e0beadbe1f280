"""A small OpenAI-compatible server over a transformers model, on loopback, for tests.

It reads one text at a time without padding, cache or batch, so that agreement with `LocalTextModel` means
something. `trouble` makes it misbehave.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase


class OpenAIServer:
    """Serves a model under `url` inside a `with` block.

    Attributes:
        requests: what came in: (path, headers with lower-case names, JSON body).
        failures: how many of the next POST requests are answered with `failure_status`.
        trouble: None, or one of "slow", "html", "list", "no choices", "no text", "no logprobs", "no echo",
            "no route", "no models", "redirect", "deny", "refuse".
        fail_on: a text; requests whose prompt holds it are refused.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str = "tiny"
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.name = name
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.failures = 0
        self.failure_status = 503
        self.trouble: str | None = None
        self.fail_on: str | None = None
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()

    def __enter__(self) -> OpenAIServer:
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving; the address then refuses connections."""
        if not self._closing.is_set():
            self._closing.set()
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def posts(self) -> list[dict[str, Any]]:
        """Return the bodies of the requests for completions."""
        return [body for path, _, body in self.requests if not path.endswith("/models")]

    # --- answers --------------------------------------------------------------------------------

    def answer(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
        """Return the status and what is sent: text as it is, anything else as JSON."""
        with self._lock:
            self.requests.append((path, headers, body))
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            failing = self.failures > 0 and not path.endswith("/models")
            self.failures -= failing
        try:
            if failing:
                return self.failure_status, {"error": {"message": "busy"}}
            return self._troubled(path, headers, body) or self._answer(path, body)
        finally:
            with self._lock:
                self._at_once -= 1

    def _troubled(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> tuple[int, Any] | None:
        said = headers.get("authorization", "no key")
        match self.trouble:
            case "slow":
                self._closing.wait(20)
            case "html":
                return 200, f"<html>Welcome, {said}</html>"
            case "list":
                return 200, [1, 2, 3]
            case "redirect":
                return 307, "http://elsewhere.invalid/v1"
            case "deny":
                return 401, {"error": {"message": f"Incorrect key: {said}"}}
            case "refuse":
                return 400, {"error": {"message": f"Bad request of {said}"}}
            case "no route":
                return 404, {"detail": "Not Found"}
            case "no models" if path.endswith("/models"):
                return 404, {"detail": "Not Found"}
            case "no choices" if body:
                return 200, {"choices": [], "note": said}
            case "no text" if body:
                return 200, {"choices": [{"index": 0}]}
        return None

    def _answer(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if path == "/v1/models":
            return 200, {"object": "list", "data": [{"id": self.name}, {"id": "other"}]}
        if body.get("model") != self.name:
            return 404, {"error": {"message": f"The model {body.get('model')!r} does not exist."}}
        if self.fail_on is not None and self.fail_on in json.dumps(body):
            return 400, {"error": {"message": "This prompt is refused."}}
        if path == "/v1/chat/completions":
            text = self.tokenizer.apply_chat_template(
                body["messages"], tokenize=False, add_generation_prompt=True
            )
            ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
            new, reason = self._continue(ids, body)
            message = {"role": "assistant", "content": self._text(ids, new)}
            return 200, self._completion({"message": message, "finish_reason": reason}, ids, new)
        if path == "/v1/completions":
            return self._complete(body)
        return 404, {"detail": "Not Found"}

    def _complete(self, body: dict[str, Any]) -> tuple[int, Any]:
        ids = self.tokenizer(body["prompt"])["input_ids"]
        new, reason = self._continue(ids, body)
        text = self._text(ids, new)
        choice: dict[str, Any] = {"text": text, "finish_reason": reason}
        if body.get("echo") and self.trouble != "no echo":
            choice["text"] = body["prompt"] + text
        if body.get("logprobs") is not None and self.trouble != "no logprobs":
            shown = ids + new if body.get("echo") and self.trouble != "no echo" else new
            choice["logprobs"] = {
                "tokens": [self.tokenizer.decode([token]) for token in shown],
                "token_logprobs": self._logprobs(ids + new)[-len(shown) :],
            }
        return 200, self._completion(choice, ids, new)

    def _completion(self, choice: dict[str, Any], ids: list[int], new: list[int]) -> dict[str, Any]:
        usage = {"prompt_tokens": len(ids), "completion_tokens": len(new)}
        return {
            "object": "completion",
            "model": self.name,
            "choices": [{"index": 0} | choice],
            "usage": usage,
        }

    # --- the model, one text at a time ------------------------------------------------------------

    @torch.inference_mode()
    def _logits(self, ids: list[int]) -> torch.Tensor:
        return self.model(input_ids=torch.tensor([ids])).logits[0].double()

    def _logprobs(self, ids: list[int]) -> list[float | None]:
        steps = self._logits(ids).log_softmax(-1)
        return [None] + [steps[place - 1, ids[place]].item() for place in range(1, len(ids))]

    def _continue(self, ids: list[int], body: dict[str, Any]) -> tuple[list[int], str]:
        stream = torch.Generator().manual_seed(body.get("seed", 0))
        new: list[int] = []
        while len(new) < body["max_tokens"]:
            logits = self._logits(ids + new)[-1]
            if body["temperature"] > 0:
                probabilities = (logits / body["temperature"]).softmax(-1)
                token = int(torch.multinomial(probabilities, 1, generator=stream))
            else:
                token = int(logits.argmax())
            new.append(token)
            if token == self.tokenizer.eos_token_id:
                return new, "stop"
            if any(stop in self._text(ids, new) for stop in body.get("stop", [])):
                return new, "stop"
        return new, "length"

    def _text(self, ids: list[int], new: list[int]) -> str:
        before = len(self.tokenizer.decode(ids, skip_special_tokens=True))
        return self.tokenizer.decode(ids + new, skip_special_tokens=True)[before:]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing when a client has gone away before its answer."""


def _handler(owner: OpenAIServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._reply({})

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            self._reply(json.loads(self.rfile.read(length)))

        def _reply(self, body: dict[str, Any]) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, answer = owner.answer(self.path, headers, body)
            content = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
            self.send_response(status)
            if status == 307:
                self.send_header("Location", str(answer))
            if owner.trouble in ("trickle", "endless"):
                self._stream(0.05 if owner.trouble == "trickle" else 0.0)
                return
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _stream(self, pause: float) -> None:
            """Send pieces for as long as somebody reads them, a while apart."""
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            while not owner._closing.wait(pause):
                self.wfile.write(b"1000\r\n" + b" " * 4096 + b"\r\n")

        def log_message(self, *_: Any) -> None:
            """Keep the access log off the screen."""

    return Handler
