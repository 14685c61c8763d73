"""A row of the table in a process of its own, asked for one step at a time."""

from __future__ import annotations

import contextlib
import multiprocessing
import warnings
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection

from benchmarks.peers.catalogue import PEERS
from benchmarks.sizes import Setting, set_threads
from benchmarks.steps import Step
from benchmarks.timing import timed


def work(name: str, setting: Setting, pipe: Connection) -> None:
    """A row's process: builds it, then times one step for each message; sends seconds, or an error as a string."""
    warnings.simplefilter("ignore")  # packages older than the torch they run on
    try:
        set_threads()
        run = PEERS[name].build(Step(setting, PEERS[name].inputs))
        run()
        pipe.send(0.0)
        while pipe.recv():
            pipe.send(timed(run))
    except EOFError:  # nobody asks any more
        pass
    except Exception as error:
        pipe.send((f"{type(error).__name__}: {error}".splitlines())[0])


class Worker:
    """A row's process, seen from outside."""

    def __init__(self, name: str, setting: Setting) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(name, setting, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.problem: str | None = None
        self._receive()

    def __call__(self) -> float:
        """Seconds of one step.

        Raises:
            RuntimeError: where the step fails.
        """
        self.pipe.send(True)
        seconds = self._receive()
        if self.problem is not None:
            raise RuntimeError(self.problem)
        return seconds

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError):
            self.pipe.send(False)
        self.pipe.close()
        self.process.join(10)
        if self.process.is_alive():
            self.process.kill()

    def _receive(self) -> float:
        try:
            answer = self.pipe.recv()
        except EOFError:
            answer = "the process ended without a word"
        if isinstance(answer, str):
            self.problem = answer
            return float("nan")
        return float(answer)


@contextlib.contextmanager
def workers(names: Sequence[str], setting: Setting) -> Iterator[dict[str, Worker]]:
    """Processes for some rows."""
    started: dict[str, Worker] = {}
    try:
        for name in names:
            started[name] = Worker(name, setting)
        yield started
    finally:
        for worker in started.values():
            worker.close()
