"""What a run starts from that another has learned."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from experiments.engine.folder import Folder
from experiments.errors import UserError
from experiments.parts.reader import saved_tokenizer
from experiments.parts.towers import TextModel


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


class NetworkModel(TextModel):
    """A model with a network of `transformers`, whose architecture goes with the checkpoint: see `started`."""

    network: Any

    def get_extra_state(self) -> Tensor:
        """For the checkpoint: the configuration of the network, as JSON in bytes."""
        stated = self.network.config.to_json_string(use_diff=False)
        return torch.frombuffer(bytearray(stated.encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Nothing: what is loaded into a model was one that was made alike."""


def started(folder: str, make: Callable[[Any], nn.Module]) -> tuple[Any, str]:
    """The network of a run of a `NetworkModel`, as that which pretrained weights bring along.

    Args:
        folder: of the run.
        make: the network of a configuration.

    Returns:
        The network, and its tokenizer as JSON.

    Raises:
        UserError: where there is no such run.
    """
    from transformers import AutoConfig

    weights, tokenizer, _ = saved("model.start", folder, "model.")
    stated = weights.pop("_extra_state", None)
    if stated is None:
        raise UserError(f"model.start={folder} holds a run that has not kept its architecture; train it again.")
    network: Any = make(AutoConfig.for_model(**json.loads(bytes(stated.tolist()))))
    first, last = network.get_input_embeddings(), network.get_output_embeddings()
    last.weight = nn.Parameter(
        last.weight.detach().clone()
    )  # that of T5 1.1 is its own, whatever its configuration says
    network.load_state_dict({name.removeprefix("network."): weight for name, weight in weights.items()})
    if torch.equal(first.weight, last.weight):
        network.tie_weights()
    return network, tokenizer


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
