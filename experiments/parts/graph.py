"""A knowledge graph that is looked up by tensors of ids: what paths of relations reach from entities."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from experiments.data.knowledge import Entity, KnowledgeGraph
from experiments.errors import UserError


class Sets(NamedTuple):
    """Sets of entities, one a row, of any size."""

    rows: Tensor
    """int64 `[n]`, in ascending order: of which set each entity is."""
    entities: Tensor
    """int64 `[n]`, in ascending order within a row, each once."""

    def sizes(self, count: int) -> Tensor:
        """How many entities each of `count` sets has, int64 `[count]`."""
        return torch.bincount(self.rows, minlength=count)

    def take(self, index: Tensor, count: int) -> Sets:
        """Some of `count` sets, in the order of their rows `[n]`."""
        sizes = self.sizes(count)
        starts = (sizes.cumsum(0) - sizes)[index]
        place, own = ragged(starts, sizes[index])
        return Sets(own, self.entities[place])


class Graph:
    """Facts by subject and relation.

    Relation R, behind those of the graph, leads from every entity to itself: a path stays where it is.

    Args:
        knowledge: the facts, of E entities and R relations.
        device: where the tensors lie.
    """

    def __init__(self, knowledge: KnowledgeGraph, device: torch.device | None = None) -> None:
        self.knowledge = knowledge
        self.entities, self.relations = len(knowledge.entities), len(knowledge.relations)
        subject, relation, tail = torch.tensor(knowledge.triples, dtype=torch.int64, device=device).T
        own = torch.arange(self.entities, device=device)
        place = torch.cat([relation * self.entities + subject, self.stay * self.entities + own])
        order = (place * self.entities + torch.cat([tail, own])).sort().indices
        self._objects = torch.cat([tail, own])[order]
        counts = torch.bincount(place, minlength=(self.relations + 1) * self.entities)
        self._starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])

    @property
    def stay(self) -> int:
        """The number of the relation that leads from every entity to itself."""
        return self.relations

    def relation(self, name: str) -> int:
        """The number of a relation.

        Raises:
            UserError: where the graph has none of that name.
        """
        names = self.knowledge.relations
        if name not in names:
            raise UserError(f"{self.knowledge.name} has no relation {name!r}; it has {', '.join(names)}.")
        return names.index(name)

    def named(self, entities: Tensor) -> list[Entity]:
        """What entities `[n]` are called."""
        return [self.knowledge.entities[number] for number in entities.tolist()]

    def objects(self, entity: int, relation: int) -> Tensor:
        """All objects of an entity's facts of one relation, int64 `[n]`, in ascending order."""
        place = relation * self.entities + entity
        return self._objects[self._starts[place] : self._starts[place + 1]]

    def follow(self, sets: Sets, relations: Tensor) -> Sets:
        """All objects of the entities of each set.

        Args:
            sets: at most N of them.
            relations: which relation each set is followed by, int64 `[N]`.
        """
        place = relations[sets.rows] * self.entities + sets.entities
        starts = self._starts[place]
        places, origin = ragged(starts, self._starts[place + 1] - starts)
        found = (sets.rows[origin] * self.entities + self._objects[places]).unique()
        return Sets(found // self.entities, found % self.entities)

    def walk(self, starts: Tensor, paths: Tensor) -> Sets:
        """What paths reach.

        Args:
            starts: an entity each, int64 `[N]`.
            paths: relations, int64 `[N, V]`.
        """
        sets = Sets(torch.arange(len(starts), device=starts.device), starts)
        for relations in paths.unbind(-1):
            sets = self.follow(sets, relations)
        return sets

    def ended(self, paths: Tensor) -> Tensor:
        """Paths `[*, V]` that stay from the first relation on that stays, whatever stands behind it."""
        return paths.masked_fill((paths == self.stay).cummax(-1).values.bool(), self.stay)

    def overlap(self, found: Sets, wanted: Sets, count: int, repeats: int = 1) -> Tensor:
        """How many entities of each found set are wanted, int64 `[repeats * count]`.

        Args:
            found: `repeats` times `count` sets, row `r * count + i` compared with row `i` of the wanted ones.
            wanted: `count` sets.
            count, repeats: of sets.
        """
        keys = wanted.rows * self.entities + wanted.entities
        asked = found.rows % count * self.entities + found.entities
        place = torch.searchsorted(keys, asked).clamp(max=len(keys) - 1)
        hit = (keys[place] == asked) if len(keys) else asked.new_zeros(len(asked), dtype=torch.bool)
        return torch.bincount(found.rows[hit], minlength=count * repeats)


def ragged(starts: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """So many consecutive places from each start on, and which start each is from: int64 `[n]` both."""
    origin = torch.arange(len(starts), device=starts.device).repeat_interleave(counts)
    shift = starts - (counts.cumsum(0) - counts)
    return shift[origin] + torch.arange(len(origin), device=starts.device), origin
