"""`run` and `load`: a folder appears whole, gives back what was saved, and leads nowhere else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_paper.config import Draw, Inner

import assay
from assay import options
from assay.artefact import load
from assay.cli.running import run
from assay.errors import InputError, MissingExtraError, StorageError


def rewrite(folder: Path, **changes: Any) -> None:
    """Change the manifest as somebody might who sends a folder."""
    manifest = json.loads((folder / "assay.json").read_text())
    (folder / "assay.json").write_text(json.dumps(manifest | changes))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestRun:
    def test_the_folder_says_what_it_came_from(self, tmp_path: Path) -> None:
        ran = run("toy", out=tmp_path / "out", overrides={"rows": 7, "inner.scale": 2.0}, seed=5)
        manifest = json.loads((tmp_path / "out" / "assay.json").read_text())
        assert (manifest["slug"], manifest["recipe"], manifest["seed"]) == ("toy", "draw", 5)
        config = options.from_plain(Draw, manifest["config"])
        assert config == Draw(mean=1.0, rows=7, inner=Inner(scale=2.0))
        assert manifest["versions"]["torch"] == torch.__version__
        assert set(manifest["versions"]) == {"assay", "torch", "numpy"}
        assert manifest["paper"] == {"title": "A Toy for the Checker", "authors": "Nobody", "arxiv": None}
        assert manifest["metrics"] == {"score": ran.metrics["score"]}
        assert manifest["cost"]["seconds"] > 0
        assert "licence" in manifest
        assert manifest["files"] == ["draws/arrays.safetensors", "draws/record.json"]
        assert ran.files == ("assay.json", *manifest["files"])
        assert ran.folder == tmp_path / "out"
        assert names(tmp_path) == ["out"]

    def test_load_gives_back_what_was_saved(self, tmp_path: Path) -> None:
        ran = run("toy", out=tmp_path / "out", overrides={"rows": 7})
        loaded = load(tmp_path / "out")
        assert loaded["values"].shape == (7,)
        assert loaded["values"].dtype == np.float64
        again = assay.run("toy", "draw", out=tmp_path / "again", overrides={"rows": 7})
        assert (assay.load(str(tmp_path / "again"), "draws")["values"] == loaded["values"]).all()
        assert again.metrics == ran.metrics

    def test_the_seed_and_the_arm_count(self, tmp_path: Path) -> None:
        values = {
            (seed, arm): load(run("toy", out=tmp_path / f"{seed}{arm}", seed=seed, arm=arm).folder)["values"]
            for seed in (0, 1)
            for arm in ("low", "high")
        }
        assert np.allclose(values[0, "high"], values[0, "low"] + 1)
        assert not np.allclose(values[0, "low"], values[1, "low"])

    def test_the_preset_is_the_size(self, tmp_path: Path) -> None:
        rows = {
            preset: len(load(run("toy", out=tmp_path / preset, preset=preset).folder)["values"])
            for preset in ("tiny", "laptop")
        }
        assert rows == {"tiny": 20, "laptop": 50}

    def test_it_works_in_a_folder_that_is_there_but_empty(self, tmp_path: Path) -> None:
        run("toy", out=tmp_path)
        assert names(tmp_path) == ["assay.json", "draws"]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"slug": "toi"}, "There is no paper 'toi'. Did you mean 'toy'?"),
            ({"recipe": "drew"}, "There is no recipe of toy 'drew'. Did you mean 'draw'?"),
            ({"arm": "hihg"}, "There is no arm of draw 'hihg'. Did you mean 'high'?"),
            ({"preset": "labtop"}, "There is no preset of toy draw 'labtop'. Did you mean 'laptop'?"),
            ({"precision": "bf16"}, "There is no precision 'bf16'. Did you mean 'bf16-"),
            ({"device": "gpu"}, "There is no device 'gpu' here; give one such as cpu, cuda"),
            ({"overrides": {"row": 3}}, "There is no option 'row'. Did you mean 'rows'?"),
            ({"overrides": {"rows": "x"}}, "--rows: got 'x'; "),
            ({"arm": "low", "overrides": {"mean": 3}}, "--mean is set by --arm low; leave one of them out."),
        ],
    )
    def test_what_does_not_fit_is_refused_before_anything_is_written(
        self, tmp_path: Path, arguments: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(InputError) as caught:
            run(**{"slug": "toy", "out": tmp_path / "out"} | arguments)
        assert str(caught.value).startswith(message)
        assert names(tmp_path) == []

    def test_a_run_that_fails_leaves_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(RuntimeError, match="this arm fails"):
            run("toy", out=tmp_path / "out", arm="high", overrides={"fault": "crash"})
        assert names(tmp_path) == []

    def test_a_package_that_is_missing_is_named_with_its_extra(self, tmp_path: Path) -> None:
        with pytest.raises(MissingExtraError, match=r"rasterio is not installed.*'assay\[theory\]'"):
            run("toy", out=tmp_path / "out", arm="high", overrides={"fault": "missing"})
        assert names(tmp_path) == []

    def test_metrics_that_are_not_declared_are_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="'other', which is not among the declared metrics"):
            run("toy", out=tmp_path / "out", overrides={"fault": "undeclared"})
        assert names(tmp_path) == []


class TestOverwrite:
    def test_a_full_folder_is_refused(self, tmp_path: Path) -> None:
        run("toy", out=tmp_path / "out")
        with pytest.raises(InputError, match="Add --overwrite or choose another folder"):
            run("toy", out=tmp_path / "out")

    def test_it_replaces_the_whole_folder(self, tmp_path: Path) -> None:
        run("toy", out=tmp_path / "out")
        (tmp_path / "out" / "old").write_text("")
        run("toy", out=tmp_path / "out", overrides={"rows": 3}, overwrite=True)
        assert len(load(tmp_path / "out")["values"]) == 3
        assert names(tmp_path / "out") == ["assay.json", "draws"]
        assert names(tmp_path) == ["out"]

    def test_the_old_folder_stays_when_the_new_run_fails(self, tmp_path: Path) -> None:
        run("toy", out=tmp_path / "out", overrides={"rows": 4})
        with pytest.raises(RuntimeError, match="this arm fails"):
            run("toy", out=tmp_path / "out", arm="high", overrides={"fault": "crash"}, overwrite=True)
        assert len(load(tmp_path / "out")["values"]) == 4
        assert names(tmp_path) == ["out"]

    def test_the_old_folder_stays_when_the_new_one_cannot_take_its_place(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run("toy", out=tmp_path / "out", overrides={"rows": 4})
        rename = Path.rename

        def refuse(self: Path, target: Path) -> Path:
            if target == tmp_path / "out" and ".old-" not in self.name:
                raise OSError(28, "No space left on device")
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", refuse)
        with pytest.raises(StorageError, match="No space left on device"):
            run("toy", out=tmp_path / "out", overwrite=True)
        assert len(load(tmp_path / "out")["values"]) == 4
        assert names(tmp_path) == ["out"]

    def test_a_folder_that_assay_did_not_write_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "thesis").mkdir()
        (tmp_path / "thesis" / "chapter.tex").write_text("years")
        with pytest.raises(InputError, match="was not written by assay"):
            run("toy", out=tmp_path / "thesis", overwrite=True)
        assert names(tmp_path / "thesis") == ["chapter.tex"]

    def test_a_file_in_the_way_of_the_folder_is_one_line(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(StorageError, match=r"^Cannot write .*/file/out: "):
            run("toy", out=tmp_path / "file" / "out")


class TestLoad:
    @pytest.fixture
    def out(self, tmp_path: Path) -> Path:
        return run("toy", out=tmp_path / "out").folder

    def test_a_folder_without_a_manifest_is_refused(self, tmp_path: Path) -> None:
        for folder in (tmp_path, tmp_path / "none"):
            with pytest.raises(InputError, match=r"has no assay\.json: give a folder that"):
                load(folder)

    def test_an_unknown_object_names_the_nearest(self, out: Path) -> None:
        with pytest.raises(InputError, match=r"There is no object 'draw'. Did you mean 'draws'\?"):
            load(out, "draw")

    def test_a_damaged_manifest_is_one_line(self, out: Path) -> None:
        (out / "assay.json").write_text('{"objects": {')
        with pytest.raises(StorageError, match="is damaged or cannot be read"):
            load(out)

    @pytest.mark.parametrize(
        "manifest",
        ["[]", "{}", '{"objects": []}', '{"objects": {"a": 3}}', '{"objects": {"a": {"kind": "record"}}}'],
    )
    def test_a_manifest_of_something_else_is_refused(self, out: Path, manifest: str) -> None:
        (out / "assay.json").write_text(manifest)
        with pytest.raises(InputError, match="was not written by `assay run`"):
            load(out)

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("os:system", "is part of no entry of assay"),
            ("subprocess:Popen", "is part of no entry of assay"),
            ("", "is part of no entry of assay"),
            ("toy_paper_of_mine:Loader", "is part of no entry of assay"),
            ("assay.files:os.system", "is no class of an entry of assay"),
            ("assay.trial:torch", "is no class of an entry of assay"),
            ("assay.trial:np", "is no class of an entry of assay"),
            ("assay.trial:Path", "is no class of an entry of assay"),
            ("toy_paper.recipe:draw", "is no class of an entry of assay"),
            ("toy_paper.recipe:Gone", "is not here"),
            ("assay.no_such_module:Gone", "is not here"),
        ],
    )
    def test_a_manifest_cannot_name_foreign_code(self, out: Path, name: str, message: str) -> None:
        rewrite(out, objects={"draws": {"path": "draws", "kind": "object", "class": name}})
        with pytest.raises(InputError, match=message):
            load(out)

    @pytest.mark.parametrize("kind", ["record", "figure", "object"])
    @pytest.mark.parametrize("path", ["..", "../other", "/etc", "draws/../../other"])
    def test_a_manifest_cannot_lead_out_of_its_folder(self, out: Path, kind: str, path: str) -> None:
        rewrite(out, objects={"draws": {"path": path, "kind": kind, "class": "toy_paper.config:Draw"}})
        with pytest.raises(InputError, match="leads outside"):
            load(out)

    def test_a_link_cannot_either(self, out: Path, tmp_path: Path) -> None:
        (out / "away").symlink_to(tmp_path)
        rewrite(out, objects={"draws": {"path": "away", "kind": "record"}})
        with pytest.raises(InputError, match="leads outside"):
            load(out)
