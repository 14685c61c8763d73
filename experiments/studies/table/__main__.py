"""Measure and write: `python -m experiments.studies.table`."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from experiments.engine.files import write_table, write_whole
from experiments.studies.table.page import DOCS, markdown, rows


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Measure every estimator; write estimators.csv and estimators.md.")
    parser.add_argument("--device", default="cpu", help="where the times are taken")
    parser.add_argument("--out", type=Path, default=DOCS, help="folder to write to")
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = [row.cells() for row in rows(options.device)]
    options.out.mkdir(parents=True, exist_ok=True)
    device = "one CPU thread" if options.device == "cpu" else torch.cuda.get_device_name()
    write_table(options.out / "estimators.csv", list(lines[0]), lines)
    write_whole(options.out / "estimators.md", lambda file: file.write(markdown(lines, device).encode()))


if __name__ == "__main__":
    main()
