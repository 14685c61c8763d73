"""The command."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from experiments.collect.groups import grouped
from experiments.collect.report import write
from experiments.collect.runs import found_in, read
from experiments.command import refuse
from experiments.errors import UserError


def main() -> None:
    """Read, group, write."""
    parser = argparse.ArgumentParser("python -m experiments.collect", description="Mean and error over seeds of runs.")
    parser.add_argument("runs", type=Path, nargs="+", help="folders of runs, or folders that hold some, however deep")
    parser.add_argument("--out", type=Path, default=Path("runs/collected"), help="folder to write to")
    parser.add_argument("--title", default="Runs, collected")
    options = parser.parse_args()
    command = shlex.join(["python", "-m", "experiments.collect", *sys.argv[1:]])
    try:
        runs = [read(folder) for folder in found_in(options.runs)]
        path = write(grouped(runs), runs, options.title, command, options.out)
    except UserError as error:
        refuse(str(error))
    for run in runs:
        if run.note:
            print(f"{run.folder}: {run.note}", file=sys.stderr)
    print(f"{len(runs)} runs: {path}")


if __name__ == "__main__":
    main()
