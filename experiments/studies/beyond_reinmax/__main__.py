"""Train, measure and write, a part at a time."""

from __future__ import annotations

import argparse
from pathlib import Path

from experiments.studies.beyond_reinmax import page, times
from experiments.studies.beyond_reinmax.runs import (
    AS_IT_IS,
    AT_FOUR,
    OURS,
    SEEDS,
    SIZES,
    carry_out,
    composed,
    keep,
    trials,
)
from experiments.studies.trials import ROOT, parsed, read, told

PARTS = ("first", "grid", "chosen", "times", "page")


def main() -> None:
    """Go through the runs of a part, and keep the rows of each as soon as it is done."""
    parser = argparse.ArgumentParser(
        "python -m experiments.studies.beyond_reinmax", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--sizes", type=listed, default=SIZES, help="categories x variables: 8x4,64x8")
    parser.add_argument("--methods", type=listed, default=tuple(dict.fromkeys(AS_IT_IS + AT_FOUR)), help="rloo2,flow4")
    parser.add_argument("--seeds", type=listed, default=SEEDS, help="0,1,2")
    parser.add_argument("--runs", type=Path, default=Path("runs/beyond_reinmax"), help="folder for the runs")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="folder for the rows and the page")
    parser.add_argument("--rounds", type=int, default=200, help="of timing")
    options, arguments = parsed(parser)
    with told():
        if options.part == "page":
            page.write(options.out)
        elif options.part == "times":
            times.measure(options.sizes, options.methods, options.rounds, options.out / times.TIMES)
        else:
            rows, seeds = options.out / OURS, [int(seed) for seed in options.seeds]
            for trial in trials(options.part, options.sizes, options.methods, seeds, read(rows)):
                keep(carry_out(trial, composed(trial, arguments, options.runs)), rows)
                print(*trial, flush=True)


def listed(text: str) -> tuple[str, ...]:
    """What commas separate."""
    return tuple(text.split(","))


if __name__ == "__main__":
    main()
