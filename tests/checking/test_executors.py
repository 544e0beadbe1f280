"""Executors: every unit is answered once, dead workers lose nothing else, and nothing outlives its parent."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest

from assay.checking.executors import ProcessExecutor, RayExecutor, WorkerDiedError, run_all
from assay.errors import InputError, MissingExtraError

sys.path.insert(0, str(Path(__file__).parent))  # workers get this path too and import the units by name
import executor_units as units

SCRIPT = """
import sys
from assay.checking.executors import ProcessExecutor, run_all
import executor_units as units
{body}
"""

BURNING = """
if __name__ == "__main__":
    with ProcessExecutor(2) as executor:
        print(*(future.result() for _, future in run_all(executor, units.identify, range(4))), flush=True)
        for _ in run_all(executor, units.burn, range(8)):
            pass
"""


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Start a Python script that uses executors and the units of this test."""
    started = []

    def start(body: str) -> subprocess.Popen[str]:
        path = tmp_path / "script.py"
        path.write_text(SCRIPT.format(body=body))
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
        process = subprocess.Popen(
            [sys.executable, str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            preexec_fn=lambda: signal.signal(
                signal.SIGINT, signal.SIG_DFL
            ),  # in the background it is ignored
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def executor() -> Iterator[ProcessExecutor]:
    with ProcessExecutor(2) as opened:
        yield opened


def gone(pids: set[int], within: float) -> bool:
    """Whether all these processes end within so many seconds."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        if not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids):
            return True
        time.sleep(0.02)
    return False


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Let the workers of a local cluster import the units."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    return importlib.import_module("ray")


def results(
    executor: ProcessExecutor | RayExecutor, function: Callable[[int], object], n: int
) -> list[object]:
    return [future.result() for _, future in run_all(executor, function, range(n))]


def test_each_unit_is_answered_once_whatever_the_order(executor: ProcessExecutor) -> None:
    outcomes = [
        (unit, future.result())
        for unit, future in run_all(executor, units.square_slowly_when_small, range(6))
    ]
    assert outcomes[0][0] != 0
    assert sorted(outcomes) == [(n, n * n) for n in range(6)]


def test_rounds_reuse_the_warm_workers(executor: ProcessExecutor) -> None:
    first, second = (set(results(executor, units.identify, 6)) for _ in range(2))
    assert first == second
    assert len(first) == 2


def test_leaving_a_round_early_cancels_its_units_and_keeps_the_executor(executor: ProcessExecutor) -> None:
    submitted = []
    for _, future in run_all(executor, units.identify, range(200)):
        submitted.append(future.result())
        break
    start = time.monotonic()
    assert executor.submit(units.square, 3).result() == 9
    assert time.monotonic() - start < 2


def test_an_error_arrives_with_its_type_and_the_traceback_of_the_worker(executor: ProcessExecutor) -> None:
    error = executor.submit(units.refuse, 7).exception()
    assert isinstance(error, ValueError)
    assert str(error) == "7 is refused"
    text = "".join(traceback.format_exception(error))
    assert "executor_units.py" in text
    assert 'raise ValueError(f"{number} is refused")' in text


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        (units.refuse_strangely, "Unpicklable: odd: error"),
        (units.leave, "SystemExit: 3"),
        (units.give_a_function, "lambda"),
    ],
)
def test_what_cannot_be_sent_is_an_error_of_its_unit_alone(
    executor: ProcessExecutor, unit: Callable[[int], object], expected: str
) -> None:
    assert expected in str(executor.submit(unit, 0).exception())
    assert executor.submit(units.square, 3).result() == 9


def test_a_function_without_a_name_is_refused(executor: ProcessExecutor) -> None:
    assert "lambda" in str(executor.submit(lambda: 0).exception())


@pytest.mark.parametrize("count", [1, 2])
def test_threads_are_pinned_before_torch_is_loaded(count: int) -> None:
    with ProcessExecutor(1, threads=count) as executor:
        assert executor.submit(units.threads, 0).result() == (str(count), count, count)


def test_pinning_leaves_the_environment_of_the_parent_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("BLIS_NUM_THREADS", raising=False)
    with ProcessExecutor(1) as executor:
        assert executor.submit(os.getenv, "OMP_NUM_THREADS").result() == "1"
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "BLIS_NUM_THREADS" not in os.environ


def test_a_dead_worker_takes_only_its_unit_along() -> None:
    numbers = [1, 2, -1, 3, 4, 5, -2, 6]
    with ProcessExecutor(2) as executor:
        outcomes = dict(run_all(executor, units.die_if_negative, numbers))
    assert {n: f.result() for n, f in outcomes.items() if n > 0} == {n: n for n in numbers if n > 0}
    for number in (-1, -2):
        with pytest.raises(
            WorkerDiedError, match=rf"die_if_negative\({number}\) died 2 times \(killed by SIGKILL\)"
        ):
            outcomes[number].result()


def test_a_unit_whose_worker_died_once_is_repeated(tmp_path: Path) -> None:
    with ProcessExecutor(1) as executor:
        assert executor.submit(units.die_once, str(tmp_path)).result() == 2


def test_the_initializer_runs_in_each_worker() -> None:
    with ProcessExecutor(2, initializer=units.set_marker) as executor:
        assert results(executor, units.get_marker, 6) == ["set"] * 6


def test_an_initializer_that_fails_fails_the_units() -> None:
    with ProcessExecutor(1, initializer=units.fail_at_start) as executor:
        for _ in range(2):
            with pytest.raises(OSError, match="no licence"):
                executor.submit(units.square, 2).result()


def test_workers_may_start_ahead_of_the_first_unit() -> None:
    with ProcessExecutor(2, initializer=units.set_marker, ahead=True) as executor:
        assert results(executor, units.get_marker, 6) == ["set"] * 6


def test_workers_that_started_ahead_for_nothing_are_not_waited_for() -> None:
    start = time.monotonic()
    with ProcessExecutor(2, initializer=units.doze, ahead=True):
        pass
    assert time.monotonic() - start < units.DOZE / 2


def test_two_executors_at_once() -> None:
    with ProcessExecutor(1) as first, ProcessExecutor(1) as second:
        a, b = first.submit(units.identify, 0), second.submit(units.identify, 0)
        assert a.result() != b.result()


def test_sizes_are_checked() -> None:
    with pytest.raises(InputError, match="at least 1, not 0 and 1"):
        ProcessExecutor(0)


def test_closing_ends_the_workers() -> None:
    with ProcessExecutor(2) as executor:
        pids = set(results(executor, units.identify, 4))
    assert gone(pids, within=0.1)  # type: ignore[arg-type]


def test_an_error_in_the_block_kills_busy_workers_at_once() -> None:
    start = time.monotonic()
    with pytest.raises(KeyError), ProcessExecutor(1) as executor:  # noqa: PT012
        pid = executor.submit(os.getpid).result()
        running, queued = executor.submit(units.burn, 0), executor.submit(units.burn, 0)
        time.sleep(0.2)
        raise KeyError
    assert time.monotonic() - start < 2
    assert gone({pid}, within=0.1)
    assert queued.cancelled()
    assert running.exception() is not None


def test_what_a_unit_prints_stays_out_of_standard_output(
    script: Callable[[str], subprocess.Popen[str]],
) -> None:
    body = 'if __name__ == "__main__":\n    with ProcessExecutor(1) as executor:\n'
    out, error = script(body + "        executor.submit(units.talk, 0).result()").communicate(timeout=30)
    assert (out, error) == ("", "said by the unit\n")


def test_a_script_that_forgets_to_close_ends(script: Callable[[str], subprocess.Popen[str]]) -> None:
    body = 'if __name__ == "__main__":\n    executor = ProcessExecutor(1)\n'
    process = script(body + "    print(executor.submit(units.square, 4).result())")
    assert process.communicate(timeout=30) == ("16\n", "")


def test_ctrl_c_ends_within_two_seconds_while_workers_are_in_c_code(
    script: Callable[[str], subprocess.Popen[str]],
) -> None:
    process = script(BURNING)
    assert process.stdout is not None
    pids = set(map(int, process.stdout.readline().split()))
    time.sleep(0.3)
    start = time.monotonic()
    for pid in (process.pid, *pids):  # a terminal sends it to the whole group
        os.kill(pid, signal.SIGINT)
    _, error = process.communicate(timeout=10)
    assert time.monotonic() - start < 8
    assert process.returncode != 0
    assert error.count("KeyboardInterrupt") == 1
    assert gone(pids, within=0.1)


def test_what_a_unit_starts_can_be_interrupted(executor: ProcessExecutor) -> None:
    assert executor.submit(units.interrupts_of_a_child, 0).result() == "True set()"


def test_no_worker_survives_a_killed_parent(script: Callable[[str], subprocess.Popen[str]]) -> None:
    process = script(BURNING)
    assert process.stdout is not None
    pids = set(map(int, process.stdout.readline().split()))
    assert len(pids) == 2
    time.sleep(0.3)
    assert not gone(pids, within=0.05)
    process.kill()
    assert gone(pids, within=1)


def test_the_module_is_light() -> None:
    code = "import sys, assay.checking.executors; print({'torch', 'numpy', 'ray'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


@pytest.mark.ray
def test_ray_gives_the_same_answers(ray: ModuleType, tmp_path: Path) -> None:
    with RayExecutor(workers=2) as executor:
        outcomes = sorted((n, f.result()) for n, f in run_all(executor, units.square, range(5)))
        assert outcomes == [(n, n * n) for n in range(5)]
        error = executor.submit(units.refuse, 7).exception()
        assert isinstance(error, ValueError)
        assert "executor_units.py" in "".join(traceback.format_exception(error))
        assert executor.submit(units.die_once, str(tmp_path)).result() == 2
        assert executor.submit(os.getenv, "OMP_NUM_THREADS").result() == "1"
        with RayExecutor() as guest:
            assert guest.submit(units.square, 2).result() == 4
        assert ray.is_initialized()
    assert not ray.is_initialized()


@pytest.mark.ray
@pytest.mark.usefixtures("ray")
def test_ray_stops_at_once() -> None:
    with pytest.raises(KeyError), RayExecutor(workers=1) as executor:  # noqa: PT012
        pid = executor.submit(os.getpid).result()
        running = executor.submit(units.burn, 0)
        time.sleep(0.2)
        start = time.monotonic()
        raise KeyError
    assert time.monotonic() - start < 4
    assert running.cancelled()
    assert gone({pid}, within=1)


@pytest.mark.ray
@pytest.mark.usefixtures("ray")
def test_ray_names_a_cluster_that_does_not_answer() -> None:
    with pytest.raises(InputError, match="No Ray cluster answers at 'auto'"):
        RayExecutor("auto")


@pytest.mark.parametrize("share", [{"gpus": -1.0}, {"resources": {"disk": 0.0}}, {"threads": 0}])
def test_a_share_of_nothing_is_refused(share: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"cannot take|at least 1"):
        RayExecutor(**share)


def test_a_missing_ray_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"assay\[ray\]"):
        RayExecutor()
