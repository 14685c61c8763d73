"""The command."""

from __future__ import annotations

import torch

from experiments.studies.gemini import page
from experiments.studies.gemini.runs import METHODS, ROWS, carry_out, composed, keep, trials
from experiments.studies.trials import parsed, study, told


def main() -> None:
    """Go through the runs, and keep the rows of each as soon as it is done; or write the page."""
    parser = study("gemini", ("runs", "page"), (0, 1, 2), "gemini_study")
    parser.add_argument("--steps", type=int, default=3000, help="of a joint run")
    parser.add_argument("--methods", nargs="+", choices=[*METHODS], default=[*METHODS], help="some of them")
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
