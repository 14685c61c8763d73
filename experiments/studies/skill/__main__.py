"""The command."""

from __future__ import annotations

import torch

from experiments.parts.templates import SPLITS
from experiments.studies.skill import arms, page
from experiments.studies.skill.runs import GRAPHS, ROWS, carry_out, composed, keep, trials
from experiments.studies.skill.variance import measure
from experiments.studies.trials import parsed, study, told


def main() -> None:
    """Go through the runs, and keep the rows of each as soon as it is done; or measure variances, or write the page."""
    parser = study("skill", ("paths", "variance", "arms", "page"), None, "skill_study")
    parser.add_argument("--graph", choices=[*GRAPHS], default=next(iter(GRAPHS)), help="of paths")
    parser.add_argument("--splits", nargs="+", choices=SPLITS, default=SPLITS, help="of arms")
    options, arguments = parsed(parser)
    torch.set_num_threads(1)
    with told():
        if options.part == "page":
            page.write(options.out)
            return
        if options.part == "variance":
            measure(options.out, arguments)
            return
        if options.part == "arms":
            for asked in arms.trials(options.seeds or range(3), options.splits):
                row = arms.carry_out(asked, arguments, options.runs)
                arms.keep(row, options.out / arms.ROWS)
                print(*asked, *(row[name] for name in ("known", *arms.SHARES[:3], "asked_seconds")), flush=True)
            return
        for trial in trials(options.graph, options.seeds or range(5)):
            rows = carry_out(trial, composed(trial, arguments, options.runs))
            keep(rows, options.out / ROWS)
            print(*trial, *(rows[-1][name] for name in ("lookups", "held_out", "reworded", "seconds")), flush=True)


if __name__ == "__main__":
    main()
