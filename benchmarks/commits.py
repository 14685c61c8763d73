"""`python -m benchmarks.commits BEFORE`: this checkout beside another one, in fresh processes that take turns.

Each process measures ratios of its own: a training step over its limit, and sampling, surrogate and backward without f
over leave-one-out written by hand. What stays the same for a whole process, such as where its memory lies, no process
sees; so the error is taken between processes. The table has means over processes, and in brackets the upper ends of
one-sided 95 % intervals.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from scipy.stats import t
from torch import Tensor

import discretegrad as dg
from benchmarks.cliffs import by_hand_gradient
from benchmarks.peers import by_hand
from benchmarks.sizes import SECONDS, SMALL, Setting, set_threads
from benchmarks.steps import Step
from benchmarks.timing import in_turns, ratio, timed

ESTIMATORS = {"RLOO(2)": dg.RLOO(2), "tree": dg.DisARMTree(), "sticks": dg.DisARMSB(), "IW": dg.DisARMIW()}
SIZES = (Setting(3, 4),) if SMALL else (Setting(32, 16), Setting(32, 64), Setting(32, 16, batch=25))
MOST = 2 if SMALL else 1000
"""Rounds."""
HAND, LIMIT = "RLOO(2) by hand", "limit"
ROOT = Path(__file__).resolve().parents[1]


def measured(sizes: Setting) -> Iterator[tuple[str, float]]:
    """Ratios by their name."""
    at = f"C={sizes.categories}, B={sizes.batch}"
    step = Step(sizes)  # of all: a model that only one of them moves would have left the caches
    fixed = step.given(2)
    steps: dict[str, Callable[[], object]] = {name: partial(step, one) for name, one in ESTIMATORS.items()}
    steps |= {HAND: lambda: step.finish(by_hand.loss(step)), LIMIT: lambda: step.limit(*fixed)}
    yield from over(LIMIT, f"step / limit, {at}", steps)
    leaf = torch.randn(sizes.batch, *sizes.event).requires_grad_()
    values = torch.randn(2, sizes.batch)
    alone: dict[str, Callable[[], object]] = {n: partial(own, one, leaf, values) for n, one in ESTIMATORS.items()}
    yield from over(HAND, f"own time / by hand, {at}", alone | {HAND: partial(by_hand_gradient, leaf, values)})


def over(base: str, title: str, runs: Mapping[str, Callable[[], object]]) -> Iterator[tuple[str, float]]:
    """Of all others over one."""
    seconds = in_turns({name: partial(timed, run) for name, run in runs.items()}, SECONDS, MOST)
    yield from ((f"{title}: {name}", ratio(seconds[name], seconds[base]).value) for name in runs if name != base)


def own(estimator: dg.Estimator, leaf: Tensor, values: Tensor) -> None:
    """Sampling, surrogate and backward."""
    torch.autograd.grad(estimator.surrogate(estimator.sample(leaf), values).sum(), leaf)


def bounded(values: Sequence[float]) -> str:
    """Mean and upper bound; of one process there is no bound."""
    mean, count = statistics.mean(values), len(values)
    if count == 1:
        return f"{mean:.3f}"
    above = float(t.ppf(0.95, count - 1)) * statistics.stdev(values) / math.sqrt(count)
    return f"{mean:.3f} ({mean + above:.3f})"


def main() -> None:
    """Measure, in turns, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", nargs="?", type=Path, help="a checkout of the other commit")
    parser.add_argument("--processes", type=int, default=5, help="of each checkout")
    parser.add_argument("--measure", action="store_true", help="print the ratios of this process as JSON")
    options = parser.parse_args()
    if options.measure:
        set_threads()
        print(json.dumps(dict(pair for sizes in SIZES for pair in measured(sizes))))
        return
    from benchmarks.counts import run_in  # which the other checkout need not have

    if options.before is None or not (options.before / "discretegrad").is_dir() or options.processes < 1:
        parser.error("give a checkout of another commit, and at least one process.")
    roots = {"before": options.before.resolve(), "now": ROOT}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in roots}
    for number in range(options.processes):
        for name, root in roots.items():
            found[name].append(run_in(root, Path(__file__).resolve(), "--measure"))
        print(f"{number + 1} of {options.processes}", file=sys.stderr)
    print("| | before | now |", "| --- | ---: | ---: |", sep="\n")
    for case in found["now"][0]:
        cells = (bounded([process[case] for process in found[name]]) for name in roots)
        print(f"| {case} |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
