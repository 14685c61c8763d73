"""The command."""

from __future__ import annotations

import torch

from experiments.studies.cedet import page
from experiments.studies.cedet.runs import PARTS, ROWS, carry_out, composed, keep, trials
from experiments.studies.trials import parsed, study, told


def main() -> None:
    """Go through the runs, and keep the row of each as soon as it is done; or write the page."""
    parser = study("cedet", ("runs", "page"), (0, 1, 2), "cedet_study")
    parser.add_argument("--steps", type=int, default=1500, help="of a run")
    parser.add_argument("--parts", nargs="+", choices=[*PARTS], default=[*PARTS], help="some of the runs")
    options, arguments = parsed(parser)
    if options.steps < 1:
        parser.error("--steps must be at least 1.")
    torch.set_num_threads(1)
    with told():
        if options.part == "page":
            page.write(options.out)
            return
        for trial in trials(options.parts, options.seeds):
            row = carry_out(trial, composed(trial, arguments, options.runs, options.steps))
            keep(row, options.out / ROWS)
            print(*(row[name] for name in ("scenes", "method", "seed", "ap50", "atlanta_ap50", "seconds")), flush=True)


if __name__ == "__main__":
    main()
