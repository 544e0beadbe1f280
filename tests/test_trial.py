"""The trial: named streams, splits, shared stages, the search, levels and artefacts."""

from __future__ import annotations

import base64
import copy
import functools
import io
import itertools
import json
import math
import os
import platform
import random
import sys
import threading
import time
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import PIL.Image
import pytest
import torch

from assay import stages, trial as trial_module
from assay.artefact import load
from assay.errors import DivergedError, InputError
from assay.trial import Trial, at_level, derive_seed, random_state

CALLS: list[Any] = []
"""What the stages below were called with."""


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    CALLS.clear()


def draw(count: int) -> dict[str, Any]:
    CALLS.append(count)
    return {
        "torch": torch.randn(count),
        "numpy": np.random.rand(count),
        "python": [random.random() for _ in range(count)],
    }


def echo(*values: Any) -> int:
    CALLS.append(values)
    return len(CALLS)


def take_time(value: int) -> torch.Tensor:
    """Leave the other racer time to come."""
    CALLS.append(value)
    time.sleep(0.3)
    return torch.full((1000,), value)


@torch.no_grad()
def decorated(count: int) -> int:
    return count + 1


def streams() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


class TestStreams:
    def test_they_are_the_same_for_all_arms(self) -> None:
        drawn = [torch.rand(5, generator=Trial(3, arm).generator("data")).tolist() for arm in "ab"]
        assert drawn[0] == drawn[1]
        assert (Trial(3, "a").numpy("data").random(5) == Trial(3, "b").numpy("data").random(5)).all()

    def test_each_call_starts_the_stream_anew(self) -> None:
        trial = Trial(3)
        assert trial.numpy("data").random() == trial.numpy("data").random()

    def test_they_differ_by_name_and_seed(self) -> None:
        numbers = {
            float(torch.rand((), generator=Trial(seed).generator(name)))
            for seed in range(5)
            for name in ("data", "model", "", "data ")
        }
        assert len(numbers) == 20

    def test_they_leave_the_global_streams_alone(self) -> None:
        with random_state(1):
            expected = streams()
        with random_state(1):
            Trial(3).generator("a")
            Trial(3).numpy("a").random(3)
            assert streams() == expected

    def test_seeds_fit_63_bits_and_do_not_collide(self) -> None:
        seeds = {derive_seed(seed, name) for seed in range(100) for name in ("a", "b")}
        assert len(seeds) == 200
        assert all(0 <= seed < 2**63 for seed in seeds)
        assert derive_seed(1, "2/a") != derive_seed(12, "/a")

    def test_random_state_restores_after_an_error_too(self) -> None:
        with random_state(5):
            expected = streams()
        with random_state(5):
            with pytest.raises(ZeroDivisionError), random_state(6):
                _ = streams()[0] / 0
            assert streams() == expected


def table(rows: int = 40) -> datasets.Dataset:
    features = datasets.Features(
        {
            "row": datasets.Value("int64"),
            "student": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["no", "yes"]),
        }
    )
    columns = {
        "row": list(range(rows)),
        "student": [f"s{row // 4}" for row in range(rows)],
        "label": [int(row % 4 == 0) for row in range(rows)],
    }
    return datasets.Dataset.from_dict(columns, features=features)


