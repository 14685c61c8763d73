"""The command."""

from __future__ import annotations

import torch

from experiments.errors import UserError
from experiments.studies.dual_encoders import maps, page
from experiments.studies.dual_encoders.runs import FEW, MANY, ROWS, STEPS, carry_out, composed, keep, trials
from experiments.studies.trials import numbers, parsed, study, told

PARTS = ("variants", "ties", "searches", "maps", "page")
SEEDS = {"variants": 5, "ties": 3, "searches": 3}


def main() -> None:
    """Go through the runs of a part, and keep the row of each as soon as it is done."""
    parser = study("dual_encoders", PARTS, None, "dual_encoders")
    parser.add_argument("--sizes", type=numbers, help="of training sets, such as 500,2000; ties: 2000,77000")
    options, arguments = parsed(parser)
    torch.set_num_threads(1)
    with told():
        if options.part == "page":
            page.write(options.out)
            return
        if options.part == "maps":
            maps.write(options.runs, options.out, options.sizes or (FEW, MANY))
            return
        sizes = options.sizes or (tuple(STEPS) if options.part == "variants" else (FEW, MANY))
        strange = [size for size in sizes if size not in STEPS]
        if strange:
            raise UserError(f"--sizes={strange[0]} is none of {', '.join(map(str, STEPS))}.")
        for trial in trials(options.part, sizes, options.seeds or range(SEEDS[options.part])):
            row = carry_out(trial, composed(trial, arguments, options.runs))
            keep(row, options.out / ROWS)
            print(*trial, row["found"], row["mrr"], flush=True)


if __name__ == "__main__":
    main()
