"""The checker on a toy paper whose truth is known: resume, order, workers, faults, kills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from assay import catalogue, checking
from assay.checking import Cluster, check, plan, run
from assay.checking.executors import run_all
from assay.checking.store import Unit
from assay.errors import InputError, StorageError
from assay.paper import Arm


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def here() -> Iterator[Executor]:
    """An executor in this process, for tests that are not about workers."""
    with ThreadPoolExecutor(1) as executor:
        yield executor


def metrics(checked: checking.Checked) -> dict:
    return {name: arm.values for name, arm in checked.arms.items()}


def lines(trace: Path) -> list[str]:
    return sorted(trace.read_text().splitlines())


def test_a_check_gives_verdicts_and_keeps_every_trial(store: Path, tmp_path: Path, here: Executor) -> None:
    trace = tmp_path / "trace"
    checked = check("toy", store=store, workers=2, overrides={"trace": str(trace)})
    by_name = {claim.name: claim for claim in checked.claims}
    assert by_name["higher"].verdict == "supported"
    assert by_name["same"].verdict == "supported"
    assert checked.exit_status == 0
    assert checked.provenance.seeds == {"draw": [0, 1, 2, 3, 4, 5]}
    assert checked.provenance.tests_made == 3
    assert lines(trace) == sorted(f"{seed} {arm}" for seed in range(6) for arm in ("low", "high", "none"))
    json.dumps(checked.to_json(), allow_nan=False)

    again = check("toy", store=store, executor=here, overrides={"trace": str(trace)})
    assert metrics(again) == metrics(checked)
    assert len(lines(trace)) == 18, "a finished trial was run again"


def test_units_whose_time_counts_run_one_by_one(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan.Plan, "is_timed", lambda self, group: True)
    trace = tmp_path / "trace"
    check("toy", store=store, workers=2, seeds=4, overrides={"trace": str(trace), "seconds": 0.1})
    seeds = [line.split()[0] for line in trace.read_text().splitlines()]
    assert sorted(map("".join, zip(*[iter(seeds)] * 3, strict=True))) == ["000", "111", "222", "333"]


def test_the_last_seed_is_shared_by_arms_and_nothing_changes(
    here: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = catalogue.entry("toy")
    alone = replace(entry.paper.recipes["draw"], across=False)  # else the arms of a seed stay together
    paper = replace(entry.paper, recipes={"draw": alone}, claims=entry.paper.claims[:1])
    monkeypatch.setattr(catalogue, "entry", lambda slug: replace(entry, paper=paper))
    sizes = []

    def seen(executor: Executor, function: Any, units: list[Unit]) -> Any:
        sizes.append([len(unit.configs) for unit in units])
        return run_all(executor, function, units)

    monkeypatch.setattr(run, "run_all", seen)
    one = check("toy", store=tmp_path / "one", executor=here, seeds=3)
    two = check("toy", store=tmp_path / "two", workers=2, seeds=3)
    assert sizes == [[3, 3, 3], [3, 3, 1, 1, 1]]
    assert not two.errors
    assert metrics(two) == metrics(one)
    assert two.provenance.seeds == one.provenance.seeds
    assert two.claims == one.claims


def test_more_seeds_run_only_what_is_missing(here: Executor, store: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    overrides = {"trace": str(trace)}
    check("toy", store=store, executor=here, seeds=3, overrides=overrides)
    check("toy", store=store, executor=here, seeds=4, overrides=overrides)
    assert len(lines(trace)) == 12
    check("toy", store=store, executor=here, seeds=4, overrides=overrides, fresh=True)
    assert len(lines(trace)) == 24


def test_workers_do_not_change_results(here: Executor, tmp_path: Path) -> None:
    one = check("toy", store=tmp_path / "one", executor=here)
    two = check("toy", store=tmp_path / "two", workers=2)
    assert metrics(one) == metrics(two)


@pytest.mark.parametrize("fault", ["crash", "diverge"])
def test_a_failing_arm_is_kept_with_its_error_and_loses_no_other(
    here: Executor, store: Path, fault: str
) -> None:
    checked = check("toy", store=store, executor=here, overrides={"fault": fault})
    assert checked.exit_status == 3
    assert any("this arm fails" in error for error in checked.errors)
    by_name = {claim.name: claim for claim in checked.claims}
    assert by_name["higher"].verdict == "inconclusive"
    assert "this arm fails" in by_name["higher"].reason
    assert len(checked.arms["low"].values["score"]) == 6
    assert checked.arms["high"].failed == 6


@pytest.mark.parametrize(
    ("fault", "said"), [("nan", "is not finite"), ("undeclared", "not among the declared")]
)
def test_a_metric_that_is_no_number_is_an_error(here: Executor, store: Path, fault: str, said: str) -> None:
    checked = check("toy", store=store, executor=here, seeds=3, overrides={"fault": fault})
    assert checked.exit_status == 3
    assert any(said in error for error in checked.errors)


def test_bad_input_found_by_a_recipe_stops_the_check_with_its_sentence(here: Executor, store: Path) -> None:
    with pytest.raises(InputError, match="given 1, expected 2"):
        check("toy", store=store, executor=here, overrides={"fault": "refuse"})


def test_a_package_that_is_missing_stops_the_check_with_the_command_that_installs_it(
    here: Executor, store: Path
) -> None:
    with pytest.raises(InputError, match=r"rasterio is not installed.*pip install 'assay\[theory\]'"):
        check("toy", store=store, executor=here, overrides={"fault": "missing"})


def test_a_trial_in_another_precision_is_another_trial(here: Executor, store: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    for precision in ("32-true", "bf16-mixed", "bf16-mixed"):
        options = {"executor": here, "seeds": 3, "overrides": {"trace": str(trace)}}
        checked = check("toy", store=store, precision=precision, **options)
        assert checked.provenance.precision == precision
    assert len(lines(trace)) == 2 * 9
    kept = [json.loads(path.read_text()) for path in store.glob("trials/toy/*.json")]
    found = [record["provenance"]["precision"] for record in kept if record["arm"] != "all"]
    assert sorted(found) == ["32-true"] * 9 + ["bf16-mixed"] * 9


def test_unequal_counters_are_an_error_and_no_verdict(here: Executor, store: Path) -> None:
    with pytest.raises(InputError, match="needs equal draws"):
        check("toy", store=store, executor=here, seeds=3, overrides={"fault": "unequal"})


def test_a_worker_that_dies_loses_only_its_own_seed(store: Path) -> None:
    checked = check("toy", preset="tiny", store=store, workers=1, seeds=2, overrides={"fault": "die"})
    assert checked.exit_status == 3
    assert any("died" in error for error in checked.errors)


def test_until_decided_stops_at_the_first_look_when_all_is_clear(here: Executor, store: Path) -> None:
    checked = check("toy", store=store, executor=here, until_decided=True, overrides={"inner.scale": 0.1})
    assert checked.provenance.seeds["draw"] == list(range(plan.FIRST_LOOK))
    assert checked.claims[0].verdict == "supported"


def test_until_decided_goes_on_to_its_limit_and_no_further(here: Executor, store: Path) -> None:
    checked = check(
        "toy", store=store, executor=here, until_decided=True, max_seeds=9, overrides={"inner.scale": 200.0}
    )
    assert checked.provenance.seeds["draw"] == list(range(9))
    assert checked.claims[0].verdict == "inconclusive"


def test_recipes_that_do_not_take_the_users_data_are_left_out(
    here: Executor, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = catalogue.entry("toy")
    paper, recipe = entry.paper, entry.paper.recipes["draw"]
    own = replace(recipe, inputs=("rows",))
    claims = [replace(claim, name=f"other {claim.name}", recipe="other") for claim in paper.tested]
    both = replace(paper, recipes={"draw": own, "other": recipe}, claims=(*paper.claims, *claims))
    monkeypatch.setattr(catalogue, "entry", lambda slug: replace(entry, paper=both))
    checked = check("toy", store=store, executor=here, overrides={"rows": 30})
    assert list(checked.provenance.seeds) == ["draw"]
    assert checked.provenance.left_out == ["other"]
    assert {claim.name for claim in checked.claims} == {"higher", "same"}
    assert checked.name == "toy--laptop--30"


def test_tiny_never_gives_a_verdict(here: Executor, store: Path) -> None:
    checked = check("toy", store=store, executor=here, preset="tiny")
    assert {claim.verdict for claim in checked.claims} == {"inconclusive"}
    assert checked.exit_status == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"preset": "lap"}, "Did you mean 'laptop'"),
        ({"overrides": {"mean": 3.0}}, "is set by the arms"),
        ({"overrides": {"rosw": 3}}, "Did you mean 'rows'"),
        ({"overrides": {"rows": "many"}}, "rows"),
        ({"seeds": 2}, "at least 3"),
        ({"seeds": 0, "preset": "tiny"}, "at least 1"),
        ({"precision": "half"}, "no precision 'half'. Known: 16-mixed"),
        ({"seeds": 6, "until_decided": True}, "exclude each other"),
        ({"until_decided": True, "max_seeds": 4}, "first look"),
    ],
)
def test_what_cannot_give_a_verdict_is_refused(store: Path, changes: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        check("toy", store=store, **changes)


def test_two_arms_with_one_config_are_an_error(store: Path) -> None:
    entry = catalogue.entry("toy")
    recipe = entry.paper.recipes["draw"]
    twin = Arm("twin", role="baseline", settings={"mean": 0.0})
    object.__setattr__(recipe, "arms", (*recipe.arms, twin))
    try:
        with pytest.raises(InputError, match=r"'low' and 'twin'.*same settings"):
            check("toy", store=store)
    finally:
        object.__setattr__(recipe, "arms", recipe.arms[:-1])


def test_a_truncated_trial_is_run_again(here: Executor, store: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    overrides = {"trace": str(trace)}
    first = check("toy", store=store, executor=here, seeds=3, overrides=overrides)
    victim = sorted((store / "trials" / "toy").glob("*.json"))[0]
    victim.write_text(victim.read_text()[:40])
    again = check("toy", store=store, executor=here, seeds=3, overrides=overrides)
    assert metrics(again) == metrics(first)
    assert len(lines(trace)) in (9, 10), "only the damaged trial may run again"


def test_a_read_only_store_gives_one_line(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(StorageError, match="Cannot write"):
        check("toy", store=blocked / "store")


def heed_interrupts() -> None:
    """Undo what a shell does to a command in the background, which then ignores Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(store: Path, *options: str, workers: int = 2) -> subprocess.Popen[str]:
    words = ["check", "toy", "--store", str(store), "--workers", str(workers), *options]
    return subprocess.Popen(
        [sys.executable, "-m", "assay", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=heed_interrupts,
    )


def wait_for_trials(store: Path, count: int) -> None:
    deadline = time.monotonic() + 60
    while len(list(store.glob("trials/toy/*.json"))) < count:
        assert time.monotonic() < deadline, "no trial was finished"
        time.sleep(0.05)


def test_a_check_that_was_killed_goes_on_where_it_was(store: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    options = ["--trace", str(trace), "--seconds", "0.3"]
    process = start(store, *options)
    wait_for_trials(store, 4)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    time.sleep(1.5)  # workers notice that their parent is gone
    finished = {path.name: path.read_bytes() for path in store.glob("trials/toy/*.json")}
    begun = len(lines(trace))
    result = start(store, *options)
    result.communicate(timeout=120)
    assert result.returncode == 0
    assert begun < 18
    arms = [json.loads(text)["arm"] for text in finished.values()]
    assert len(lines(trace)) - begun <= 18 - len([arm for arm in arms if arm != "all"])
    assert all((store / "trials/toy" / name).read_bytes() == old for name, old in finished.items())


def test_ctrl_c_stops_at_once_and_says_how_to_go_on(store: Path) -> None:
    process = start(store, "--seconds", "30")
    deadline = time.monotonic() + 60
    while not list(store.glob("running/*")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    begin = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert time.monotonic() - begin < 15  # the trials would take half a minute
    assert process.returncode == 130
    assert "run the same command again" in " ".join(errors.split())


def test_two_checks_at_once_on_one_store_both_finish(store: Path) -> None:
    first, second = (start(store, "--json", workers=1) for _ in range(2))
    results = [json.loads(process.communicate(timeout=180)[0]) for process in (first, second)]
    assert first.returncode == second.returncode == 0
    assert results[0]["arms"]["high"]["values"] == results[1]["arms"]["high"]["values"]


@pytest.mark.ray
def test_a_ray_cluster_gives_the_same_results(tmp_path: Path, here: Executor) -> None:
    local = check("toy", store=tmp_path / "local", executor=here, seeds=3)
    ray = check("toy", store=tmp_path / "ray", ray=Cluster(), seeds=3)
    assert metrics(ray) == metrics(local)
