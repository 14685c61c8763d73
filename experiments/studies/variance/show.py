"""Saved comparisons: print, merge and plot them.

    python -m experiments.studies.variance.show FILE... [--merge FILE] [--plot NAME] [--baseline NAME] [--to FILE.png]

Files of one problem, measured with different seeds or on different machines, are merged; others are shown one by one.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from discretegrad import analysis
from experiments.files import write_whole

PLOTS = ("variance_against_evaluations", "variance_time", "bias_variance", "layers")


def gather(files: Sequence[Path]) -> dict[str, analysis.Comparison]:
    """The comparisons, by the name of the first file of each problem.

    Raises:
        ValueError: for files that cannot be read, or that have the same replicates.
    """
    found: dict[str, analysis.Comparison] = {}
    for file in files:
        comparison = analysis.Comparison.load(file)
        same = next((name for name, other in found.items() if other.same_problem(comparison)), None)
        if same is None:
            found[file.stem if file.stem not in found else str(file)] = comparison
        else:
            found[same] = found[same].merge(comparison)
    return found


def main() -> None:
    """The command; what is wrong is one sentence and exit code 2."""
    parser = argparse.ArgumentParser("python -m experiments.studies.variance.show", description="Show comparisons.")
    parser.add_argument("files", type=Path, nargs="+", help="that analysis.compare(..., path=FILE) wrote")
    parser.add_argument("--merge", type=Path, help="write all of them, of one problem, to this file")
    parser.add_argument("--plot", choices=PLOTS, help="draw a figure")
    parser.add_argument("--baseline", help="estimator that the figure's numbers are over")
    parser.add_argument("--to", type=Path, default=Path("comparison.png"), help="the figure's file")
    options = parser.parse_args()
    try:
        found = gather(options.files)
        if options.merge is not None and len(found) > 1:
            raise ValueError(f"the files are of {len(found)} problems and cannot be merged into one.")
        if options.plot == "layers" and options.baseline is None:
            raise ValueError("a heat map of layers is over a baseline; give --baseline NAME.")
    except (ValueError, OSError) as error:
        parser.error(str(error))
    for name, comparison in found.items():
        print(f"{name}\n{comparison}\n")
        if options.merge is not None:
            comparison.save(options.merge)
    if options.plot is not None:
        from discretegrad.analysis import plots  # takes matplotlib with it

        rows: list[dict[str, Any]] = []
        for name, comparison in found.items():
            own = comparison.layer_rows() if options.plot == "layers" else comparison.rows()
            rows += [{"cell": name, **row} for row in own]
        over = {} if options.baseline is None else {"baseline": options.baseline}
        try:
            figure = getattr(plots, options.plot)(rows, **over)
        except TypeError:
            parser.error(f"{options.plot} has no baseline; leave it out.")
        suffix = options.to.suffix.lstrip(".") or "png"
        write_whole(options.to, partial(figure.savefig, format=suffix, dpi=200))
        print(options.to)


if __name__ == "__main__":
    main()
