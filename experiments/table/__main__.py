"""Measure and write: `python -m experiments.table`."""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import torch

from experiments.table.page import DOCS, markdown, rows


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Measure every estimator; write estimators.csv and estimators.md.")
    parser.add_argument("--device", default="cpu", help="where the times are taken")
    parser.add_argument("--out", type=Path, default=DOCS, help="folder to write to")
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = [row.cells() for row in rows(options.device)]
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "estimators.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    device = "one CPU thread" if options.device == "cpu" else torch.cuda.get_device_name()
    (options.out / "estimators.md").write_text(markdown(lines, device))


if __name__ == "__main__":
    main()
