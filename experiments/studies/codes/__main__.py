"""The command."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from experiments.studies.codes import page
from experiments.studies.codes.runs import ROWS, carry_out, composed, floats, keep, trials
from experiments.studies.trials import ROOT, parsed, told


def main() -> None:
    """Go through the runs, and keep the rows of each as soon as it is done; or write the page."""
    parser = argparse.ArgumentParser("python -m experiments.studies.codes", description="Codes.", allow_abbrev=False)
    parser.add_argument("part", choices=("runs", "page"))
    parser.add_argument("--seeds", type=lambda text: tuple(map(int, text.split(","))), default=(0, 1, 2), help="0,1,2")
    parser.add_argument("--runs", type=Path, default=Path("runs/codes_study"), help="folder for the runs")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="folder for the rows and the page")
    options, arguments = parsed(parser)
    torch.set_num_threads(1)
    with told():
        if options.part == "page":
            page.write(options.out)
            return
        for number, trial in enumerate(trials(options.seeds)):
            config = composed(trial, arguments, options.runs)
            rows = [*(floats(config) if number == 0 else ()), *carry_out(trial, config)]
            keep(rows, options.out / ROWS)
            for row in rows:
                print(*(row[name] for name in ("structure", "variables", "method", "beam", "seed", "mrr")), flush=True)


if __name__ == "__main__":
    main()
