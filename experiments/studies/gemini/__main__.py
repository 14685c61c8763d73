"""The command."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from experiments.studies.gemini import page
from experiments.studies.gemini.runs import METHODS, ROWS, carry_out, composed, keep, trials
from experiments.studies.trials import ROOT, parsed, told


def main() -> None:
    """Go through the runs, and keep the rows of each as soon as it is done; or write the page."""
    parser = argparse.ArgumentParser("python -m experiments.studies.gemini", description="Tokens.", allow_abbrev=False)
    parser.add_argument("part", choices=("runs", "page"))
    parser.add_argument("--steps", type=int, default=3000, help="of a joint run")
    parser.add_argument("--seeds", type=lambda text: tuple(map(int, text.split(","))), default=(0, 1, 2), help="0,1,2")
    parser.add_argument("--methods", nargs="+", choices=[*METHODS], default=[*METHODS], help="some of them")
    parser.add_argument("--runs", type=Path, default=Path("runs/gemini_study"), help="folder for the runs")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="folder for the rows and the page")
    options, arguments = parsed(parser)
    if options.steps < 2:
        parser.error("--steps must be at least 2.")
    torch.set_num_threads(1)
    with told():
        if options.part == "page":
            page.write(options.out)
            return
        for trial in trials(options.methods, options.seeds, options.steps):
            rows = carry_out(trial, composed(trial, arguments, options.runs))
            keep(rows, options.out / ROWS)
            last = rows[-1]
            print(*(last[name] for name in ("method", "seed", "test_elbo", "test_bound", "seconds")), flush=True)


if __name__ == "__main__":
    main()
