"""`python -m benchmarks.cells`: what the dearest estimators cost a training step at C=64, in one run.

Each estimator takes turns with its limit, as many points and a gradient that were there before, on one model. The table
has medians over the rounds, and their standard errors. One thread, and times of the processor instead of the clock, so
that what else runs on the machine counts for neither side.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch

from benchmarks.sizes import SECONDS, SMALL, Setting
from benchmarks.steps import CATEGORICAL, Step, evaluations
from benchmarks.timing import Median, in_turns, median, ratio

CELLS = ("flow-2", "tree-huffman-2", "carms-2", "carms-4", "unordered-set-2", "unordered-set-4", "gumbel-rao-1")
CELLS += ("rodeo-network-2",)
"""Names of `steps.CATEGORICAL`."""
SETTING = Setting(3, 4) if SMALL else Setting(32, 64)


def cell(name: str, setting: Setting, seconds: float = SECONDS) -> tuple[int, Median, Median, Median]:
    """Points, seconds of a step and of its limit, and the ratio of the two."""
    estimator = CATEGORICAL[name](setting)
    step = Step(setting)
    step.adopt(estimator)
    points = evaluations(estimator, setting)
    fixed = step.given(points, estimator.takes_ids)
    runs = {"step": partial(step, estimator), "limit": partial(step.limit, *fixed)}
    taken = in_turns({side: partial(of_processor, run) for side, run in runs.items()}, seconds)
    return points, median(taken["step"]), median(taken["limit"]), ratio(taken["step"], taken["limit"])


def of_processor(run: Callable[[], object]) -> float:
    """Seconds of this process in one call."""
    start = time.process_time()
    run()
    return time.process_time() - start


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, a row as soon as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", nargs="*", default=CELLS, help=f"names of steps.CATEGORICAL; by default {CELLS}")
    names = parser.parse_args(arguments).cells
    if unknown := set(names) - CATEGORICAL.keys():
        parser.error(f"no such cell: {', '.join(sorted(unknown))}; there are {', '.join(CATEGORICAL)}.")
    torch.set_num_threads(1)
    print("| estimator | points | step, ms | limit, ms | step / limit |", "| --- |" + " ---: |" * 4, sep="\n")
    for name in names:
        points, step, limit, over = cell(name, SETTING)
        times = f"{step.value * 1e3:.1f} | {limit.value * 1e3:.1f}"
        print(f"| {name} | {points} | {times} | {over.value:.3f} +- {over.error:.3f} |", flush=True)


if __name__ == "__main__":
    main()
