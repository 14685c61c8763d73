"""The command."""

from __future__ import annotations

import torch

from experiments.studies.crobim import page
from experiments.studies.crobim.runs import METHODS, ROWS, carry_out, composed, keep, trials
from experiments.studies.trials import parsed, study, told


def main() -> None:
    """Go through the runs, and keep the row of each as soon as it is done; or write the page."""
    parser = study("crobim", ("runs", "page"), (0, 1, 2), "crobim_study")
    parser.add_argument("--methods", nargs="+", choices=[*METHODS], default=[*METHODS], help="some of them")
    options, arguments = parsed(parser)
    torch.set_num_threads(1)
    with told():
        if options.part == "page":
            page.write(options.out)
            return
        for trial in trials(options.methods, options.seeds):
            row = carry_out(trial, composed(trial, arguments, options.runs))
            keep([row], options.out / ROWS)
            print(*(row[name] for name in ("method", "seed", "miou", "miou_small", "seconds")), flush=True)


if __name__ == "__main__":
    main()
