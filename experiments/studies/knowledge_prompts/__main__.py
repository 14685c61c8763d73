"""The command."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from experiments.studies.knowledge_prompts.runs import ROWS, carry_out, composed, keep, trials
from experiments.studies.knowledge_prompts.times import ratios
from experiments.studies.trials import ROOT, parsed, told

PARTS = ("prompts", "codes", "linking")


def main() -> None:
    """Go through the runs of one part or all, and keep the row of each as soon as it is done."""
    parser = argparse.ArgumentParser(
        "python -m experiments.studies.knowledge_prompts", description="Knowledge prompts.", allow_abbrev=False
    )
    parser.add_argument("part", choices=("runs", *PARTS, "times"))
    parser.add_argument("--seeds", type=lambda text: [int(part) for part in text.split(",")], default=range(3))
    parser.add_argument("--runs", type=Path, default=Path("runs/knowledge_prompts"), help="folder for the runs")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="folder for the rows")
    options, arguments = parsed(parser)
    torch.set_num_threads(1)
    if options.part == "times":
        for (name, entities), ratio in ratios().items():
            print(f"{name} gradients, {entities:,} entities: {ratio:.2f}")
        return
    with told():
        for part in PARTS if options.part == "runs" else (options.part,):
            for trial in trials(part, options.seeds):
                row = carry_out(trial, composed(trial, arguments, options.runs))
                keep(row, options.out / ROWS)
                print(*trial, row["em"], row["accuracy"], flush=True)


if __name__ == "__main__":
    main()
