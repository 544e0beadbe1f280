"""The report while a check runs: the same pages on 127.0.0.1, with progress that moves."""

from __future__ import annotations

import http.server
import json
import tempfile
import threading
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from assay import report
from assay.checking.store import Store
from assay.errors import InputError


class LiveSite:
    """Serves the report from a temporary folder until the `with` block ends.

    Args:
        store: where the check keeps its trials.
        slugs: the papers that will be checked.
        port: of 127.0.0.1; 0 takes a free one.
    """

    def __init__(self, store: Path, slugs: list[str], port: int = 0) -> None:
        self._store = store
        self._port = port
        self._progress = dict.fromkeys(slugs, (0, 0))
        self._finished = 0

    def __enter__(self) -> LiveSite:
        self._folder = tempfile.TemporaryDirectory(prefix="assay-live-")
        report.write(Path(self._folder.name), self._store)
        try:
            self._server = http.server.ThreadingHTTPServer(
                ("127.0.0.1", self._port), partial(_Handler, site=self, directory=self._folder.name)
            )
        except OSError as error:
            self._folder.cleanup()
            raise InputError(
                f"Port {self._port} cannot be used ({error.strerror}). Choose another."
            ) from None
        threading.Thread(target=self._server.serve_forever, daemon=True, name="live-site").start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._folder.cleanup()

    @property
    def url(self) -> str:
        """Where the site is."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    def advance(self, slug: str, done: int, total: int) -> None:
        """Say how many units of a paper's check are done."""
        self._progress[slug] = (done, total)

    def finish(self, slug: str) -> None:
        """Write a paper's page and the index again, now that its verdicts are there."""
        report.write(Path(self._folder.name), self._store, [slug])
        self._finished += 1

    def state(self) -> dict[str, Any]:
        """Return what the page asks for."""
        said = Store(self._store).said()
        return {
            "finished": self._finished,
            "papers": [
                {
                    "slug": slug,
                    "done": done,
                    "total": total,
                    "doing": "; ".join(line for line in said if line.startswith(f"{slug} ")),
                }
                for slug, (done, total) in self._progress.items()
            ],
        }


class _Handler(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *arguments: Any, site: LiveSite, directory: str) -> None:
        self._site = site
        super().__init__(*arguments, directory=directory)

    def do_GET(self) -> None:
        name = (self.headers.get("Host") or "").rsplit(":", 1)[0]
        if name not in ("127.0.0.1", "localhost"):  # a page elsewhere that has its name point here
            self.send_error(403)
        elif self.path == "/progress.json":
            self._answer(json.dumps(self._site.state()).encode())
        else:
            super().do_GET()

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Print nothing: standard error is for the progress of the check."""
