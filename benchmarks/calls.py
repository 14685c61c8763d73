"""What Python runs of the package in a step of an estimator, and between `analysis.compare` and f: a part of `counts`.

It runs in a process of its own, whose `discretegrad` is that of the checkout that is counted, and prints JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import torch
from torch import Tensor

import discretegrad as dg
from discretegrad import analysis

PACKAGE = Path(dg.__file__).parent
ESTIMATORS: dict[str, Callable[[], dg.Estimator]] = {
    "RLOO(4)": lambda: dg.RLOO(4),
    "DisARMTree": dg.DisARMTree,
    "REBAR": dg.REBAR,
    "ReinMax": dg.ReinMax,
    "Flow": dg.Flow,
}
PHASES = ("sample", "points", "surrogate", "backward")
SHAPE = (8, 5, 4)
"""Of the logits: batch, variables, categories. The calls do not depend on it."""


def f(points: Tensor) -> Tensor:
    """Any that is differentiable and has another value for every point."""
    return (points * torch.arange(4.0)).sum((-1, -2)).square()


def phases(estimator: dg.Estimator) -> Iterator[Callable[[], object]]:
    """Of one step, to be called in turn; between the second and the third f is called."""
    logits = torch.linspace(-1.0, 1.0, torch.Size(SHAPE).numel()).reshape(SHAPE).requires_grad_()
    made: list[dg.Draw] = []
    losses: list[Tensor] = []
    yield lambda: made.append(estimator.sample(logits))
    yield lambda: made[0].points
    values = f(made[0].points)
    yield lambda: losses.append(estimator.surrogate(made[0], values))
    yield lambda: losses[0].sum().backward()


def entered(run: Callable[[], object]) -> list[Path]:
    """The file, below the package, of every call of a Python function of the package."""
    files: list[Path] = []

    def note(frame: FrameType, event: str, argument: object) -> None:
        file = Path(frame.f_code.co_filename)
        if event == "call" and file.is_relative_to(PACKAGE):
            files.append(file.relative_to(PACKAGE))

    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(None)
    return files


def of_step(estimator: dg.Estimator) -> dict[str, object]:
    """Calls and files of a step, of a second one: the first may compile and load things."""
    for run in phases(estimator):
        run()
    calls = [entered(run) for run in phases(estimator)]
    outside = [[file for file in files if file.parts[0] != "ops"] for files in calls]
    within = [file for files in calls for file in files if file.parts[0] == "ops"]
    return {
        f"calls outside ops/: {' / '.join(PHASES)}": " / ".join(str(len(files)) for files in outside),
        "calls within ops/": len(within),
        "files entered outside ops/": len({file for files in outside for file in files}),
        "files entered within ops/": len(set(within)),
    }


def chains() -> set[tuple[str, ...]]:
    """Every way from `compare` to f: the package's functions between the two, the outermost first."""
    found: set[tuple[str, ...]] = set()

    def watched(points: Tensor) -> Tensor:
        names: list[str] = []
        frame = sys._getframe(1)
        while frame.f_code is not analysis.compare.__code__:
            if Path(frame.f_code.co_filename).is_relative_to(PACKAGE):
                names.insert(0, frame.f_code.co_qualname)
            assert frame.f_back is not None
            frame = frame.f_back
        found.add(tuple(names))
        return f(points)

    logits = torch.zeros(SHAPE)
    estimators = [dg.RLOO(2), dg.DoubleCV(2), dg.StraightThrough()]
    for given in (logits, torch.zeros(8, 12, 4)):  # the second has too many values for an enumeration
        analysis.compare(watched, given, estimators, replicates=64, rounds=1, progress=False)
    return found


def count() -> dict[str, object]:
    """The rows of the table."""
    rows: dict[str, object] = {}
    for name, make in ESTIMATORS.items():
        rows |= {f"{name}, {what}": number for what, number in of_step(make()).items()}
    depths = sorted(map(len, chains()))
    return {
        **rows,
        "ways from compare to f": len(depths),
        "functions between compare and f, least": depths[0],
        "functions between compare and f, most": depths[-1],
    }


if __name__ == "__main__":
    if Path(sys.argv[1]) / "discretegrad" != PACKAGE:
        sys.exit(f"the package that Python finds is {PACKAGE}, not that of {sys.argv[1]}.")
    torch.set_num_threads(1)
    print(json.dumps(count()))