class TestSplit:
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"test": 0.5},
            {"validation": 0.25},
            {"stratify": "label", "validation": 0.25},
            {"group": "student", "validation": 0.2},
            {"group": "student", "stratify": "label", "validation": 0.25},
        ],
    )
    def test_parts_are_disjoint_and_cover_the_rows(self, options: dict[str, Any]) -> None:
        split = Trial(0).split(table(), **options)
        parts = [part["row"][:] for part in (split.train, split.validation, split.test)]
        assert sorted(itertools.chain(*parts)) == list(range(40))
        assert all(part == sorted(part) for part in parts)

    def test_shares_are_of_all_rows(self) -> None:
        split = Trial(0).split(100, test=0.25, validation=0.25)
        assert [len(part) for part in (split.train, split.validation, split.test)] == [50, 25, 25]
        assert len(Trial(0).split(100).validation) == 0

    def test_a_number_of_rows_gives_indices(self) -> None:
        by_number, by_rows = Trial(4).split(40), Trial(4).split(table())
        assert by_number.test.tolist() == by_rows.test["row"][:]

    def test_it_is_the_same_for_all_arms_and_another_for_another_seed(self) -> None:
        tests = [Trial(seed, arm).split(40).test.tolist() for seed in (0, 1) for arm in ("a", "b")]
        assert tests[0] == tests[1]
        assert tests[2] == tests[3]
        assert tests[0] != tests[2]

    def test_it_does_not_depend_on_the_global_streams(self) -> None:
        before = Trial(0).split(40).test.tolist()
        streams()
        assert Trial(0).split(40).test.tolist() == before

    @pytest.mark.parametrize("stratify", [None, "label"])
    def test_groups_stay_together(self, stratify: str | None) -> None:
        split = Trial(1).split(table(), validation=0.25, group="student", stratify=stratify)
        students = [set(part["student"][:]) for part in (split.train, split.validation, split.test)]
        assert all(students)
        assert sum(len(group) for group in students) == len(set.union(*students)) == 10

    def test_groups_can_be_given_by_value(self) -> None:
        groups = [row // 4 for row in range(40)]
        by_value = Trial(1).split(40, group=groups)
        assert len({groups[row] for row in by_value.train} & {groups[row] for row in by_value.test}) == 0

    def test_classes_keep_their_shares(self) -> None:
        split = Trial(2).split(table(80), test=0.25, validation=0.25, stratify="label")
        assert [sum(part["label"][:]) for part in (split.train, split.validation, split.test)] == [10, 5, 5]

    def test_the_ratio_of_test_to_the_other_rows_is_recorded(self) -> None:
        trial = Trial(0)
        assert trial.resplit == 0
        trial.split(40, test=0.25)
        assert trial.resplit == 10 / 30
        trial.split(40, test=0.5)
        trial.split(40, test=0.1)
        assert trial.resplit == 1  # the largest of several

    def test_rows_for_selection_are_no_test_rows(self) -> None:
        trial = Trial(0)
        trial.split(40, test=0.25, validation=0.25)
        assert trial.resplit == 10 / 30

    def test_rows_drawn_for_the_seed_are_no_resplit(self) -> None:
        trial = Trial(0)
        trial.split(40, fresh=True)
        assert trial.resplit == 0

    @pytest.mark.parametrize(
        ("rows", "options"),
        [
            (0, {}),
            (1, {}),
            (2, {"validation": 0.25}),
            (20, {"group": [0] * 20}),
            (20, {"group": [0] * 10 + [1] * 10, "stratify": [0, 1] * 10}),
            (20, {"stratify": [0] * 19 + [1]}),
            (20, {"group": list(range(20)), "stratify": [0] * 19 + [1]}),
        ],
    )
    def test_too_little_is_refused(self, rows: int, options: dict[str, Any]) -> None:
        with pytest.raises(InputError, match=r"rows cannot be split with a share of 0\.\d+: "):
            Trial(0).split(rows, **options)

    @pytest.mark.parametrize("shares", [(0.0, 0.0), (1.0, 0.0), (0.5, 0.5), (0.2, -0.1)])
    def test_shares_leave_something_for_training(self, shares: tuple[float, float]) -> None:
        with pytest.raises(ValueError, match="must leave a share for training"):
            Trial(0).split(40, *shares)

    def test_there_is_one_group_a_row(self) -> None:
        with pytest.raises(ValueError, match="got 2 groups or classes for 40 rows"):
            Trial(0).split(40, group=[0, 1])


class TestOnce:
    def test_arms_share_what_was_computed(self, tmp_path: Path) -> None:
        first = Trial(0, "a", stages=tmp_path).once("draw", draw, 3)
        second = Trial(0, "b", stages=tmp_path).once("draw", draw, 3)
        assert CALLS == [3]
        assert torch.equal(first["torch"], second["torch"])
        assert (first["numpy"] == second["numpy"]).all()
        assert first["python"] == second["python"]

    def test_each_arm_has_a_copy_of_its_own(self, tmp_path: Path) -> None:
        first = Trial(0, "a", stages=tmp_path).once("draw", draw, 3)
        expected = first["torch"].clone()
        first["torch"] += 1
        assert torch.equal(Trial(0, "b", stages=tmp_path).once("draw", draw, 3)["torch"], expected)

    def test_without_a_folder_the_result_is_the_same(self, tmp_path: Path) -> None:
        shared = Trial(0, stages=tmp_path).once("draw", draw, 3)
        alone = Trial(0).once("draw", draw, 3)
        assert torch.equal(shared["torch"], alone["torch"])
        assert CALLS == [3, 3]

    def test_it_does_not_depend_on_the_callers_streams(self) -> None:
        with random_state(1):
            first = Trial(0).once("draw", draw, 3)
        with random_state(2):
            streams()
            second = Trial(0).once("draw", draw, 3)
        assert torch.equal(first["torch"], second["torch"])
        assert first["python"] == second["python"]

    def test_the_callers_streams_go_on_as_if_nothing_had_run(self, tmp_path: Path) -> None:
        with random_state(1):
            expected = streams()
        for _ in ("computed", "loaded"):
            with random_state(1):
                Trial(0, stages=tmp_path).once("draw", draw, 3)
                assert streams() == expected

    def test_its_stream_goes_by_name_and_seed(self) -> None:
        drawn = {
            Trial(seed).once(name, draw, 1)["python"][0] for seed in (0, 1) for name in ("first", "second")
        }
        assert len(drawn) == 4

    @pytest.mark.parametrize(
        "arguments",
        [
            (1, "a", None),
            ([1, 2], {"a": (3,)}),
            (np.arange(3.0),),
            (torch.arange(3),),
            (datasets.Dataset.from_dict({"a": [1, 2]}),),
        ],
    )
    def test_arguments_count_by_content(self, tmp_path: Path, arguments: tuple[Any, ...]) -> None:
        for values in (arguments, copy.deepcopy(arguments)):
            assert Trial(0, stages=tmp_path).once("echo", echo, *values) == 1
        assert Trial(0, stages=tmp_path).once("echo", echo, *arguments, "more") == 2

    def test_other_rows_of_a_table_are_other_arguments(self, tmp_path: Path) -> None:
        rows = table()
        counts = [
            Trial(0, stages=tmp_path).once("echo", echo, part)
            for part in (rows.select([0, 1]), rows.select([1, 2]), rows.select([0, 1]))
        ]
        assert counts == [1, 2, 1]

    @pytest.mark.parametrize(
        ("changed", "name"),
        [
            (Trial(1, code="a"), "echo"),
            (Trial(0, code="b"), "echo"),
            (Trial(0, code="a", device=torch.device("meta")), "echo"),
            (Trial(0, code="a"), "other"),
        ],
    )
    def test_seed_code_device_and_name_are_part_of_the_key(
        self, tmp_path: Path, changed: Trial, name: str
    ) -> None:
        Trial(0, code="a", stages=tmp_path).once("echo", echo, 1)
        changed.stages = tmp_path
        assert changed.once(name, echo, 1) == 2

    def test_what_it_cost_is_booked_to_each_arm_that_loads_it(self, tmp_path: Path) -> None:
        trials = [Trial(0, arm, stages=tmp_path) for arm in "abc"]
        for trial in trials:
            trial.once("draw", draw, 3)
            trial.once("draw", draw, 3)  # used twice, paid once
        (stage,) = tmp_path.iterdir()
        seconds = json.loads((stage / "cost.json").read_text())["seconds"]
        assert seconds > 0
        # The first arm's own clock ran while it computed.
        assert [trial.shared_seconds for trial in trials] == [0, seconds, seconds]

    def test_a_stage_without_its_tree_is_computed_again(self, tmp_path: Path) -> None:
        expected = Trial(0, "a", stages=tmp_path).once("draw", draw, 3)
        (stage,) = tmp_path.iterdir()
        (stage / "record.json").unlink()
        again = Trial(0, "b", stages=tmp_path).once("draw", draw, 3)
        assert torch.equal(again["torch"], expected["torch"])
        assert CALLS == [3, 3]
        Trial(0, "c", stages=tmp_path).once("draw", draw, 3)
        assert CALLS == [3, 3]
        assert list(tmp_path.iterdir()) == [stage]

    @pytest.mark.parametrize("file", ["record.json", "tensors.safetensors", "cost.json"])
    @pytest.mark.parametrize("damage", [lambda content: b"", lambda content: content[: len(content) // 2]])
    def test_a_damaged_stage_is_computed_again(
        self, tmp_path: Path, file: str, damage: Callable[[bytes], bytes]
    ) -> None:
        expected = Trial(0, "a", stages=tmp_path).once("draw", draw, 3)["torch"].clone()  # it is mapped
        (stage,) = tmp_path.iterdir()
        (stage / file).write_bytes(damage((stage / file).read_bytes()))
        again = Trial(0, "b", stages=tmp_path).once("draw", draw, 3)
        assert torch.equal(again["torch"], expected)
        assert CALLS == [3, 3]

    def test_a_stage_older_than_a_fresh_check_is_computed_again_once(self, tmp_path: Path) -> None:
        Trial(0, "a", stages=tmp_path).once("draw", draw, 3)
        (stage,) = tmp_path.iterdir()
        os.utime(stage / "record.json", (1, 1))
        for arm in "bc":
            Trial(0, arm, stages=tmp_path, fresh_since=time.time() - 60).once("draw", draw, 3)
        assert CALLS == [3, 3]

    def test_what_a_killed_process_left_of_a_stage_is_cleaned(self, tmp_path: Path) -> None:
        Trial(0, "a", stages=tmp_path).once("draw", draw, 3)
        (stage,) = tmp_path.iterdir()
        remnant = tmp_path / f".{stage.name}.abc123"
        stage.rename(remnant)
        Trial(0, "b", stages=tmp_path).once("draw", draw, 3)
        assert list(tmp_path.iterdir()) == [stage]

    def test_who_computes_a_stage_is_said_to_those_who_wait(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(stages, "PATIENCE", 0.05)
        said: list[str] = []
        keeper = stages.Stages(tmp_path / "stages", report=said.append)
        stage = stages.Stage("draw", 0, draw, (3,))
        with ThreadPoolExecutor(1) as other:
            with keeper._lock("key", "draw"):
                waiting = other.submit(keeper.get, "key", stage)
                while not said and not waiting.done():
                    time.sleep(0.01)
            waiting.result()
        assert said == [f"waiting for 'draw', which process {os.getpid()} on {platform.node()} computes"]

    def test_a_stage_that_fails_leaves_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(TypeError, match="cannot save a Linear"):
            Trial(0, stages=tmp_path).once("module", make_module)
        assert list(tmp_path.iterdir()) == []

    def test_of_two_that_race_one_computes_and_both_get_it(self, tmp_path: Path) -> None:
        results: list[torch.Tensor] = []

        def race(arm: str) -> None:
            results.append(Trial(0, arm, stages=tmp_path).once("slow", take_time, 7))

        racers = [threading.Thread(target=race, args=(arm,)) for arm in "ab"]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        assert CALLS == [7]
        assert len(results) == 2
        assert torch.equal(results[0], results[1])
        assert len(list(tmp_path.iterdir())) == 1

    def test_what_decorates_a_function_is_no_closure(self) -> None:
        assert decorated.__closure__ is not None
        assert Trial(0).once("decorated", decorated, 1) == 2

    @pytest.mark.parametrize(
        "make",
        [
            lambda held: lambda: held,
            lambda held: functools.partial(echo, held),
            lambda held: Holder(held).give,
            lambda held: torch.no_grad()(lambda: held),
            lambda held: torch.nn.Identity(),
        ],
    )
    def test_hidden_state_is_refused(self, make: Callable[[int], Any]) -> None:
        with pytest.raises(TypeError, match=r"once\('stage'\) needs a function at module level"):
            Trial(0).once("stage", make(3))

    def test_arguments_without_content_are_refused(self) -> None:
        with pytest.raises(TypeError, match="cannot identify a Linear by its content"):
            Trial(0).once("echo", echo, torch.nn.Linear(1, 1))


def make_module() -> torch.nn.Module:
    return torch.nn.Linear(1, 1)


class Holder:
    def __init__(self, held: int) -> None:
        self.held = held

    def give(self) -> int:
        return self.held


class TestTune:
    def test_the_best_candidate_wins(self) -> None:
        trial = Trial(0)
        tuned = trial.tune([1, 3, 2], fit=lambda size: size * 10, metric=float)
        assert (tuned.candidate, tuned.fitted, tuned.score) == (3, 30, 30.0)
        assert tuned.scores == (10.0, 30.0, 20.0)
        assert trial.counters == {"candidates": 3}

    def test_lower_may_be_better(self) -> None:
        assert Trial(0).tune([2, 1, 3], fit=float, metric=float, better="lower").candidate == 1

    @pytest.mark.parametrize("better", ["higher", "lower"])
    def test_the_first_wins_a_tie(self, better: str) -> None:
        assert Trial(0).tune("abc", fit=str, metric=lambda _: 1.0, better=better).candidate == "a"

    @pytest.mark.parametrize("better", ["higher", "lower"])
    def test_nan_never_wins(self, better: str) -> None:
        tuned = Trial(0).tune([math.nan, 2.0, math.nan], fit=float, metric=float, better=better)
        assert tuned.candidate == 2.0
        assert len(tuned.scores) == 3

    def test_one_that_diverges_never_wins(self) -> None:
        def fit(rate: float) -> float:
            if rate > 1:
                raise DivergedError("The loss is nan at gradient step 3.")
            return rate

        trial = Trial(0)
        assert trial.tune([3.0, 0.5, 2.0], fit=fit, metric=float).candidate == 0.5
        assert trial.counters == {"candidates": 3}
        with pytest.raises(DivergedError, match=r"none of 2 candidates has a score.*diverged"):
            trial.tune([2.0, 3.0], fit=fit, metric=float)

    def test_without_any_score_there_is_no_winner(self) -> None:
        with pytest.raises(DivergedError, match="none of 2 candidates has a score"):
            Trial(0).tune([math.nan, math.nan], fit=float, metric=float)
        with pytest.raises(ValueError, match="no candidate"):
            Trial(0).tune([], fit=float, metric=float)

    def test_candidates_start_from_one_state_and_leave_the_callers_alone(self) -> None:
        drawn: list[list[Any]] = []

        def fit(count: int) -> int:
            drawn.append([streams() for _ in range(count)])
            return count

        with random_state(1):
            expected = streams()
        with random_state(1):
            Trial(0).tune([1, 3, 2], fit=fit, metric=float)
            assert streams() == expected
        assert drawn[0] == drawn[1][:1] == drawn[2][:1]
        assert drawn[1][:2] == drawn[2]


class TestTimed:
    def test_it_is_the_median_of_calls_after_one_that_is_not_counted(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = iter([0, 1, 10, 19, 20, 22, 30, 38, 40, 43])  # lasts 1, 9, 2, 8 and 3
        monkeypatch.setattr(trial_module, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
        assert Trial(0).timed(lambda: CALLS.append(0), repeats=5) == 3
        assert len(CALLS) == 6


class TestBookkeeping:
    def test_counters_add_up(self) -> None:
        trial = Trial(0)
        trial.count("steps")
        trial.count("steps", 4)
        trial.count("tokens", np.int64(7))  # type: ignore[arg-type]
        assert json.loads(json.dumps(trial.counters)) == {"steps": 5, "tokens": 7}

    def test_the_curve_is_what_was_logged(self) -> None:
        trial = Trial(0)
        trial.log(0, loss=1.0)
        trial.log(np.int64(1), loss=torch.tensor(0.5), accuracy=1)  # type: ignore[arg-type]
        assert json.loads(json.dumps(trial.curve())) == [
            {"step": 0, "loss": 1.0},
            {"step": 1, "loss": 0.5, "accuracy": 1},
        ]
        trial.curve().clear()
        assert len(trial.curve()) == 2

    def test_pictures_are_kept_for_the_report(self) -> None:
        trial = Trial(0)
        trial.show(np.zeros((4, 6, 3), np.uint8), "a black field")
        trial.show(PIL.Image.new("L", (2, 2)), "a black dot")
        (first, second) = trial.pictures
        assert (first["caption"], second["caption"]) == ("a black field", "a black dot")
        assert PIL.Image.open(io.BytesIO(base64.b64decode(first["png"]))).size == (6, 4)

    @pytest.mark.parametrize(
        ("size", "caption", "said"), [(4, " ", "caption"), (400, "noise", "is the most")]
    )
    def test_a_picture_that_is_too_large_or_has_no_caption_is_refused(
        self, size: int, caption: str, said: str
    ) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
        with pytest.raises(ValueError, match=said):
            Trial(0).show(noise, caption)

    def test_progress_goes_to_whoever_reports(self) -> None:
        told: list[str] = []
        Trial(0, report=told.append).progress("half way")
        Trial(0).progress("nobody hears")
        assert told == ["half way"]


def log(*points: tuple[float, float]) -> list[dict[str, float]]:
    return [{"x": x, "y": y} for x, y in points]


class TestAtLevel:
    @pytest.mark.parametrize(
        ("points", "level", "expected"),
        [
            ([(0, 10), (4, 20)], 1, 12.5),
            ([(0, 10), (4, 20), (8, 0)], 6, 10),
            ([(0, 10), (4, 20), (8, 0)], 4, 20),
            ([(0, 10), (1, 20), (0, 30), (2, 40)], 0.5, 15),  # the first time counts
            ([(0, 10), (0, 20), (2, 40)], 1, 30),
            ([(10, 0), (6, 4), (2, 6)], 5, 4.5),
            ([(10, 0), (6, 4), (2, 6)], 2, 6),
            ([(3, 7)], 3, 7),
            ([(3, 7), (5, 9)], 3, 7),
            ([(0, 1), (4, 2)], 5, None),
            ([(10, 1), (6, 2)], 5, None),
            ([], 5, None),
        ],
    )
    def test_it_reads_between_the_points(
        self, points: list[tuple[float, float]], level: float, expected: float | None
    ) -> None:
        assert at_level(log(*points), "y", "x", level) == expected

    def test_points_that_lack_a_value_are_passed_over(self) -> None:
        points = [{"x": 0.0, "y": 0.0}, {"x": 1.0}, {"y": 9.0}, {"x": 2.0, "y": 4.0}]
        assert at_level(points, "y", "x", 1) == 2

    def test_it_reads_a_trials_curve(self) -> None:
        trial = Trial(0)
        for step, loss in enumerate((4.0, 2.0, 1.0)):
            trial.log(step, loss=loss)
        assert at_level(trial.curve(), "step", "loss", 1.5) == 1.5


class Scale:
    """An object that keeps itself, as a method's estimator does."""

    __module__ = "toy_paper.things"

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def save(self, folder: Path) -> None:
        (folder / "scale.json").write_text(json.dumps(self.factor))

    @classmethod
    def load(cls, folder: Path) -> Scale:
        return cls(json.loads((folder / "scale.json").read_text()))


class Figure:
    """A stand-in with the one method of matplotlib's figures that is used."""

    def savefig(self, path: Path, dpi: int) -> None:
        path.write_bytes(b"\x89PNG" + bytes([dpi]))


def saved(folder: Path, **values: Any) -> Trial:
    folder.mkdir()
    trial = Trial(0, out=folder)
    for name, value in values.items():
        trial.save(name, value)
    assert trial.artefacts is not None
    trial.artefacts.finish({"slug": "toy"})
    return trial


class TestSave:
    @pytest.mark.parametrize(
        "value", [{"a": [1, (2, None)]}, [1.5, "ü"], {"weight": torch.ones(2)}, np.arange(3)]
    )
    def test_trees_come_back(self, tmp_path: Path, value: Any) -> None:
        saved(tmp_path / "out", result=value)
        assert repr(load(tmp_path / "out")) == repr(value)

    def test_tables_come_back(self, tmp_path: Path) -> None:
        saved(tmp_path / "out", rows=table())
        loaded = load(tmp_path / "out")
        assert loaded.features == table().features
        assert loaded.to_list() == table().to_list()

    def test_objects_come_back(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        module = types.ModuleType("toy_paper.things")
        module.Scale = Scale  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "toy_paper.things", module)
        saved(tmp_path / "out", scale=Scale(2.5))
        loaded = load(tmp_path / "out")
        assert type(loaded) is Scale
        assert loaded.factor == 2.5

    def test_a_figure_is_a_picture(self, tmp_path: Path) -> None:
        saved(tmp_path / "out", curve=Figure())
        assert load(tmp_path / "out").read_bytes() == b"\x89PNG\x96"

    def test_several_are_loaded_by_name_or_together(self, tmp_path: Path) -> None:
        saved(tmp_path / "out", first=[1], second=[2])
        assert load(tmp_path / "out") == {"first": [1], "second": [2]}
        assert load(tmp_path / "out", "second") == [2]

    def test_the_manifest_names_every_file(self, tmp_path: Path) -> None:
        saved(tmp_path / "out", first=[1], second=torch.ones(1))
        manifest = json.loads((tmp_path / "out" / "assay.json").read_text())
        assert manifest["slug"] == "toy"
        assert manifest["files"] == ["first/record.json", "second/record.json", "second/tensors.safetensors"]

    def test_without_a_folder_nothing_is_kept_or_made(self, tmp_path: Path) -> None:
        made: list[int] = []

        def make() -> list[int]:
            made.append(1)
            return made

        trial = Trial(0)
        trial.save("model", object())
        trial.save("made", make)
        assert trial.artefacts is None
        assert not made
        saved(tmp_path / "out", made=make)
        assert load(tmp_path / "out") == [1]

    def test_a_folder_is_part_of_what_is_kept_or_goes_with_the_trial(self, tmp_path: Path) -> None:
        trial = Trial(0, out=tmp_path)
        (trial.folder("map") / "tile").touch()
        assert (tmp_path / "map" / "tile").exists()
        with pytest.raises(InputError, match="leads outside"):
            trial.folder("../map")
        trial = Trial(0)
        folder = trial.folder("map")
        assert folder.is_dir()
        del trial
        assert not folder.exists()

    def test_names_stay_inside_the_folder(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="leads outside"):
            saved(tmp_path / "out", **{"../escape": [1]})
        assert [path.name for path in tmp_path.iterdir()] == ["out"]

    def test_a_module_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(TypeError, match="cannot save a Linear"):
            saved(tmp_path / "out", model=torch.nn.Linear(1, 1))


def test_hands_of_the_first_round_are_disjoint_and_later_ones_are_not_fresh() -> None:
    hands = [Trial(seed=seed).deal(100, 30) for seed in range(4)]
    rows = [set(hand.tolist()) for hand, _ in hands]
    assert all(len(hand) == 30 for hand in rows)
    assert not rows[0] & rows[1]
    assert not (rows[0] | rows[1]) & rows[2]
    assert [fresh for _, fresh in hands] == [True, True, True, False]
    with pytest.raises(ValueError, match="cannot be taken"):
        Trial(seed=0).deal(10, 11)


@dataclass(frozen=True)
class Learned:
    weights: dict[str, torch.Tensor]
    steps: tuple[int, ...]


def learn(scale: float) -> Learned:
    return Learned({"w": scale * torch.ones(2)}, (1, 2))


def test_a_stage_gives_back_the_dataclass_that_its_function_returned(tmp_path: Path) -> None:
    for trial in (Trial(0), Trial(0, stages=tmp_path), Trial(0, "b", stages=tmp_path)):
        learned = trial.once("learn", learn, 2.0)
        assert isinstance(learned, Learned)
        assert learned.steps == (1, 2)
        assert learned.weights["w"].tolist() == [2.0, 2.0]


def test_compute_is_the_device_and_the_precision_of_the_trial() -> None:
    compute = Trial(0, precision="bf16-mixed").compute
    assert (compute.accelerator, compute.devices, compute.precision) == ("cpu", 1, "bf16-mixed")


def test_a_seedless_stage_is_shared_by_all_seeds(tmp_path: Path) -> None:
    for seed in (0, 1):
        Trial(seed=seed, stages=tmp_path).once("drawn", draw, 3, seedless=True)
    assert len(list(tmp_path.glob("*/record.json"))) == 1
    for seed in (0, 1):
        Trial(seed=seed, stages=tmp_path).once("drawn", draw, 3)
    assert len(list(tmp_path.glob("*/record.json"))) == 3
