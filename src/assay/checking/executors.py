"""How units of work run in parallel: in processes on this machine, or with Ray on a cluster.

Both executors are `concurrent.futures.Executor`s, so any other one can stand in for them.
A unit is a function that the worker can import by name; its arguments and its result are small plain data.
What a unit raises arrives as it was raised, with the worker's traceback as a note.

This module loads neither torch nor Ray: the process that plans the units stays light.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import (
    CancelledError,
    Executor,
    Future,
    ThreadPoolExecutor,
    as_completed,
    wait as wait_for,
)
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from assay.errors import AssayError, InputError, MissingExtraError

P = ParamSpec("P")
R = TypeVar("R")
U = TypeVar("U")

ATTEMPTS = 2
"""How often a unit is started whose worker process dies."""

_SPAWN = get_context("spawn")
_START = threading.Lock()  # a worker inherits the environment, of which a process has only one


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster, and what each trial takes of it."""

    address: str | None = None
    """Of a running cluster; without it, one is started here."""
    cores: int = 1
    """Cores and threads of each trial."""
    gpus: float = 0.0
    """GPUs of each trial; a fraction shares one."""
    resources: Mapping[str, float] = field(default_factory=dict)
    """Custom resources of the cluster, such as `{"big_memory": 1}`."""


class WorkerDiedError(AssayError):
    """The process that ran a unit was killed each time, as the system does when memory runs out."""


def run_all(
    executor: Executor, function: Callable[[U], R], units: Iterable[U]
) -> Iterator[tuple[U, Future[R]]]:
    """Run `function(unit)` for all units and yield each unit with its finished future, as they complete.

    `future.result()` gives the result or raises what the unit raised.
    Leaving the loop early cancels the units that have not started; the executor stays open for the next call.
    """
    futures = {executor.submit(function, unit): unit for unit in units}
    try:
        for future in as_completed(futures):
            yield futures[future], future
    finally:
        for future in futures:
            future.cancel()


