"""Write what a run has learned for others to load: `python -m experiments.export RUN FOLDER`.

A system whose task has a method `export` says in which form; towers of texts become models of sentence-transformers.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from experiments.command import refuse
from experiments.engine import Run
from experiments.errors import UserError
from experiments.train import build


def trained(folder: Path) -> Run:
    """A run with what it has learned, in evaluation mode; nothing is written.

    Raises:
        UserError: where the folder holds none of this version of the experiments.
    """
    path = folder / "config.yaml"
    if not path.exists():
        raise UserError(f"{folder} is no folder of a run of experiments.train: it has no config.yaml.")
    config = OmegaConf.load(path)
    assert isinstance(config, DictConfig)
    run = build(config)
    state = run.folder.load(folder / "checkpoint.pt", None, run.world.device)
    run.task.load_state_dict(state["task"])
    run.task.eval()
    return run


def export(run: Path, folder: Path) -> str:
    """Do it; what there is to say of it.

    Raises:
        UserError: rather than overwrite anything, or where the run's system has nothing to export.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is no folder; name another.")
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty, and nothing is overwritten; name another folder.")
    task = trained(run).task
    write = getattr(task, "export", None)
    if write is None:
        raise UserError(f"{run} holds a run of {type(task).__name__}, which has nothing to export.")
    return str(write(folder))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser("python -m experiments.export", description="Write what a run has learned.")
    parser.add_argument("run", type=Path, help="folder of a run")
    parser.add_argument("folder", type=Path, help="to write to")
    options = parser.parse_args()
    try:
        print(export(options.run, options.folder))
    except UserError as error:
        refuse(str(error))


if __name__ == "__main__":
    main()
