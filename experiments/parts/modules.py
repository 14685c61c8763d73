"""The modules that a tower consists of, and towers that share some."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn


def parameters_of_modules(tower: nn.Module, encoder: Any, projection: nn.Module) -> dict[str, list[str]]:
    """The names of a tower's parameters, by the module that they belong to, from the texts to the embedding.

    Modules are the embedder (of tokens), positions (whatever else comes before the layers, such as embeddings of
    positions and their normalisation), layer1, layer2, ... (with the last one, what follows it), and the projection.
    Where an architecture has no list of its layers, as those that repeat one, all of them are layer1.

    Args:
        tower: whose parameters are named.
        encoder, projection: in it.
    """
    layers = _layers(encoder)
    where = {id(p): f"layer{number}" for number, layer in enumerate(layers, start=1) for p in layer.parameters()}
    where |= {id(p): "embedder" for p in encoder.get_input_embeddings().parameters()}
    where |= {id(p): "projection" for p in projection.parameters()}
    names = ("embedder", "positions", *(f"layer{number}" for number in range(1, len(layers) + 1)), "projection")
    found: dict[str, list[str]] = {name: [] for name in names}
    before = True
    for name, parameter in tower.named_parameters(remove_duplicate=False):
        module = where.get(id(parameter), "positions" if before else f"layer{len(layers)}")
        before = before and not module.startswith("layer")
        found[module].append(name)
    return {name: parameters for name, parameters in found.items() if parameters}


def _layers(encoder: Any) -> Sequence[nn.Module]:
    count = encoder.config.num_hidden_layers
    lists = [module for module in encoder.modules() if isinstance(module, nn.ModuleList) and len(module) == count]
    return list(lists[0]) if lists else [getattr(encoder, "encoder", encoder)]


def tie(tower: nn.Module, other: nn.Module, names: list[str]) -> None:
    """Give a tower the parameters of another, the same tensors, wherever they are named."""
    for name in names:
        path, _, leaf = name.rpartition(".")
        setattr(tower.get_submodule(path), leaf, other.get_parameter(name))
