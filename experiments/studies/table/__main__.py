"""Measure and write: `python -m experiments.studies.table`."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from experiments.studies import page
from experiments.studies.table.rows import rows, text


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        "python -m experiments.studies.table", description="Measure every estimator; write estimators.csv and .md."
    )
    parser.add_argument("--device", default="cpu", help="where the times are taken")
    parser.add_argument("--out", type=Path, default=page.DOCS, help="folder to write to")
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = list(rows(options.device))
    device = "one CPU thread" if options.device == "cpu" else torch.cuda.get_device_name()
    options.out.mkdir(parents=True, exist_ok=True)
    page.write(options.out / "estimators", text(lines, device), {"estimators": (page.columns(lines), lines)})


if __name__ == "__main__":
    main()
