"""The command."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from experiments.errors import UserError
from experiments.studies.page import DOCS, read
from experiments.studies.stages.page import write
from experiments.studies.stages.stage import measure


def main() -> None:
    """Measure and write after every stage; stages that are in the CSV file already are kept as they are."""
    parser = argparse.ArgumentParser("python -m experiments.studies.stages", description="Gradient variance on a VAE.")
    parser.add_argument("run", type=Path, help="folder of a run with kept checkpoints")
    parser.add_argument("--steps", type=int, nargs="+", required=True, help="which")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--learn", type=int, default=600, help="steps of learning for modules that the run has not")
    parser.add_argument("--most", type=int, default=400, help="pairs of estimates for one variance, at most")
    parser.add_argument("--rounds", type=int, default=15, help="of timing")
    parser.add_argument("--out", type=Path, default=DOCS, help="folder to write to")
    options = parser.parse_args()
    torch.set_num_threads(1)
    path = options.out / "stages.csv"
    lines = read(path) if path.exists() else []
    try:
        for step in options.steps:
            if not any(line["step"] == str(step) for line in lines):
                lines += measure(options.run, step, options.images, options.learn, options.most, options.rounds)
            write(lines, options.out, options.learn, options.images)
    except UserError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
