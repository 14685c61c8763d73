"""The command."""

from __future__ import annotations

import torch

from experiments.studies.knowledge_prompts import maps, page
from experiments.studies.knowledge_prompts.runs import ROWS, carry_out, composed, keep, trials
from experiments.studies.knowledge_prompts.times import ratios
from experiments.studies.trials import parsed, study, told

PARTS = ("prompts", "codes", "linking")


def main() -> None:
    """Go through the runs of one part or all, and keep the row of each as soon as it is done; or write the page."""
    parts = ("runs", *PARTS, "times", "map", "page")
    options, arguments = parsed(study("knowledge_prompts", parts, range(3), "knowledge_prompts"))
    torch.set_num_threads(1)
    if options.part == "times":
        for (name, entities), ratio in ratios().items():
            print(f"{name} gradients, {entities:,} entities: {ratio:.2f}")
        return
    with told():
        if options.part == "map":
            maps.write(options.runs, options.out)
            return
        if options.part == "page":
            page.write(options.out)
            return
        for part in PARTS if options.part == "runs" else (options.part,):
            for trial in trials(part, options.seeds):
                row = carry_out(trial, composed(trial, arguments, options.runs))
                keep(row, options.out / ROWS)
                print(*trial, row["em"], row["accuracy"], flush=True)


if __name__ == "__main__":
    main()
