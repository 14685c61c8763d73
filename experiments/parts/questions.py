"""Questions on a graph whose answers paths of relations reach, in columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from experiments.data.knowledge import KnowledgeGraph
from experiments.errors import UserError, require_count
from experiments.parts.graph import Sets

CACHE = "~/.cache/discretegrad"
BLANK = "{}"
HOPS = 3
COLUMNS = ("form", "starts", "paths", "group")


class Group(NamedTuple):
    """Questions that are judged together, such as those that one path answers."""

    name: str
    hops: int


@dataclass(frozen=True)
class Questions:
    """Questions in columns, one a row."""

    forms: tuple[str, ...]
    """Different texts, with {} where the entity's name stands."""
    form: Tensor
    """int64 `[N]`, which of them."""
    starts: Tensor
    """int64 `[N]`, the entity that is asked about."""
    paths: Tensor
    """int64 `[N, V]`, relations that lead to the answers, behind them that of staying; -1 where none is known."""
    answers: Sets
    """`N` sets: any of its entities answers a question."""
    group: Tensor
    """int64 `[N]`, which of the groups."""
    groups: tuple[Group, ...]

    def __len__(self) -> int:
        return len(self.form)

    def take(self, index: Tensor) -> Questions:
        """Some of the questions, `[n]`."""
        columns: dict[str, Any] = {name: getattr(self, name)[index] for name in COLUMNS}
        return replace(self, **columns, answers=self.answers.take(index, len(self)))

    def to(self, device: torch.device) -> Questions:
        """The same on another device."""
        columns: dict[str, Any] = {
            name: getattr(self, name).to(device) for name in ("form", "starts", "paths", "group")
        }
        return replace(self, **columns, answers=Sets(*(column.to(device) for column in self.answers)))

    def some(self, most: int | None) -> Tensor:
        """The numbers `[n]` of at most so many, and a few more: spread over all, and one of every group."""
        device = self.form.device
        step = 1 if most is None else max(math.ceil(len(self) / most), 1)
        first = torch.searchsorted(self.group, torch.arange(len(self.groups), device=device))
        return torch.cat([torch.arange(0, len(self), step, device=device), first]).unique()

    def texts(self, knowledge: KnowledgeGraph) -> list[str]:
        """As people ask them."""
        pairs = zip(self.form.tolist(), self.starts.tolist(), strict=True)
        return [self.forms[form].replace(BLANK, knowledge.entities[start].name) for form, start in pairs]

    def named_answers(self, knowledge: KnowledgeGraph) -> list[list[str]]:
        """The names of all answers of each question."""
        found: list[list[str]] = [[] for _ in range(len(self))]
        for row, entity in zip(self.answers.rows.tolist(), self.answers.entities.tolist(), strict=True):
            found[row].append(knowledge.entities[entity].name)
        return found


class QuestionSet(NamedTuple):
    """Questions to train on and to judge by; the graph holds the answers of both."""

    name: str
    knowledge: KnowledgeGraph
    train: Questions
    held_out: dict[str, Questions]
    """By the beginning of their figures' names: in words as in training, and in others."""
    cache: str = CACHE
    """A folder for what takes long to make of the texts, such as a tokenizer."""


def require_part(hops: Sequence[int], questions: int | None, held_out: int | None) -> list[int]:
    """The numbers of relations that are asked for.

    Raises:
        UserError: for other numbers, and for what is no count.
    """
    hops = [*hops]
    if not hops or any(hop not in range(1, HOPS + 1) for hop in hops):
        raise UserError(f"data.hops lists numbers from 1 to {HOPS}, not {hops}.")
    for setting, count in (("questions", questions), ("held_out", held_out)):
        if count is not None:
            require_count(f"data.{setting}", count)
    return hops
