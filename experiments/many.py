"""Runs of a sweep: each says how it ended, none hides another's failure, and all end when their sweep does.

A launcher of Hydra's starts them in this process, or in others of this machine, or on a cluster. Those of this machine
keep a connection to the command that was started: by it they report, and when it breaks they stop, as by Ctrl-C. So no
run outlives its sweep, even where the launcher's processes would (submitit's), or where the command was killed.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import secrets
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from omegaconf import DictConfig

from experiments.engine import Interrupted
from experiments.errors import UserError
from experiments.locks import locked

VARIABLE = "DISCRETEGRAD_SWEEP"
"""Of the environment: port and key of the command that the runs report to."""
PATIENCE = 10.0
"""Seconds in which a report must be taken."""


class Outcome(NamedTuple):
    """How a run of a sweep ended."""

    run: str
    """Its folder."""
    state: str
    """done, failed or stopped."""
    said: str

    def show(self) -> None:
        """Say it: on stdout if all is well."""
        if self.state == "done":
            print(self.said, end="\n" if self.said else "", flush=True)
        else:
            print(f"{self.run}: {self.said}", file=sys.stderr, flush=True)


def attempt(config: DictConfig, work: Callable[[DictConfig], str]) -> Outcome:
    """Do one run, whatever comes of it.

    Args:
        config: of the run.
        work: trains, and returns what there is to say.

    Raises:
        Interrupted: where it was stopped, or another KeyboardInterrupt.
    """
    folder = str(config.run.dir)
    try:
        return Outcome(folder, "done", work(config))
    except UserError as error:
        return Outcome(folder, "failed", str(error))
    except Exception:  # a mistake of the program's: the other runs go on
        if "TORCHELASTIC_RUN_ID" in os.environ:  # but not without the other processes of torchrun
            raise
        return Outcome(folder, "failed", traceback.format_exc().rstrip())


def attempt_or_stop(config: DictConfig, work: Callable[[DictConfig], str]) -> Outcome:
    """The same where a stop ends this run only, and whoever started it decides about the others."""
    try:
        return attempt(config, work)
    except KeyboardInterrupt as stop:
        step = stop.step if isinstance(stop, Interrupted) else None
        return Outcome(str(config.run.dir), "stopped", "stopped" if step is None else f"stopped at step {step}")


class Outcomes(list[Outcome]):
    """How the runs of a sweep have ended so far."""

    def take(self, outcome: Outcome) -> None:
        """Show how a run ended, and keep it."""
        outcome.show()
        self.append(outcome)

    def check(self) -> None:
        """See that all ended well.

        Raises:
            UserError: that names those which did not.
        """
        failed = [outcome.run for outcome in self if outcome.state != "done"]
        if failed:
            raise UserError(f"{len(failed)} of {len(self)} runs failed, as said above: {', '.join(failed)}.")


class Sweep:
    """The command that the runs report to; a context in which Hydra launches them.

    The first SIGINT or SIGTERM lets the runs in other processes stop at the step they are at; a second one is obeyed at
    once.

    Raises:
        UserError: at the end, where a run failed.
        Interrupted: at the end, where the sweep was stopped.
    """

    here: Sweep | None = None
    """That of this process."""

    def __init__(self) -> None:
        self.outcomes = Outcomes()
        self._workers: set[Connection] = set()
        self._stopped: int | None = None
        self._over = False
        self._lock = threading.Lock()

    def __enter__(self) -> Sweep:
        key = secrets.token_bytes(16)
        self._listener = Listener(("127.0.0.1", 0), backlog=128, authkey=key)
        os.environ[VARIABLE] = f"{self._listener.address[1]}:{key.hex()}"
        threading.Thread(target=self._accept, daemon=True).start()
        self._previous: dict[int, Any] = {n: signal.signal(n, self._stop) for n in (signal.SIGINT, signal.SIGTERM)}
        Sweep.here = self
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: object) -> None:
        Sweep.here = None
        self._restore()
        del os.environ[VARIABLE]
        self._listener.close()
        if self._stopped is not None:
            raise Interrupted(None, self._stopped) from error
        if isinstance(error, BrokenExecutor) or type(error).__name__ == "UncompletedJobError":  # joblib's, submitit's
            raise UserError(
                "a process of the sweep was killed, perhaps for want of memory, and the others were stopped; go on by "
                "the same command with resume=auto."
            ) from error
        if isinstance(error, RuntimeError):  # submitit's, without a Slurm
            raise UserError(f"the sweep cannot be launched: {error}") from error
        if error is None:
            self.outcomes.check()

    def _accept(self) -> None:
        while True:
            try:
                worker = self._listener.accept()
            except (EOFError, AuthenticationError, ConnectionError):  # whoever that was
                continue
            except OSError:  # closed
                return
            self._workers.add(worker)
            threading.Thread(target=self._hear, args=(worker,), daemon=True).start()

    def _hear(self, worker: Connection) -> None:
        with contextlib.suppress(EOFError, OSError), worker:
            worker.send(self._stopped is None)
            self.outcomes.take(Outcome(*worker.recv()))
        with self._lock:
            self._workers.discard(worker)
            last = self._stopped is not None and not self._workers and not self._over
            self._over |= last
        if last:
            _thread.interrupt_main()  # or the launcher would start the other runs, only to see them stop

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopped = number
        self._restore()
        if not self._workers:
            raise Interrupted(None, number)
        print("stopping the runs at the step that they are at", file=sys.stderr, flush=True)
        for worker in list(self._workers):
            with contextlib.suppress(OSError):
                worker.send(False)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)


def run_in_sweep(config: DictConfig, work: Callable[[DictConfig], str]) -> None:
    """One run of a sweep, in whatever process the launcher has put it.

    Args:
        config, work: see `attempt`.

    Raises:
        Interrupted: in the process of the sweep itself, where the run was stopped.
        UserError: on a cluster, where it failed or was stopped.
    """
    if Sweep.here is not None:
        Sweep.here.outcomes.take(attempt(config, work))
    elif VARIABLE in os.environ and os.environ.get("SUBMITIT_EXECUTOR") != "slurm":
        _in_a_worker(os.environ[VARIABLE], config, work)
    else:  # the machine may be another: its launcher brings the exception back
        outcome = attempt_or_stop(config, work)
        outcome.show()
        if outcome.state != "done":
            raise UserError(f"{outcome.run}: {outcome.said}")


def _in_a_worker(address: str, config: DictConfig, work: Callable[[DictConfig], str]) -> None:
    port, key = address.split(":")
    try:
        parent = Client(("127.0.0.1", int(port)), authkey=bytes.fromhex(key))
        if not parent.recv():
            return
    except (OSError, EOFError):  # the sweep is over
        return
    with contextlib.suppress(OSError):
        os.setpgrp()  # Ctrl-C in a terminal reaches the parent alone, which passes it on
    config.run.progress = False  # bars of several runs would be drawn over each other
    with parent, _stopped_by(parent) as report:
        report(attempt_or_stop(config, work))


@contextlib.contextmanager
def _stopped_by(parent: Connection) -> Iterator[Callable[[Outcome], None]]:
    """Turn a word from the parent, or its end, into SIGINT; gives what sends the outcome, after which none comes."""
    over, gone, lock = threading.Event(), threading.Event(), threading.Lock()

    def wait() -> None:
        try:
            parent.recv()
        except (EOFError, OSError):
            gone.set()
        with lock:
            if not over.is_set():
                os.kill(os.getpid(), signal.SIGINT)

    def send(outcome: Outcome) -> None:
        with lock:
            over.set()
        if gone.is_set():
            os._exit(1)  # the parent was killed, and nobody waits for this process
        with contextlib.suppress(OSError):
            parent.send(tuple(outcome))
        watcher.join(PATIENCE)  # the parent closes the connection when it has the outcome

    watcher = threading.Thread(target=wait, daemon=True)
    watcher.start()
    yield send


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other processes out of a run's folder; the lock ends with the process, however that ends.

    Raises:
        UserError: where another is at work there.
    """

    def refuse() -> None:
        raise UserError(f"another process trains in {folder}; wait for it, or name another folder with run.dir=FOLDER.")

    with contextlib.ExitStack() as lock:
        with contextlib.suppress(OSError):  # `Folder.claim` says what is wrong
            folder.mkdir(parents=True, exist_ok=True)
            lock.enter_context(locked(folder, refuse))
        yield
