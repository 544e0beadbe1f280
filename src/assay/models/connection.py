"""The way to a server that speaks the OpenAI protocol: addresses, the key, tries, and what went wrong."""

from __future__ import annotations

import ipaddress
import json
import os
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import httpx2

from assay.errors import AssayError, InputError

KEY = "OPENAI_API_KEY"
_AGAIN = (408, 425, 429, 500, 502, 503, 504)
_LONGEST_WAIT = 60.0
LARGEST_ANSWER = 64 * 2**20
"""Bytes of one answer, unpacked."""


@dataclass(frozen=True)
class _Answer:
    """What a server answered, whole."""

    status: int
    headers: httpx2.Headers
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        return json.loads(self.body)


class ServerError(AssayError, ConnectionError):
    """A server is down, too slow, or answers what is no answer."""


class Connection:
    """Requests to one server; usable from several threads, inside a `with` block.

    The key is read from the environment variable OPENAI_API_KEY whenever something is sent, goes to this
    server only (no redirection is followed) and is kept nowhere.

    Args:
        url: where the protocol's routes begin, such as `http://localhost:8000/v1`.
        timeout: seconds to wait for an answer.
        retries: how often to try again when the server cannot be reached, is busy or fails.
        backoff: seconds before the second try; doubled each time, unless the server names a time.
        concurrency: the most requests at a time.
    """

    def __init__(self, url: str, timeout: float, retries: int, backoff: float, concurrency: int) -> None:
        self.url = url
        self.timeout = timeout
        self.retries = retries
        self.backoff = backoff
        self._client = httpx2.Client(
            timeout=httpx2.Timeout(timeout, connect=min(10.0, timeout), pool=None),
            limits=httpx2.Limits(max_connections=concurrency),
            trust_env=not _is_loopback(url),  # a proxy cannot reach what runs on this machine
        )

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def post(self, route: str, body: dict[str, Any], what: str) -> dict[str, Any]:
        """Send a JSON object and return the one that comes back.

        Args:
            route: after the address, such as `chat/completions`.
            body: what is sent.
            what: what this is good for, for the error where the server has no such route.

        Raises:
            InputError: the server refuses the request or does not know the route.
            ServerError: the server is down, too slow or answers nonsense.
        """
        answer = self._read(route, self._send("POST", route, body))
        if answer is None:
            hint = "" if self.url.endswith("/v1") else " Such addresses mostly end in /v1."
            raise InputError(f"{self.url} cannot {what}: it has no /{route}.{hint}")
        return answer

    def offered_models(self) -> list[str]:
        """Return the names of the models that the server says it has, sorted; some servers say nothing."""
        listed = (self._read("models", self._send("GET", "models", None)) or {}).get("data")
        names = (
            [item.get("id") for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
        )
        return sorted(name for name in names if isinstance(name, str))

    def nonsense(self, route: str, why: str, answer: Any) -> ServerError:
        """Return the error for an answer that is not of the protocol's form."""
        shown = answer if isinstance(answer, str) else json.dumps(answer)
        return ServerError(
            f"{self.url}/{route} gives an answer that the OpenAI protocol does not know: {why}."
            f" It begins: {_without_key(shown)[:200]!r}"
        )

    def _send(self, method: str, route: str, body: dict[str, Any] | None) -> _Answer:
        """Send a request, again where the server is away or busy."""
        content = None if body is None else json.dumps(body).encode()  # ASCII holds half a surrogate pair too
        for attempt in range(self.retries + 1):
            wait = self.backoff * 2**attempt
            try:
                response = self._ask(method, route, content)
            except httpx2.ReadTimeout:
                raise self._too_slow() from None
            except httpx2.TransportError as error:
                problem = f"cannot be reached ({str(error) or type(error).__name__})"
            except httpx2.HTTPError as error:  # an answer that cannot be unpacked, say
                raise self.nonsense(route, type(error).__name__, str(error)) from None
            else:
                if response.status not in _AGAIN:
                    return response
                problem = f"answers {response.status} to /{route}: {_said(response)}"
                wait = _named_wait(response, wait)
            if attempt < self.retries:
                time.sleep(min(wait, _LONGEST_WAIT))
        tries = "1 try" if self.retries == 0 else f"{self.retries + 1} tries"
        raise ServerError(
            f"{self.url} {problem}, in {tries}. Is the server running, and is this its address?"
        )

    def _ask(self, method: str, route: str, content: bytes | None) -> _Answer:
        """Send one request and read its answer, within the time and the size that one may take."""
        end = time.monotonic() + self.timeout
        address = f"{self.url}/{route}"
        with self._client.stream(method, address, content=content, headers=_headers()) as response:
            body = bytearray()
            for piece in response.iter_bytes(2**16):
                body += piece
                if len(body) > LARGEST_ANSWER:
                    most = LARGEST_ANSWER // 2**20
                    raise ServerError(f"{address} answers with more than {most} MiB, which is not read on.")
                if time.monotonic() > end:  # the client's own limit is for each piece
                    raise self._too_slow()
            return _Answer(response.status_code, response.headers, bytes(body))

    def _too_slow(self) -> ServerError:
        return ServerError(
            f"{self.url} gave no answer within {self.timeout:g} s: it is overloaded or the reply is long. Ask"
            " for fewer tokens, or give ServerTextModel a longer timeout or less concurrency."
        )

    def _read(self, route: str, response: _Answer) -> dict[str, Any] | None:
        """Return the JSON object of an answer, or None where the server has no such route."""
        status = response.status
        if status in (401, 403):
            held = "is not accepted" if _key() else "is not set"
            raise InputError(f"{self.url} refuses access ({status}): the key in {KEY} {held}.")
        missing = status in (404, 405, 501)
        if missing and (route == "models" or "model" not in _said(response)):  # else it means the model
            return None
        if 300 <= status < 400:
            place = response.headers.get("location", "elsewhere")[:200]
            raise InputError(
                f"{self.url} sends on to {place!r}, which is not followed, so that the key stays here:"
                " give that address."
            )
        if status >= 400:
            raise InputError(f"{self.url} answers {status} to /{route}: {_said(response)}")
        try:
            answer = response.json()
        except ValueError:
            raise self.nonsense(route, "it is not JSON", response.text) from None
        if not isinstance(answer, dict):
            raise self.nonsense(route, "it is no JSON object", answer)
        return answer


def _key() -> str:
    key = os.environ.get(KEY, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise InputError(f"{KEY} holds characters that cannot be sent; set it again.")
    return key


def _headers() -> dict[str, str]:
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    return headers | ({"Authorization": f"Bearer {key}"} if (key := _key()) else {})


def _without_key(text: str) -> str:
    key = _key()
    return text.replace(key, "[key]") if key else text


def _said(response: _Answer) -> str:
    """Return what a server says of an error, in one short line and without the key."""
    try:
        answer = response.json()
    except ValueError:
        answer = response.text
    if isinstance(answer, dict):
        error = answer.get("error", answer)
        answer = error.get("message", error) if isinstance(error, dict) else error
    return " ".join(_without_key(str(answer)).split())[:300] or "(nothing more)"


def _named_wait(response: _Answer, otherwise: float) -> float:
    try:
        return max(0.0, float(response.headers.get("retry-after", "")))
    except ValueError:
        return otherwise


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
