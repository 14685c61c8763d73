"""`python -m benchmarks.scaling`: what a step costs against C, V, S and B, and its memory; CSV and two pictures."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import torch
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator, ScalarFormatter
from torch import Tensor

import discretegrad as dg
from benchmarks.peers import by_hand
from benchmarks.results import FOLDER, provenance, read, write
from benchmarks.sizes import SECONDS, SMALL, Setting, set_threads
from benchmarks.steps import Step
from benchmarks.timing import Row, in_turns, time_rows, timed
from discretegrad.memory import peak

matplotlib.use("Agg")

BASE = {"C": 4, "V": 3, "S": 2, "B": 3} if SMALL else {"C": 16, "V": 32, "S": 2, "B": 200}
AXES: dict[str, tuple[int, ...]] = (
    {"C": (2, 4), "V": (3,), "S": (2, 4), "B": (3,)}
    if SMALL
    else {"C": (2, 4, 16, 64, 256), "V": (8, 16, 32, 64, 128), "S": (2, 4, 8, 16), "B": (25, 50, 100, 200, 400, 800)}
)
WORDS = {"C": "categories C", "V": "variables V", "S": "evaluations S", "B": "batch B"}
ESTIMATORS: dict[str, Callable[[int], dg.Estimator]] = {
    "RLOO": dg.RLOO,
    "Tree": lambda points: dg.DisARMTree(points // 2),
    "SB": lambda points: dg.DisARMSB(points // 2),
    "IW": lambda points: dg.DisARMIW(num_pairs=points // 2),
}
STYLES = {  # told apart by marker and dash, in grey too
    "limit": ("0.0", "-", "o"),
    "RLOO by hand": ("0.45", "--", "s"),
    "RLOO": ("tab:blue", "-", "^"),
    "Tree": ("tab:orange", "-.", "D"),
    "SB": ("tab:green", ":", "v"),
    "IW": ("tab:red", (0, (5, 1, 1, 1, 1, 1)), "x"),
}
MEMORY_CATEGORIES = (4,) if SMALL else (16, 64, 256)
MEMORY_POINTS = (2, 4) if SMALL else (2, 4, 8, 16, 32)


def costs() -> list[Row]:
    """Steps at sizes along each axis, the others at BASE."""
    rows = []
    for axis, values in AXES.items():
        for value in values:
            size = {**BASE, axis: value}
            setting = Setting(size["V"], size["C"], batch=size["B"])
            given = Step(setting).given(size["S"])
            runs: dict[str, Callable[[], object]] = {"limit": partial(Step(setting).limit, *given)}
            runs["RLOO by hand"] = partial(_hand, Step(setting), size["S"])
            for name, build in ESTIMATORS.items():
                runs[name] = partial(Step(setting), build(size["S"]))
            seconds = in_turns({name: partial(timed, run) for name, run in runs.items()}, 2 * SECONDS)
            rows += time_rows({"suite": "scaling", "case": f"against {axis}", **size}, seconds, over=["limit"])
            print(
                f"{axis}={value}", *(f"{name} {1e3 * min(taken):.1f} ms" for name, taken in seconds.items()), sep="  "
            )
    return rows


def _hand(step: Step, points: int) -> None:
    step.finish(by_hand.loss(step, points))


def memory() -> list[Row]:
    """Peaks of sampling, f, surrogate and backward, for an f of ids and the same f of one-hots: a table's sum.

    And how they grow with S: the numbers that another evaluation takes for each entry of `[B, V]`.
    """
    rows = []
    entries = BASE["B"] * BASE["V"]
    for categories in MEMORY_CATEGORIES:
        for name in ("RLOO", "Tree"):
            for given in ("ids", "one-hots"):
                peaks = []
                for points in MEMORY_POINTS:
                    size = {**BASE, "C": categories, "S": points}
                    setting = Setting(size["V"], categories, batch=size["B"])
                    case = {"suite": "scaling", "case": f"memory, f of {given}", **size, "implementation": name}
                    peaks.append(table_peak(ESTIMATORS[name](points), setting, given))
                    rows.append({**case, "metric": "peak memory", "value": peaks[-1], "unit": "B"})
                growth = (peaks[-1] - peaks[-2]) / (MEMORY_POINTS[-1] - MEMORY_POINTS[-2]) / entries / 4
                rows.append({**case, "metric": "growth with S", "value": growth, "unit": "float32 / (S B V)"})
    return rows


def table_peak(estimator: dg.Estimator, setting: Setting, given: str) -> int:
    """Peak bytes of sampling, an f that sums entries of a table, surrogate and backward; f of "ids" or "one-hots"."""
    logits = torch.randn(setting.batch, *setting.event, requires_grad=True)
    table, variable = torch.randn(setting.event), torch.arange(setting.variables)

    def run() -> Tensor:
        draw = estimator.sample(logits)
        values = table[variable, draw.indices].sum(-1) if given == "ids" else draw.points.flatten(2) @ table.flatten()
        return torch.autograd.grad(estimator.surrogate(draw, values).sum(), logits)[0]

    run()  # what is made once and kept
    return peak(run)


def draw_costs(rows: list[dict[str, Any]], path: Path) -> None:
    """Times above, ratios to the limit below; a column for each axis."""
    from matplotlib import pyplot

    with pyplot.rc_context({"font.size": 11}):
        figure, axes = pyplot.subplots(2, len(AXES), figsize=(15, 7.5), sharex="col", layout="constrained")
        for column, axis in enumerate(AXES):
            for line, metric in enumerate(("time", "time / limit")):
                panel = axes[line, column]
                for name, (colour, dash, marker) in STYLES.items():
                    own = [row for row in rows if row["case"] == f"against {axis}" and row["metric"] == metric]
                    own = [row for row in own if row["implementation"] == name]
                    scale = 1e3 if metric == "time" else 1.0
                    panel.errorbar(
                        [row[axis] for row in own],
                        [scale * row["value"] for row in own],
                        [scale * row["error"] for row in own],
                        color=colour, linestyle=dash, marker=marker, markersize=5, capsize=3, linewidth=1.5,
                        label=name,
                    )  # fmt: skip
                _axis(panel, AXES[axis])
                panel.grid(True, color="0.85", linewidth=0.6)
                if metric == "time":
                    panel.set_yscale("log")
                    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
                    panel.yaxis.set_major_formatter(ScalarFormatter())
                    panel.yaxis.set_minor_locator(NullLocator())
                else:
                    panel.axhline(1.0, color="0.0", linewidth=0.8)
                    panel.set_xlabel(WORDS[axis])
        axes[0, 0].set_ylabel("time of a step, ms")
        axes[1, 0].set_ylabel("time / limit")
        base = ", ".join(f"{letter}={value}" for letter, value in BASE.items())
        figure.suptitle(f"A training step of the VAE; where a size is not varied it is {base}. Bars: standard errors.")
        handles, names = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False, handlelength=4)
        figure.savefig(path, dpi=110)
        pyplot.close(figure)


def draw_memory(rows: list[dict[str, Any]], path: Path) -> None:
    """Peaks against S, a panel for each C."""
    from matplotlib import pyplot

    lines = {
        ("RLOO", "ids"): ("tab:blue", "-", "^"),
        ("Tree", "ids"): ("tab:orange", "-.", "D"),
        ("RLOO", "one-hots"): ("0.45", "--", "s"),
        ("Tree", "one-hots"): ("0.0", ":", "o"),
    }
    with pyplot.rc_context({"font.size": 11}):
        figure, axes = pyplot.subplots(
            1, len(MEMORY_CATEGORIES), figsize=(12, 4.5), layout="constrained", squeeze=False
        )
        for panel, categories in zip(axes[0], MEMORY_CATEGORIES, strict=True):
            for (name, given), (colour, dash, marker) in lines.items():
                own = [row for row in rows if row["case"] == f"memory, f of {given}" and row["C"] == categories]
                own = [row for row in own if row["implementation"] == name and row["metric"] == "peak memory"]
                logits = 4 * BASE["B"] * BASE["V"] * categories
                panel.plot(
                    [row["S"] for row in own],
                    [row["value"] / logits for row in own],
                    color=colour, linestyle=dash, marker=marker, markersize=5, linewidth=1.5,
                    label=f"{name}, f of {given}",
                )  # fmt: skip
            _axis(panel, MEMORY_POINTS)
            panel.set_title(f"C = {categories}")
            panel.set_ylim(0)
            panel.grid(True, color="0.85", linewidth=0.6)
            panel.set_xlabel(WORDS["S"])
        axes[0, 0].set_ylabel("peak memory / memory of the logits")
        handles, names = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False, handlelength=4)
        figure.savefig(path, dpi=110)
        pyplot.close(figure)


def _axis(panel: Any, values: tuple[int, ...]) -> None:
    """A logarithmic axis with the sizes that were measured on it."""
    panel.set_xscale("log")
    panel.xaxis.set_major_locator(FixedLocator(values))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(ScalarFormatter())


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description="Cost and memory of a step against its sizes.")
    parser.add_argument("--draw", action="store_true", help="draw the results that are there, and measure nothing")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the results are")
    arguments = parser.parse_args()
    if not arguments.draw:
        set_threads()
        where = provenance()
        write([{**where, **row} for row in costs() + memory()], arguments.folder)
    rows = read("scaling", folder=arguments.folder)
    draw_costs(rows, arguments.folder / "scaling.png")
    draw_memory(rows, arguments.folder / "memory.png")
    print(arguments.folder / "scaling-cpu.csv", arguments.folder / "scaling.png", arguments.folder / "memory.png")


if __name__ == "__main__":
    main()
