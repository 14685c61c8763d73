"""What a run starts from that another has learned."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from experiments.engine import UserError
from experiments.engine.folder import Folder
from experiments.parts.reader import saved_tokenizer


class Saved(NamedTuple):
    """Of a run, or of several that were averaged."""

    weights: dict[str, Tensor]
    tokenizer: str
    """As JSON."""
    seed: int | None
    """Of the run; an average has none."""


def saved(setting: str, folder: str, prefix: str) -> Saved:
    """The weights below a name, and the tokenizer that they go with.

    Args:
        setting: the name of the setting that names the folder, for refusals.
        folder: of the run.
        prefix: of the weights' names.

    Raises:
        UserError: where there is no such run.
    """
    place = Folder(folder)
    if not place.checkpoint.exists():
        raise UserError(f"{setting}={folder} holds no run; name the folder of one of the same system.")
    checkpoint = place.load(place.checkpoint, None, torch.device("cpu"))
    state = checkpoint["task"]
    weights = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    extra = state.get("_extra_state")
    if not weights or not isinstance(extra, dict) or "tokenizer" not in extra:
        raise UserError(f"{setting}={folder} holds a run of another system; name one of the same system.")
    return Saved(weights, saved_tokenizer(extra), checkpoint["identity"].get("run.seed"))


def take(setting: str, folder: str, module: nn.Module, weights: dict[str, Tensor]) -> None:
    """Give a module a run's weights.

    Args:
        setting, folder: see `saved`.
        module: that takes them.
        weights: of the run.

    Raises:
        UserError: where its sizes are others.
    """
    own = module.state_dict()
    if {n: w.shape for n, w in weights.items()} != {n: w.shape for n, w in own.items()}:
        sizes = "model.encoder, model.dimensions, task.vocabulary, task.length and task.trigrams"
        raise UserError(f"{setting}={folder} holds a run with another model; give {sizes} as there.")
    module.load_state_dict(weights)
