"""Units of work for `test_executors.py`: worker processes import them by name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path


class Unpicklable(Exception):  # noqa: N818
    """Survives `dumps` but not `loads`, as errors with a signature of their own do."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")


def square(number: int) -> int:
    return number * number


def square_slowly_when_small(number: int) -> int:
    time.sleep(0.3 if number == 0 else 0.0)
    return number * number


def identify(_: int) -> int:
    time.sleep(0.05)
    return os.getpid()


def refuse(number: int) -> None:
    raise ValueError(f"{number} is refused")


def refuse_strangely(_: int) -> None:
    raise Unpicklable("odd", "error")


def leave(_: int) -> None:
    raise SystemExit(3)


def give_a_function(_: int) -> object:
    return lambda: None


def die(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_if_negative(number: int) -> int:
    time.sleep(0.05)
    return die(number) or number if number < 0 else number


def die_once(folder: str) -> int:
    """Die on the first call with this folder and count the calls in it."""
    calls = len(list(Path(folder).iterdir()))
    (Path(folder) / str(calls)).touch()
    if calls == 0:
        die(0)
    return calls + 1


def threads(_: int) -> tuple[str, int, int]:
    import torch
    from threadpoolctl import threadpool_info

    pools = max(pool["num_threads"] for pool in threadpool_info())
    return os.environ["OMP_NUM_THREADS"], torch.get_num_threads(), pools


DOZE = 20.0
"""Seconds."""


def doze() -> None:
    """Take long to start."""
    time.sleep(DOZE)


def set_marker() -> None:
    os.environ["ASSAY_TEST_MARKER"] = "set"


def get_marker(_: int) -> str:
    return os.environ["ASSAY_TEST_MARKER"]


def fail_at_start() -> None:
    raise OSError("no licence")


def talk(_: int) -> None:
    print("said by the unit", flush=True)


def interrupts_of_a_child(_: int) -> str:
    code = "import signal as s; print(s.getsignal(2) == s.default_int_handler, s.pthread_sigmask(0, []))"
    return subprocess.check_output([sys.executable, "-c", code], text=True).strip()


def burn(_: int) -> int:
    """Stay in C code that keeps the interpreter lock, for hours."""
    return sum(range(10**12))
