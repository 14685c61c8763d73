"""The command."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from experiments.studies.skill import page
from experiments.studies.skill.runs import GRAPHS, ROWS, carry_out, composed, keep, trials
from experiments.studies.skill.variance import measure
from experiments.studies.trials import ROOT, parsed, told


def main() -> None:
    """Go through the runs, and keep the rows of each as soon as it is done; or measure variances, or write the page."""
    parser = argparse.ArgumentParser("python -m experiments.studies.skill", description="SKILL.", allow_abbrev=False)
    parser.add_argument("part", choices=("paths", "variance", "page"))
    parser.add_argument("--graph", choices=GRAPHS, default=GRAPHS[0])
    parser.add_argument("--seeds", type=lambda text: tuple(map(int, text.split(","))), default=range(5), help="0,1,2")
    parser.add_argument("--runs", type=Path, default=Path("runs/skill_study"), help="folder for the runs")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="folder for the rows and the page")
    options, arguments = parsed(parser)
    torch.set_num_threads(1)
    with told():
        if options.part == "page":
            page.write(options.out)
            return
        if options.part == "variance":
            measure(options.out, arguments)
            return
        for trial in trials(options.graph, options.seeds):
            rows = carry_out(trial, composed(trial, arguments, options.runs))
            keep(rows, options.out / ROWS)
            print(*trial, *(rows[-1][name] for name in ("lookups", "held_out", "reworded", "seconds")), flush=True)


if __name__ == "__main__":
    main()
