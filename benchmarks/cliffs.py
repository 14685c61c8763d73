"""`python -m benchmarks.cliffs`: own time of estimators from 64 to 250,000 categories; CSV, picture, a table to read.

Own time is draw, surrogate and backward on given values, without f. It is stated over that of leave-one-out written by
hand with care, on the same logits, with two points and one thread.

An older commit is measured by this same script, with all that it imports from a checkout of that commit:

    PYTHONPATH=CHECKOUT python benchmarks/cliffs.py --suite cliffs-before
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

import discretegrad as dg
from benchmarks.peers import by_hand
from benchmarks.results import device_name, provenance, read, write
from benchmarks.sizes import SECONDS, SMALL
from benchmarks.timing import Row, in_turns, median, time_rows, timed

try:
    from discretegrad.memory import peak
except ModuleNotFoundError:  # of an older commit
    from discretegrad.analysis.memory import peak

HERE = Path(__file__).parent / "results"
POINTS = 2
HAND, SORT = "RLOO by hand", "sort of the keys"


class Size(NamedTuple):
    """Of the logits, `[B, V, C]`."""

    batch: int
    variables: int
    categories: int


SIZES = (
    (Size(3, 2, 4),)
    if SMALL
    else (
        Size(200, 32, 64),
        Size(100, 16, 1024),
        Size(64, 8, 4096),
        Size(64, 8, 4097),
        Size(16, 4, 65_536),
        Size(4, 4, 250_000),
    )
)
GIVEN = Size(2, 3, 5) if SMALL else Size(8, 64, 32_000)
"""Where `functional.rloo` is measured, on ids that are given."""


class Column(NamedTuple):
    """An estimator, and the ratio to the one by hand that it is to keep, up to 4,096 categories and beyond."""

    estimator: dg.Estimator
    target: float
    beyond: float
    sorts: bool = False
    """Whether a sort of the keys may come on top."""


COLUMNS = {
    "RLOO": Column(dg.RLOO(2), 0.2, 0.3),
    "DisARMTree": Column(dg.DisARMTree(), 0.25, 0.6),
    "SB, ascending": Column(dg.DisARMSB(order="ascending"), 1.0, 1.0, sorts=True),
    "IW": Column(dg.DisARMIW(), 1.0, 1.0, sorts=True),
    "Flow": Column(dg.Flow(), 1.0, 1.0),
}
MASK_TARGET = 1.3
STYLES = {  # told apart by marker and dash, in grey too
    "RLOO": ("tab:blue", "-", "^"),
    "DisARMTree": ("tab:orange", "-.", "D"),
    "SB, ascending": ("tab:green", ":", "v"),
    "IW": ("tab:red", (0, (5, 1, 1, 1, 1, 1)), "x"),
    "Flow": ("tab:purple", "--", "o"),
    SORT: ("0.45", (0, (1, 1)), "s"),
}


def masked(name: str) -> str:
    """The name of an estimator's rows with a mask."""
    return f"{name}, masked"


def by_hand_gradient(logits: Tensor, values: Tensor) -> Tensor:
    """Leave-one-out by log_softmax, multinomial and gather."""
    log_probs = logits.log_softmax(-1)
    ids = by_hand.sample(log_probs, len(values))
    return torch.autograd.grad(by_hand.surrogate(values, by_hand.log_prob(log_probs, ids)).sum(), logits)[0]


