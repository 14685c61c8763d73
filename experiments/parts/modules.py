"""The modules that a tower consists of, and towers that share some."""

from __future__ import annotations

from typing import Any

from torch import nn

from experiments.engine import UserError


def parameters_of_modules(tower: nn.Module, encoder: Any, projection: nn.Module) -> dict[str, list[str]]:
    """The names of a tower's parameters, by the module that they belong to, from the texts to the embedding.

    Modules are the embedder (of tokens), positions (whatever else comes before the layers, such as embeddings of
    positions and their normalisation), layer1, layer2, ... (with the last one, what follows it), and the projection.

    Args:
        tower: whose parameters are named.
        encoder, projection: in it.

    Raises:
        UserError: where the encoder is of an architecture whose layers are not to be found.
    """
    layers = _layers(encoder)
    where = {id(parameter): "embedder" for parameter in encoder.get_input_embeddings().parameters()}
    where |= {id(parameter): "projection" for parameter in projection.parameters()}
    for number, layer in enumerate(layers, start=1):
        where |= {id(parameter): f"layer{number}" for parameter in layer.parameters()}
    names = ("embedder", "positions", *(f"layer{number}" for number in range(1, len(layers) + 1)), "projection")
    found: dict[str, list[str]] = {name: [] for name in names}
    before = True
    for name, parameter in tower.named_parameters(remove_duplicate=False):
        module = where.get(id(parameter), "positions" if before else f"layer{len(layers)}")
        before = before and not module.startswith("layer")
        found[module].append(name)
    return {name: parameters for name, parameters in found.items() if parameters}


def _layers(encoder: Any) -> nn.ModuleList:
    count = encoder.config.num_hidden_layers
    for module in encoder.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    kind = encoder.config.model_type
    raise UserError(f"{kind} has no list of {count} modules, which its layers would be; use another architecture.")


def tie(tower: nn.Module, other: nn.Module, names: list[str]) -> None:
    """Give a tower the parameters of another, the same tensors, wherever they are named."""
    for name in names:
        path, _, leaf = name.rpartition(".")
        setattr(tower.get_submodule(path), leaf, other.get_parameter(name))
