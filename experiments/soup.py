"""Average what several runs have learned: `python -m experiments.soup FOLDER RUN RUN ...`.

A RUN is the folder of a run, or one of the checkpoints that it kept. FOLDER gets the average, which is judged beside
the runs: it can be exported, and started from, as a run can. Wortsman et al. 2022 (arXiv 2203.05482).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.command import refuse
from experiments.engine import Run
from experiments.engine.folder import FORMAT
from experiments.errors import UserError
from experiments.export import trained
from experiments.files import write_json, write_whole

Figures = dict[str, float]


def averaged(states: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """The mean of all floating-point numbers; the rest, such as a tokenizer, must be the same.

    Args:
        states: of one task after several trainings.
        names: of the runs, for refusals.

    Raises:
        UserError: where the runs are of different models, or read texts differently.
    """
    first = states[0]
    found: dict[str, Any] = {}
    for state, name in zip(states, names, strict=True):
        if [(k, _shape(v)) for k, v in state.items()] != [(k, _shape(v)) for k, v in first.items()]:
            raise UserError(f"{name} and {names[0]} are of different models, which cannot be averaged.")
    for key, value in first.items():
        every = [state[key] for state in states]
        if isinstance(value, Tensor) and value.is_floating_point():
            found[key] = torch.stack([each.double() for each in every]).mean(0).to(value.dtype)
        elif all(_same(value, each) for each in every):
            found[key] = value
        else:
            raise UserError(f"the runs have different tokenizers or the like ({key}); let them start from one run.")
    return found


def soup(folder: Path, places: Sequence[Path]) -> tuple[Figures, list[Figures]]:
    """Write the average; its figures on all held-out examples, and those of what it was made of.

    Raises:
        UserError: rather than overwrite anything, or where the runs do not go together.
    """
    if len(places) < 2:
        raise UserError("name two runs or more, whose average is to be taken.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is there already, and nothing is overwritten; name another folder.")
    files = [place / "checkpoint.pt" if place.is_dir() else place for place in places]
    run = trained(files[0].parent)
    loaded = [run.folder.load(file, None, run.world.device) for file in files]
    states = [state["task"] for state in loaded]
    average = averaged(states, [str(place) for place in places])
    figures = [_judged(run, state) for state in (average, *states)]
    folder.mkdir(parents=True, exist_ok=True)
    whole = {"identity": {"soup": [str(place) for place in places]}, "task": average, "format": FORMAT}
    config = (files[0].parent / "config.yaml").read_bytes()
    write_whole(folder / "config.yaml", lambda file: file.write(config))
    write_whole(folder / "checkpoint.pt", lambda file: torch.save(whole, file))
    write_json(folder / "soup.json", {"soup": figures[0]} | dict(zip(map(str, places), figures[1:], strict=True)))
    return figures[0], figures[1:]


def table(found: Figures, runs: Sequence[Figures]) -> str:
    """The figures of the average beside the mean and the best and the worst of the runs."""
    lines = [f"{'':24} {'average':>9} {'mean of runs':>13} {'lowest':>9} {'highest':>9}"]
    for name, value in found.items():
        own = [run[name] for run in runs]
        lines.append(f"{name:24} {value:9.4f} {sum(own) / len(own):13.4f} {min(own):9.4f} {max(own):9.4f}")
    return "\n".join(lines)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        "python -m experiments.soup", description="Average what several runs have learned."
    )
    parser.add_argument("folder", type=Path, help="to write to")
    parser.add_argument("runs", type=Path, nargs="+", help="folders of runs, or checkpoints that they kept")
    options = parser.parse_args()
    try:
        print(table(*soup(options.folder, options.runs)))
    except UserError as error:
        refuse(str(error))


def _judged(run: Run, state: dict[str, Any]) -> Figures:
    run.task.load_state_dict(state)
    run.task.eval()
    return run.task.evaluate(None)


def _same(value: Any, other: Any) -> bool:
    if isinstance(value, Tensor):
        return torch.equal(value, other)
    if isinstance(value, dict):
        return value.keys() == other.keys() and all(_same(own, other[key]) for key, own in value.items())
    return bool(value == other)


def _shape(value: Any) -> Any:
    return (value.shape, value.dtype) if isinstance(value, Tensor) else type(value)


if __name__ == "__main__":
    main()
