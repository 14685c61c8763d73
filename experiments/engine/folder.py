"""The run folder: claimed once, never overwritten, with a checkpoint that is whole or not there."""

from __future__ import annotations

from collections.abc import Mapping
from operator import methodcaller
from pathlib import Path
from typing import Any

import torch

from experiments.errors import UserError
from experiments.files import write_whole

FORMAT = 3
"""Of checkpoints; raised when an older one can no longer be taken up."""


class Folder:
    """Where a run's files lie.

    Args:
        path: of the folder; it need not exist.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.checkpoint = self.path / "checkpoint.pt"
        """All that the run needs to go on."""
        self.metrics = self.path / "metrics.csv"
        """The table of what was recorded."""

    def claim(self, resume: bool | str) -> bool:
        """Make the folder, or see that the run in it may go on; whether there is one.

        Args:
            resume: False, True, or "auto": True if the folder holds a run.

        Raises:
            UserError: rather than overwrite anything.
            OSError: where it cannot be made, or looked into.
        """
        present = self.checkpoint.exists()
        if resume is True and not present:
            raise UserError(f"{self.path} holds no checkpoint to resume; leave out resume=true, or name its run.dir.")
        self.path.mkdir(parents=True, exist_ok=True)
        in_the_way = resume is False if present else any(self.path.glob("[!.]*"))
        if in_the_way:
            held, do = ("a run", "go on with it by resume=true, or ") if present else ("something that is no run", "")
            raise UserError(f"{self.path} holds {held}, and nothing is overwritten; {do}name another run.dir=FOLDER.")
        return present

    def describe(self, files: Mapping[str, bytes]) -> None:
        """Keep files beside the results, by their names."""
        for name, content in files.items():
            write_whole(self.path / name, methodcaller("write", content))

    def save(self, state: dict[str, Any], keep: bool) -> None:
        """Write the checkpoint.

        Args:
            state: with the identity of the run: what must not change before it goes on.
            keep: whether to keep it beside the last one, as checkpoint-STEP.pt.
        """
        write_whole(self.checkpoint, lambda file: torch.save(state | {"format": FORMAT}, file))
        if keep:
            content = self.checkpoint.read_bytes()
            write_whole(self.path / f"checkpoint-{state['step']}.pt", lambda file: file.write(content))

    def load(self, path: Path, identity: dict[str, Any] | None, device: torch.device) -> dict[str, Any]:
        """The state in a checkpoint of this run.

        Args:
            path: of the checkpoint.
            identity: of the run that goes on; None: nothing goes on, the state is looked at.
            device: where its tensors come to lie.

        Raises:
            UserError: where it cannot be read, or is of another run.
        """
        try:
            state = torch.load(path, map_location=device, weights_only=True)
            before, version = state["identity"], state.get("format", 1)
        except Exception as error:
            # torch's own words go on for a page, and recommend to load the file unsafely
            said = error if isinstance(error, OSError) else "it is damaged, or no checkpoint"
            raise UserError(f"{path} cannot be read ({said}); restore it, or start anew in another run.dir.") from error
        if version != FORMAT:
            raise UserError(f"{path} is of another version; finish it with that one, or start anew in another run.dir.")
        if identity is None:
            return state
        changed = [key for key in before | identity if before.get(key) != identity.get(key)]
        if changed:
            found = ", ".join(f"{key}={before.get(key)} instead of {identity.get(key)}" for key in changed)
            raise UserError(f"{self.path} holds a run with {found}; give the same to resume it, or another run.dir.")
        return state
