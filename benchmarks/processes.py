"""`python -m benchmarks.processes`: examples per second of two processes that train one model, over those of one.

All in the same two processes and in turns: a round has some steps of process 0 alone, with one thread and with two, of
both together, and of both at the same time but each for itself, which is what two processes could do at most here.
"""

from __future__ import annotations

import argparse
import os
import socket
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir

from benchmarks.results import FOLDER, provenance, write
from benchmarks.sizes import FEWEST, SMALL
from benchmarks.timing import Row, median, ratio, timed
from discretegrad.analysis.replicator import keep_freed_memory
from experiments.engine import Run, World
from experiments.engine.world import joined
from experiments.train import build

CONF = Path(__file__).parents[1] / "conf"
CASES = {"V=20, C=10": (20, 10), "V=32, C=16": (32, 16)}
BATCH, STEPS, SECONDS = (3, 1, 0.0) if SMALL else (200, 5, 60.0)
"""Examples of a step in each process, steps of a turn, seconds of a case."""
ONE, THREADS, TOGETHER, APART = "1 process, 1 thread", "1 process, 2 threads", "2 processes", "2 processes apart"
EXCHANGE = "sum of the gradients"


def measure(world: World, variables: int, categories: int) -> dict[str, list[float]]:
    """Seconds of every turn, by what ran in it: those of the slower process."""
    sizes = [f"model.variables={variables}", f"model.categories={categories}", f"run.batch={BATCH}"]
    sizes += ["model.hidden=[8,4]"] if SMALL else []
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", ["run.dir=unused", "device=cpu", *sizes])
    both, own = build(config, world), build(config, World())
    gradients = [torch.randn_like(parameter) for parameter in both.task.parameters()]
    first = world.rank == 0
    turns: dict[str, Callable[[], object]] = {
        ONE: partial(steps, own, first),
        THREADS: partial(steps, own, first, 2),
        TOGETHER: partial(steps, both),
        APART: partial(steps, own),
        EXCHANGE: lambda: [world.sum(gradients) for _ in range(STEPS)],
    }
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    while True:
        for name, turn in turns.items():
            world.every(None)
            taken = timed(turn)
            seconds[name].append(max(world.every(taken)))
        rounds, spent = len(seconds[ONE]), sum(map(sum, seconds.values()))
        if rounds > FEWEST and world.every(spent > SECONDS)[0]:
            return {name: taken[1:] for name, taken in seconds.items()}  # the first is to warm up


def steps(run: Run, here: bool = True, threads: int = 1) -> None:
    """A turn's steps, or none."""
    torch.set_num_threads(threads)
    for _ in range(STEPS if here else 0):
        run.train_step()
    torch.set_num_threads(1)


def rows_of(case: str, variables: int, categories: int, seconds: dict[str, list[float]]) -> list[Row]:
    """Of the results: the time of a step, and examples per second over those of one process."""
    rows = []
    for name, taken in seconds.items():
        own = {"suite": "processes", "case": case, "implementation": name, "C": categories, "V": variables, "B": BATCH}
        own |= {"rounds": len(taken), "threads": 2 if name == THREADS else 1}
        time = median([turn / STEPS for turn in taken])
        rows.append({**own, "metric": "time", "unit": "s", **time._asdict()})
        if name == EXCHANGE:
            found = {"time / step of 2 processes": ratio(taken, seconds[TOGETHER])}
        else:
            done = 2 if name in (TOGETHER, APART) else 1
            found = {
                f"examples per second / {base}": ratio([done * second for second in seconds[base]], taken)
                for base in (ONE, THREADS)
                if base != name
            }
        rows += [{**own, "metric": metric, "unit": "1", **value._asdict()} for metric, value in found.items()]
    return rows


def process(rank: int, port: int, path: str) -> None:
    """One of the two."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE="2")
    torch.set_num_threads(1)
    keep_freed_memory()
    with joined("cpu") as world:
        found = {case: measure(world, *sizes) for case, sizes in CASES.items()}
    if rank == 0:
        torch.save(found, path)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description="Two processes that train one model, over one.")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the results are written")
    folder = parser.parse_args().folder
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as temporary:
        path = f"{temporary}/seconds.pt"
        torch.multiprocessing.spawn(process, (port, path), nprocs=2)
        found = torch.load(path)
    rows = [row for case, sizes in CASES.items() for row in rows_of(case, *sizes, found[case])]
    [written] = write([{**provenance(), **row} for row in rows], folder)
    for row in rows:
        print(f"{row['case']}  {row['implementation']}  {row['metric']}  {row['value']:.3g} +- {row['error']:.1g}")
    print(written)


if __name__ == "__main__":
    main()
