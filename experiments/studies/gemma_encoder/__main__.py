"""The command."""

from __future__ import annotations

import torch

from experiments.studies.gemma_encoder import page
from experiments.studies.gemma_encoder.runs import PARTS, ROWS, TASKS, carry_out, composed, keep, trials
from experiments.studies.trials import parsed, study, told


def main() -> None:
    """Go through the runs, and keep the row of each as soon as it is done; or write the page."""
    parser = study("gemma_encoder", ("runs", *PARTS, "page"), range(3), "gemma_encoder_study")
    parser.add_argument("--tasks", nargs="+", choices=[*TASKS], default=[*TASKS], help="some of them")
    options, arguments = parsed(parser)
    torch.set_num_threads(1)
    with told():
        if options.part == "page":
            page.write(options.out)
            return
        parts = PARTS if options.part == "runs" else (options.part,)
        for trial in trials(parts, options.tasks, options.seeds):
            row = carry_out(trial, composed(trial, arguments, options.runs))
            keep(row, options.out / ROWS)
            print(*trial, row["score"], row["seconds"], flush=True)


if __name__ == "__main__":
    main()