class ProcessExecutor(Executor):
    """Runs units in warm processes on this machine.

    - Each process computes with `threads` threads, fixed before numpy or torch is loaded in it, so that the
      number of workers does not change results.
    - A process that dies takes only its own unit along. That unit is tried once more in a fresh process; when
      this one dies too, the unit's future holds a `WorkerDiedError`.
    - Leaving the `with` block by an exception, Ctrl-C included, kills the processes, whatever they compute.
    - When this process is killed, its workers end too.
    - What a unit prints goes to standard error.

    A script that uses it starts its work under `if __name__ == "__main__":`, as with all spawned processes.

    Args:
        workers: how many processes, at least 1. They start when they are first needed.
        threads: how many threads each process computes with.
        initializer: called once in each process before its first unit; what it raises, that unit raises.
        ahead: start the processes now and initialise them, while the caller still plans the units.
    """

    def __init__(
        self,
        workers: int,
        threads: int = 1,
        initializer: Callable[[], object] | None = None,
        ahead: bool = False,
    ) -> None:
        _check_sizes(workers, threads)
        self._threads = threads
        self._initializer = initializer
        self._stopped = False
        self._processes: list[SpawnProcess] = []
        self._drivers = ThreadPoolExecutor(workers, thread_name_prefix="assay-worker")
        self._mine = threading.local()  # its worker: closed when the thread ends, which lets the process end
        self._used = not ahead
        for _ in range(workers if ahead else 0):
            self._drivers.submit(self._worker)

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Queue `fn(*args, **kwargs)` and return its future."""
        self._used = True
        return self._drivers.submit(self._run, fn, args, kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the queued units finish, with `cancel_futures` only the running ones, and end the processes."""
        if not self._used:  # nobody waits for what the processes that started ahead load
            self.cancel_now()
            return
        try:
            self._drivers.shutdown(wait=wait, cancel_futures=cancel_futures)
        except BaseException:
            self.cancel_now()
            raise
        if wait:
            for process in self._processes:
                _end(process)

    def cancel_now(self) -> None:
        """Kill all workers and cancel all units."""
        with _START:
            self._stopped = True
            for process in self._processes:
                process.kill()
        self._drivers.shutdown(wait=True, cancel_futures=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.shutdown()
        else:
            self.cancel_now()

    def _run(self, function: Callable[..., R], args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
        """Run one unit. This is called in a thread that drives one worker, which it keeps between units."""
        message = pickle.dumps((function, args, kwargs))
        for _ in range(ATTEMPTS):
            try:
                return _unpack(self._worker().call(message))  # type: ignore[no-any-return]
            except _LostError as lost:
                self._mine.__dict__.pop("worker", None)
                cause = lost
        name = getattr(function, "__qualname__", repr(function))
        raise WorkerDiedError(
            f"The process that ran {name}{_short(args)} died {ATTEMPTS} times ({cause}). "
            "If memory ran out, use fewer workers."
        )

    def _worker(self) -> _Worker:
        """Return the worker of this thread."""
        if not hasattr(self._mine, "worker"):
            self._mine.worker = self._start_worker()
        return self._mine.worker  # type: ignore[no-any-return]

    def _start_worker(self) -> _Worker:
        with _START:
            if self._stopped:
                raise CancelledError
            worker = _Worker(self._threads)
            self._processes.append(worker.process)
        if self._initializer is not None:
            try:
                _unpack(worker.call(pickle.dumps((self._initializer, (), {}))))
            except BaseException:
                worker.close()
                raise
        return worker


class RayExecutor(Executor):
    """Runs units on a Ray cluster, with the same interface and the same errors as `ProcessExecutor`.

    Every machine of the cluster needs the environment of this one: the same Python, assay and its extras.
    A unit whose worker or machine is lost is repeated as often as Ray does by default, three times, and then
    its future holds a `WorkerDiedError`. A cluster that was running before goes on afterwards.

    Args:
        address: of a running cluster, such as `auto` or `ray://host:10001`; without it, one is started here.
        workers: how many units run at once on a local cluster; by default, as many as there are cores.
        threads: how many threads and cores a unit gets.
        gpus: how many GPUs a unit gets; a fraction shares one.
        resources: custom resources of the cluster that a unit needs, such as `{"big_memory": 1}`.

    Raises:
        MissingExtraError: Ray is not installed.
        InputError: there is no cluster at `address`.
    """

    def __init__(
        self,
        address: str | None = None,
        workers: int | None = None,
        threads: int = 1,
        gpus: float = 0.0,
        resources: Mapping[str, float] | None = None,
    ) -> None:
        _check_sizes(1 if workers is None else workers, threads)
        unfit = {name: amount for name, amount in (resources or {}).items() if not (name and amount > 0)}
        if gpus < 0 or unfit:
            raise InputError(f"A trial cannot take {gpus:g} GPUs and {unfit or 'no more'} of a cluster.")
        workers = workers or max(1, (os.cpu_count() or 1) // threads)
        try:
            import ray
        except ImportError as error:
            raise MissingExtraError("ray", "ray") from error
        self._ray = ray
        self._pending: dict[Future[Any], Any] = {}
        self._started = not ray.is_initialized()
        if self._started:
            _connect(ray, address, workers * threads)
        self._remote = ray.remote(_answer).options(
            num_cpus=threads,
            num_gpus=gpus,
            resources=dict(resources or {}),
            runtime_env={"env_vars": _pins(threads)},
        )

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Queue `fn(*args, **kwargs)` and return its future. Cancelling it also interrupts a running unit."""
        future: Future[R] = Future()
        reference = self._remote.remote(pickle.dumps((fn, args, kwargs)))
        self._pending[future] = reference
        future.add_done_callback(self._forget)
        reference.future().add_done_callback(lambda answer: self._settle(future, answer))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the units finish, or with `cancel_futures` interrupt them, and leave the cluster."""
        if cancel_futures:
            for future in list(self._pending):
                future.cancel()
        if wait:
            wait_for(list(self._pending))
        self._leave()

    def cancel_now(self) -> None:
        """Kill the running units, cancel all others and leave the cluster."""
        for future, reference in list(self._pending.items()):
            self._ray.cancel(reference, force=True)
            future.cancel()
        self._leave()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.shutdown()
        else:
            self.cancel_now()

    def _settle(self, future: Future[Any], answer: Future[bytes]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(_unpack(answer.result()))
        except self._ray.exceptions.RayError as error:
            future.set_exception(WorkerDiedError(f"Ray lost the unit: {error}"))
        except Exception as error:
            future.set_exception(error)

    def _forget(self, future: Future[Any]) -> None:
        reference = self._pending.pop(future)
        if future.cancelled():
            self._ray.cancel(reference)

    def _leave(self) -> None:
        if self._started:
            self._ray.shutdown()
            self._started = False


class _LostError(Exception):
    """A worker process is gone. Says how it ended."""


class _Worker:
    """A process that waits for one unit at a time."""

    def __init__(self, threads: int) -> None:
        self._connection, theirs = _SPAWN.Pipe()
        # Not a daemon: a unit may start processes of its own, as data loaders do.
        self.process = _SPAWN.Process(target=_serve, args=(theirs,), daemon=False)
        with theirs, _environment(_pins(threads)), _interrupts_blocked():
            self.process.start()

    def call(self, message: bytes) -> bytes:
        """Send a unit, wait, and return the answer. Raises `_LostError` when the process dies."""
        try:
            self._connection.send_bytes(message)
            return self._connection.recv_bytes()
        except (EOFError, OSError):
            raise _LostError(_end(self.process)) from None

    def close(self) -> None:
        """Let the process end when it has nothing to do."""
        self._connection.close()


def _serve(connection: Connection) -> None:
    """Answer units until the other end is closed. This is what a worker process does."""
    _end_with_parent()
    _ignore_interrupts()
    sys.stdout.flush()
    os.dup2(2, 1)  # standard output is for the results that the parent prints
    while True:
        try:
            message = connection.recv_bytes()
        except EOFError:
            return
        connection.send_bytes(_answer(message))


def _answer(message: bytes) -> bytes:
    """Run a pickled unit and pickle its result, or the error that it raised with the traceback as a note."""
    try:
        function, args, kwargs = pickle.loads(message)
        return pickle.dumps((function(*args, **kwargs), None))
    except BaseException as error:
        sendable = _sendable(error)
        sendable.add_note(f"Traceback in the worker:\n{traceback.format_exc().rstrip()}")
        return pickle.dumps((None, sendable))


def _sendable(error: BaseException) -> Exception:
    """Return the error itself if it survives pickling, otherwise a RuntimeError that names it."""
    try:
        if isinstance(error, Exception) and type(pickle.loads(pickle.dumps(error))) is type(error):
            return error
    except Exception:
        pass
    return RuntimeError(f"{type(error).__name__}: {error}")


def _unpack(answer: bytes) -> Any:
    result, error = pickle.loads(answer)
    if error is not None:
        raise error
    return result


def _end(process: SpawnProcess) -> str:
    """Wait for a process that is about to end, kill it if it does not, and say how it ended."""
    process.join(timeout=5)
    if process.is_alive():
        process.kill()
        process.join()
    code = process.exitcode
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit status {code}"


def _end_with_parent() -> None:
    """Let this process end when its parent does, however that ends and whatever this process computes."""
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="parent-watch").start()
    if sys.platform == "linux":
        # The thread cannot run while C code keeps the interpreter lock. But when the parent's end of this
        # pipe closes, the kernel sends SIGIO, which ends the process. Nothing else comes through the pipe.
        import fcntl

        pipe = parent.sentinel
        fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)


def _ignore_interrupts() -> None:
    """Leave Ctrl-C, which reaches all processes of a terminal, to the parent.

    A handler that does nothing is not handed on to the processes that a unit starts, unlike
    an ignored signal.
    """
    signal.signal(signal.SIGINT, lambda number, frame: None)
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _pins(threads: int) -> dict[str, str]:
    """Return the environment that fixes the threads of OpenMP, the BLAS libraries and Rust's thread pools."""
    libraries = ("OMP", "MKL", "OPENBLAS", "BLIS", "NUMEXPR", "RAYON")
    pins = {f"{library}_NUM_THREADS": str(threads) for library in libraries}
    return pins | {"VECLIB_MAXIMUM_THREADS": str(threads)}


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for what is started inside the block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Start a process in the block that no Ctrl-C reaches, not even while it loads."""
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # starting it inside would lift the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _connect(ray: Any, address: str | None, cores: int) -> None:
    """Connect to the cluster at `address`, or start one here."""
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    with _START, _environment({"RAY_USAGE_STATS_ENABLED": "0"}):
        if address is None:
            # Units are small, so the store for large objects is: the default takes a third of the memory.
            ray.init(address="local", num_cpus=cores, object_store_memory=256 * 2**20, **quiet)
            return
        try:
            ray.init(address=address, **quiet)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise InputError(
                f"No Ray cluster answers at {address!r} ({error}). Start one with `ray start --head`."
            ) from error


def _check_sizes(workers: int, threads: int) -> None:
    if workers < 1 or threads < 1:
        raise InputError(f"workers and threads must be at least 1, not {workers} and {threads}.")


def _short(args: tuple[Any, ...], limit: int = 200) -> str:
    text = f"({', '.join(map(repr, args))})"
    return text if len(text) <= limit else f"{text[:limit]}...)"
