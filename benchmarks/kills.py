"""Kill -9 at random moments of a run and of a sweep: each time it must go on bit for bit.

`python -m benchmarks.kills` kills a run, a sweep in one process, and (with the extra `sweep`) a sweep in several: all
of its processes, or only the first, or only the last. Meanwhile the files of the runs are read again and again: one
that is cut short would be found. The first two start as forks of this process, which has loaded what takes seconds.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import experiments.curves
import experiments.parts.pictures  # noqa: F401 (loaded once, for all forks)
from experiments import train
from experiments.engine.record import TIMES

ROOT = Path(__file__).parents[1]
SIZES = ("data=digits", "device=cpu", "model.variables=3", "model.categories=4", "model.hidden=[16]", "threads=1")
RUN = ("task.bound_samples=2", "run.batch=10", "run.log_every=5", "run.checkpoint_every=5", "run.evaluate_every=50")
ARGUMENTS = {
    "run": ("run.seed=0",),
    "sweep": ("-m", "run.seed=0,1"),
    "processes": ("-m", "launcher=local", "run.seed=0,1", "jobs=2"),
}
FORK = multiprocessing.get_context("fork")


def start(folder: Path, name: str, steps: int) -> Any:
    """The command, in a process of its own."""
    where = [f"run.dir={folder}/seed${{run.seed}}", f"run.steps={steps}", "run.progress=false", "resume=auto"]
    where += [f"hydra.sweep.dir={folder}"] if name != "run" else []
    arguments = [*ARGUMENTS[name], *SIZES, *RUN, *where]

    def work() -> None:
        os.setsid()
        said = os.open(folder / "said.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(said, 1)
        os.dup2(said, 2)
        if name == "processes":
            os.chdir(ROOT)
            os.execv(sys.executable, [sys.executable, "-m", "experiments.train", *arguments])
        sys.argv = [train.__file__, "--config-path", str(ROOT / "conf"), *arguments]
        train.main()

    process = FORK.Process(target=work)
    process.start()
    return process


def finish(process: Any, folder: Path) -> None:
    process.join()
    assert process.exitcode == 0, (folder / "said.txt").read_text()


def family(pid: int) -> list[int]:
    """A process and its descendants, whatever session they are in."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            children.setdefault(int((folder / "stat").read_text().rpartition(")")[2].split()[1]), []).append(
                int(folder.name)
            )
        except OSError:
            continue
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found


def kill(pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def look(folder: Path) -> int:
    """Read all files of the runs that are there; how many."""
    count = 0
    for run in folder.glob("seed*"):
        readers: dict[str, Callable[[Path], Any]] = {
            "checkpoint.pt": lambda path: torch.load(path, weights_only=True),
            "metrics.csv": table,
            "result.json": lambda path: json.loads(path.read_bytes()),
            "environment.json": lambda path: json.loads(path.read_bytes()),
        }
        for name, read in readers.items():
            if (run / name).exists():
                read(run / name)
                count += 1
    return count


def table(path: Path) -> list[list[str]]:
    """Rows without times, none of them cut short."""
    text = path.read_text()
    lines = [line.split(",") for line in text.splitlines()]
    assert text.endswith("\n"), f"{path} ends within a line"
    assert {len(line) for line in lines} == {len(lines[0])}, f"{path} has a row that is cut short"
    kept = [place for place, name in enumerate(lines[0]) if name not in TIMES]
    return [[line[place] for place in kept] for line in lines]


def content(run: Path) -> tuple[Any, ...]:
    """All that must be equal."""
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    del state["record"]  # has the times
    result = json.loads((run / "result.json").read_bytes())
    kept = {name: value for name, value in result.items() if name not in TIMES}
    return table(run / "metrics.csv"), kept, state


def equal(one: Any, other: Any) -> bool:
    """To the last bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def measure(name: str, times: int, steps: int, chance: random.Random, base: Path) -> str:
    """Kill so many times, each in a run or sweep of its own, and let it go on."""
    plain = base / "plain"
    plain.mkdir()
    begin = time.monotonic()
    finish(start(plain, name, steps), plain)
    duration = time.monotonic() - begin
    expected = {run.name: content(run) for run in plain.glob("seed*")}
    early, same, looks = 0, 0, 0
    for number in range(1, times + 1):
        folder = base / f"kill{number}"
        folder.mkdir()
        process = start(folder, name, steps)
        moment, begin = chance.uniform(0, duration), time.monotonic()
        while process.is_alive() and time.monotonic() - begin < moment:
            looks += look(folder)
            time.sleep(0.02)
        whole = family(process.pid)
        victims = chance.choice([whole, whole[:1], whole[-1:]])
        early += process.is_alive()
        kill(victims)
        process.join()
        while any(alive(pid) for pid in whole):  # the others stop by themselves
            time.sleep(0.1)
        looks += look(folder)
        reached = [torch.load(path, weights_only=True)["step"] for path in sorted(folder.glob("seed*/checkpoint.pt"))]
        finish(start(folder, name, steps), folder)
        one = all(equal(content(folder / run), value) for run, value in expected.items())
        same += one
        print(
            f"  {number}: {'equal' if one else 'DIFFERENT'}; killed {len(victims)} of {len(whole)} processes after "
            f"{moment:.1f} of {duration:.1f} s, with checkpoints of steps {reached}",
            flush=True,
        )
    return (
        f"{name}: {same} of {times} went on bit for bit, {early} were killed before their end; {looks} files were read "
        "on the way, each of them whole"
    )


def alive(pid: int) -> bool:
    """Whether a process is there that is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.kills", description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--of", choices=tuple(ARGUMENTS), nargs="+", default=list(ARGUMENTS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.of:
        with tempfile.TemporaryDirectory() as base:
            print(measure(name, options.times, options.steps, random.Random(options.seed), Path(base)), flush=True)


if __name__ == "__main__":
    main()
