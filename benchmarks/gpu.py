"""`python -m benchmarks.gpu`: every test and benchmark of CUDA, in eight minutes at most; `make gpu` runs it.

It takes this Python as it is, with torch, Triton, pytest and pytest-benchmark, and needs neither a repository nor what
`experiments/` needs. First the tests run side by side, for they wait for Triton's compiler most of the time; then the
benchmarks, one after the other. A part that fails, or is still running when its time is over, does not stop the next.
Results go to `benchmarks/results/*-cuda.csv`, what the parts print to `runs/gpu/`.

Exit code: 0 where everything passed, 1 where something did not, 2 where there is no CUDA device.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
LOGS = ROOT / "runs" / "gpu"
SECONDS = 480
"""What a call may take, from its start to its end."""
MARGIN = 15
"""Of those, for what is not a part: the device is looked for, processes end, the summary is printed."""
CATEGORIES = (16, 64, 1024)
"""At which operations are measured."""


class Part(NamedTuple):
    """Commands that run one after the other, each whatever became of those before."""

    name: str
    commands: tuple[tuple[str, ...], ...]
    """Arguments of this Python."""
    seconds: int
    """What they may take together."""
    bench_seconds: float = 1.0
    """BENCH_SECONDS for them."""


class Outcome(NamedTuple):
    """What became of a part."""

    name: str
    failed: str
    """Why; empty where nothing failed."""
    seconds: float


def tests(name: str, *arguments: str) -> Part:
    """Tests that are not slow."""
    return Part(name, (("-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", *arguments),), 240)


def benchmark(name: str, file: str, *arguments: str, seconds: int, bench_seconds: float) -> Part:
    """A suite of pytest-benchmark, and its results."""
    record = str(LOGS / f"{name}.json")
    measure = ("-m", "pytest", file, "-q", "-p", "no:cacheprovider", "--benchmark-only", f"--benchmark-json={record}")
    return Part(name, ((*measure, *arguments), ("-m", "benchmarks.results", record)), seconds, bench_seconds)


KERNELS = "tests/kernels/test_triton.py"
STAGES: tuple[tuple[Part, ...], ...] = (
    (
        tests("estimators", "tests/kernels/test_cuda.py"),
        tests("kernels", KERNELS, "-k", "not pairs"),
        tests("kernels of balanced trees", KERNELS, "-k", "pairs and balanced"),
        tests("kernels of sticks", KERNELS, "-k", "pairs and caterpillar"),
        tests("kernels of other trees", KERNELS, "-k", "pairs and not balanced and not caterpillar"),
    ),
    (Part("cliffs", (("-m", "benchmarks.cliffs", "--device", "cuda"),), 110, bench_seconds=2.0),),
    (
        benchmark(
            "ops",
            "benchmarks/test_ops.py",
            "-k",
            " or ".join(f"cuda-{categories}-" for categories in CATEGORIES),
            seconds=110,
            bench_seconds=0.3,
        ),
    ),
)
"""The parts of a stage run side by side."""


def longest(stages: Sequence[Sequence[Part]] = STAGES) -> int:
    """Seconds that all of it can take."""
    return MARGIN + sum(max(part.seconds for part in stage) for stage in stages)


def run_stage(parts: Sequence[Part], deadline: float) -> list[Outcome]:
    """Run parts side by side, none beyond its own seconds or the deadline, a `time.monotonic()`."""
    LOGS.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    waiting = {part.name: list(part.commands) for part in parts}
    running: dict[str, subprocess.Popen[bytes]] = {}
    failed = {part.name: "" for part in parts}
    outcomes = []
    for part in parts:
        log(part).write_bytes(b"")
    while waiting:
        for part in parts:
            if part.name not in waiting:
                continue
            process = running.get(part.name)
            over = time.monotonic() >= min(start + part.seconds, deadline)
            if process is not None and process.poll() is None:
                if not over:
                    continue
                kill(process)
                failed[part.name] = f"was still running after {time.monotonic() - start:.0f} s"
            elif process is not None and process.returncode:
                failed[part.name] = failed[part.name] or f"exit code {process.returncode}"
            elif over and waiting[part.name]:
                failed[part.name] = failed[part.name] or "no time was left"
            if over or not waiting[part.name]:
                del waiting[part.name]
                outcomes.append(Outcome(part.name, failed[part.name], time.monotonic() - start))
                print(line(outcomes[-1]), flush=True)
            else:
                running[part.name] = begin(part, waiting[part.name].pop(0))
        time.sleep(0.05)
    return outcomes


def begin(part: Part, arguments: tuple[str, ...]) -> subprocess.Popen[bytes]:
    """Start a command, in a group of its own so that its children end with it."""
    environment = {**os.environ, "BENCH_SECONDS": str(part.bench_seconds), "PYTHONPATH": str(ROOT)}
    with log(part).open("ab") as file:
        return subprocess.Popen(
            (sys.executable, *arguments),
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def kill(process: subprocess.Popen[bytes]) -> None:
    """It and its children."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def log(part: Part) -> Path:
    """What it prints."""
    return LOGS / f"{part.name.replace(' ', '-')}.log"


def line(outcome: Outcome) -> str:
    """Of the summary."""
    return f"{outcome.name:<26} {outcome.seconds:5.0f} s  {outcome.failed or 'passed'}"


def device() -> str | None:
    """The name of the CUDA device; None where there is none."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description="Every test and benchmark of CUDA, in eight minutes at most.")
    parser.add_argument("--list", action="store_true", help="print what would run, and run nothing")
    if parser.parse_args(arguments).list:
        for stage in STAGES:
            for part in stage:
                for command in part.commands:
                    print(f"{part.name}, within {part.seconds} s: python", *map(repr, command))
        print(f"at most {longest()} s")
        return 0
    deadline = time.monotonic() + SECONDS - MARGIN
    name = device()
    if name is None:
        print("There is no CUDA device that torch can use; run this on a machine that has one.", file=sys.stderr)
        return 2
    print(f"{name}; at most {longest()} s", flush=True)
    outcomes = [outcome for stage in STAGES for outcome in run_stage(stage, deadline)]
    bad = [outcome for outcome in outcomes if outcome.failed]
    for stage in STAGES:
        for part in stage:
            if any(outcome.name == part.name for outcome in bad):
                print(f"\n{part.name}, the end of {log(part).relative_to(ROOT)}:")
                print("\n".join(log(part).read_text(errors="replace").splitlines()[-25:]))
    print(f"\n{name}: {len(outcomes) - len(bad)} of {len(outcomes)} parts passed")
    for outcome in outcomes:
        print(line(outcome))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
