"""The command."""

from __future__ import annotations

import torch

from experiments.studies.codes import page
from experiments.studies.codes.runs import ROWS, carry_out, composed, floats, keep, trials
from experiments.studies.trials import parsed, study, told


def main() -> None:
    """Go through the runs, and keep the rows of each as soon as it is done; or write the page."""
    options, arguments = parsed(study("codes", ("runs", "page"), (0, 1, 2), "codes_study"))
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
