"""Models are loaded by the project's rules: what lies in a folder or a package fetches nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

SCRIPT = """
import sys
from transformers import AutoModel, AutoModelForDepthEstimation
from assay.errors import InputError
from assay.models import ModelSource, load_model
source = ModelSource(sys.argv[1])
try:
    load_model(source, AutoModelForDepthEstimation)
except InputError as error:
    print(error)
"""


@pytest.fixture
def asked() -> Iterator[tuple[str, list[str]]]:
    """A hub that has nothing, and writes down what it is asked for."""
    paths: list[str] = []

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_error(404)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *values: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", paths
        server.shutdown()


@pytest.mark.parametrize(("source", "asks"), [("folder:model", False), ("hub:somebody/model", True)])
def test_a_folder_whose_config_names_a_backbone_fetches_nothing(
    source: str, asks: bool, asked: tuple[str, list[str]], tmp_path: Path
) -> None:
    endpoint, paths = asked
    folder = tmp_path / "model"
    folder.mkdir()
    config = {"model_type": "dpt", "backbone": "somebody/backbone", "use_pretrained_backbone": True}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, source],
        cwd=tmp_path,
        env=environment | {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "cannot be loaded" in done.stdout
    assert bool(paths) is asks, paths