def gradient(estimator: dg.Estimator, logits: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """Draw, surrogate and backward on given values."""
    draw = estimator.sample(logits, mask=mask)
    return torch.autograd.grad(estimator.surrogate(draw, values).sum(), logits)[0]


def of_ids(logits: Tensor, values: Tensor, ids: Tensor, mask: Tensor | None) -> Tensor:
    """`functional.rloo` and backward."""
    return torch.autograd.grad(dg.functional.rloo(logits, ids, values, mask=mask).sum(), logits)[0]


def made(size: Size, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, values, and a mask that is off at about a tenth of the variables, though not at all of them."""
    logits = torch.randn(size, device=device).requires_grad_()
    mask = torch.rand(size[:2], device=device) >= 0.1
    mask[0, 0] = True
    return logits, torch.randn(POINTS, size.batch, device=device), mask


def waits(run: Callable[[], object], device: str) -> Callable[[], object]:
    """`run`, until the device has done it."""
    if device == "cpu":
        return run

    def waited() -> None:
        run()
        torch.cuda.synchronize()

    return waited


def measured(case: Row, runs: Mapping[str, Callable[[], object]], over: str | None, device: str) -> list[Row]:
    """Times in turns; ratios to `over`, and of what has a mask to the same without; memory."""
    timers = {name: partial(timed, waits(run, device)) for name, run in runs.items()}
    seconds = in_turns(timers, 2 * SECONDS)
    rows = time_rows(case, seconds, over=[] if over is None else [over])
    for name in seconds:
        if masked(name) in seconds:
            ratios = [a / b for a, b in zip(seconds[masked(name)], seconds[name], strict=True)]
            own = {**case, "implementation": masked(name), "metric": "time / without mask", "unit": "1"}
            rows.append({**own, **median(ratios)._asdict(), "rounds": len(ratios)})
    logits = 4 * case["B"] * case["V"] * case["C"]
    for name, run in runs.items():
        # Of tensors: what a kernel has for each thread while it runs does not count. The gradient is there at the end.
        beyond = max(0, peak(run, device) - logits) if name != SORT else peak(run, device)
        own = {**case, "implementation": name, "metric": "memory beyond logits and gradient"}
        rows.append({**own, "value": beyond, "unit": "B"})
        rows.append({**own, "value": beyond / logits, "unit": "logits"})
    return rows


def costs(suite: str, device: str) -> list[Row]:
    """Every column at every size, with and without a mask."""
    rows = []
    for size in SIZES:
        logits, values, mask = made(size, device)
        runs: dict[str, Callable[[], object]] = {HAND: partial(by_hand_gradient, logits, values)}
        for name, column in COLUMNS.items():
            runs[name] = partial(gradient, column.estimator, logits, values, None)
            runs[masked(name)] = partial(gradient, column.estimator, logits, values, mask)
        runs[SORT] = partial(logits.detach().sort, -1)
        case = {"suite": suite, "case": "own time", "device": device, "S": POINTS}
        rows += measured(
            {**case, "C": size.categories, "V": size.variables, "B": size.batch}, runs, over=HAND, device=device
        )
        print(line(rows, size), flush=True)
    logits, values, mask = made(GIVEN, device)
    ids = torch.randint(GIVEN.categories, (POINTS, *GIVEN[:2]), device=device)
    runs = {"functional.rloo": partial(of_ids, logits, values, ids, None)}
    runs[masked("functional.rloo")] = partial(of_ids, logits, values, ids, mask)
    case = {"suite": suite, "case": "given ids", "device": device, "S": POINTS}
    rows += measured({**case, "C": GIVEN.categories, "V": GIVEN.variables, "B": GIVEN.batch}, runs, None, device)
    (found,) = (row["value"] for row in rows if row["case"] == "given ids" and row["metric"] == "time / without mask")
    print(f"functional.rloo on {list(GIVEN)}, with a mask over without: {found:.2f}")
    return rows


def line(rows: list[Row], size: Size) -> str:
    """A line of the table: ratios, in brackets with a mask, and a star where a target is not met."""
    own = {
        row["implementation"]: row["value"]
        for row in rows
        if row["metric"] == f"time / {HAND}" and row["C"] == size.categories
    }
    cells = []
    for name, column in COLUMNS.items():
        target = allowed(column, size.categories, own[SORT])
        both = [f"{own[one]:.2f}{'*' if own[one] > target else ''}" for one in (name, masked(name))]
        cells.append(f"{both[0]:>6} [{both[1]:>6}]")
    return f"{size.categories:>8}  " + "  ".join(cells) + f"  {own[SORT]:6.2f}"


def heading() -> str:
    """Of the table."""
    return f"{'C':>8}  " + "  ".join(f"{name:>15}" for name in COLUMNS) + f"  {'sort':>6}"


def allowed(column: Column, categories: int, sort: float) -> float:
    """The target, and a sort on top where there is an order to be found."""
    return (column.target if categories <= 4096 else column.beyond) + (sort if column.sorts else 0.0)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Ratios against C, without and with a mask, and thin lines where they are to stay below."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

    rows = [row for row in rows if row["case"] == "own time" and row["metric"] == f"time / {HAND}"]
    sizes = sorted({row["C"] for row in rows})
    with pyplot.rc_context({"font.size": 11}):
        figure, axes = pyplot.subplots(1, 2, figsize=(13, 5.5), sharey=True, layout="constrained")
        sort = {row["C"]: row["value"] for row in rows if row["implementation"] == SORT}
        for panel, title, called in zip(axes, ("without a mask", "with a mask"), (str, masked), strict=True):
            for name, (colour, dash, marker) in STYLES.items():
                own = [row for row in rows if row["implementation"] == (name if name == SORT else called(name))]
                panel.errorbar(
                    [row["C"] for row in own],
                    [row["value"] for row in own],
                    [row["error"] for row in own],
                    color=colour, linestyle=dash, marker=marker, markersize=5, capsize=3, linewidth=1.5, label=name,
                )  # fmt: skip
                if name != SORT:
                    wanted = [allowed(COLUMNS[name], size, sort[size]) for size in sizes]
                    panel.plot(sizes, wanted, color=colour, linestyle=dash, linewidth=0.6)
            panel.set_title(title)
            panel.set_xscale("log")
            panel.set_yscale("log")
            panel.xaxis.set_major_locator(FixedLocator([size for size in sizes if size != 4097]))
            panel.xaxis.set_minor_locator(NullLocator())
            panel.xaxis.set_major_formatter(ScalarFormatter())
            panel.yaxis.set_major_formatter(ScalarFormatter())
            panel.grid(True, color="0.85", linewidth=0.6)
            panel.set_xlabel("categories C")
        axes[0].set_ylabel(f"time / {HAND}")
        figure.suptitle("Own time: draw, surrogate and backward of two points. Thin lines: targets.")
        handles, names = axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False, handlelength=4)
        figure.savefig(path, dpi=110)
        pyplot.close(figure)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description="Own time of estimators against the number of categories.")
    parser.add_argument("--draw", action="store_true", help="draw the results that are there, and measure nothing")
    parser.add_argument("--folder", type=Path, default=HERE, help="where the results are")
    parser.add_argument("--suite", default="cliffs", help="the results' name")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="what to measure")
    arguments = parser.parse_args()
    suite, device = arguments.suite, arguments.device
    if not arguments.draw:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        where = provenance()
        print(f"{device_name(device)}, one thread; commit {where['git_sha']}")
        print("time over that of RLOO written by hand [with a mask]; * misses its target")
        print(heading())
        write([{**where, **row} for row in costs(suite, device)], arguments.folder)
    if importlib.util.find_spec("matplotlib") is None:
        print("No picture is drawn, for that takes matplotlib, which is not installed.")
        return
    picture = arguments.folder / f"{suite}-{device}.png"
    draw(read(suite, device, arguments.folder), picture)
    print(arguments.folder / f"{suite}-{device}.csv", picture)


if __name__ == "__main__":
    main()
