"""What is looked up for an entity: vectors of its own, or a code of few bits and what it stands for."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from experiments.errors import UserError, require_count
from experiments.parts.starts import saved


class Prompts(nn.Module):
    """A table of soft prompts, of which only looked-up rows get a gradient and are moved by their optimiser.

    Args:
        entities: E, rows of the table.
        length: P, vectors of an entity.
        width: D, of the language model's token embeddings.
        scale: of the numbers at the start; D of them have the length of a token's embedding.
    """

    def __init__(self, entities: int, length: int, width: int, scale: float) -> None:
        super().__init__()
        require_count("task.prompts", length)
        self.length, self.width = length, width
        self.table = nn.Embedding(entities, length * width, sparse=True)
        nn.init.normal_(self.table.weight, std=scale)

    def forward(self, entities: Tensor) -> Tensor:
        """Prompts `[*, P, D]` of entities `[*]`."""
        found: Tensor = self.table(entities)
        return found.unflatten(-1, (self.length, self.width))

    @property
    def bytes(self) -> float:
        """Of an entity."""
        return self.table.weight[0].numel() * self.table.weight.element_size()


class Form(NamedTuple):
    """Of codes."""

    variables: int
    """V, each of which chooses one vector of the prompt."""
    categories: int
    """C, vectors in the codebook of a variable."""


class Codes(nn.Module):
    """A code of V variables an entity; the codebooks, which all entities share, have the vectors.

    Args:
        entities: E.
        form: V and C.
        width, scale: see `Prompts`.
        spread: of the logits at the start.
    """

    def __init__(self, entities: int, form: Form, width: int, scale: float, spread: float = 0.1) -> None:
        super().__init__()
        require_count("task.prompts", form.variables)
        require_count("task.categories", form.categories, least=2)
        self.form = form
        self.table = nn.Embedding(entities, form.variables * form.categories, sparse=True)
        nn.init.normal_(self.table.weight, std=spread)
        self.codebooks = nn.Parameter(scale * torch.randn(form.variables, form.categories, width))

    def logits(self, entities: Tensor) -> Tensor:
        """`[*, V, C]` of entities `[*]`."""
        found: Tensor = self.table(entities)
        return found.unflatten(-1, tuple(self.form))

    def decode(self, code: Tensor) -> Tensor:
        """Prompts `[*, V, D]` of ids `[*, V]`, or of points `[*, V, C]`, which may be no corners."""
        if code.is_floating_point():
            return torch.einsum("...vc,vcd->...vd", code.to(self.codebooks.dtype), self.codebooks)
        return self.codebooks[torch.arange(self.form.variables, device=code.device), code]

    def forward(self, entities: Tensor) -> Tensor:
        """Prompts `[*, V, D]` by the likeliest code, as they are served."""
        return self.decode(self.logits(entities).argmax(-1))

    @property
    def bytes(self) -> float:
        """Of an entity's code; the codebooks do not grow with the entities."""
        return self.form.variables * math.log2(self.form.categories) / 8


def saved_prompts(folder: str, entities: int, width: int) -> Prompts:
    """The table that a run has trained.

    Raises:
        UserError: where there is none, or it is of other entities or another language model.
    """
    table = saved("task.memory", folder, "memory.table.").weights["weight"]
    if len(table) != entities or table.shape[1] % width:
        raise UserError(
            f"task.memory={folder} holds {len(table)} rows of {table.shape[1]} numbers, which are no prompts of the "
            f"{entities} entities for vectors of {width}; give the data and the language model as there."
        )
    found = Prompts(entities, table.shape[1] // width, width, 1.0)
    found.table.load_state_dict({"weight": table})
    return found
