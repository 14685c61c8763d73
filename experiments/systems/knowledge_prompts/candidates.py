"""Entities that a name may mean, and others with names like it."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import torch
from torch import Tensor

from experiments.data.entity_facts import EntityFacts
from experiments.parts.embeddings import hashed

JUDGED = 5
"""One name out of so many is judged by."""
CHUNK = 512
SENSES = {"2": (2, 2), "3_4": (3, 4), "5_7": (5, 7), "8_more": (8, 10**9)}
"""Groups of names by how many entities have them."""


class Candidates(NamedTuple):
    """Of mentions, one a row."""

    entities: Tensor
    """int64 `[M, N]`: first all entities of the name, in the graph's order, then those with the likest names."""
    own: Tensor
    """int64 `[M]`: the column of the entity that is meant."""
    senses: Tensor
    """int64 `[M]`: how many of the entities have the name."""
    judged: Tensor
    """bool `[M]`: whether the name is judged by."""
    names: Tensor
    """`[M, N]`: how alike the entities' names are to the one that is meant, a cosine of trigrams."""


def candidates(facts: EntityFacts, count: int) -> Candidates:
    """Of all mentions, by trigrams of names: the retriever that fills up what is not ambiguous enough."""
    count = min(count, len(facts.entities))
    names = [facts.entities[mention.entity].name for mention in facts.mentions]
    places = {name: place for place, name in enumerate(dict.fromkeys(entity.name for entity in facts.entities))}
    vectors = hashed([*places])
    of_name = torch.tensor([places[entity.name] for entity in facts.entities])
    near: dict[int, list[int]] = {}
    looked_at = min(count + max(len(mention.senses) for mention in facts.mentions), len(facts.entities))
    for part in torch.tensor([places[name] for name in dict.fromkeys(names)]).split(CHUNK):
        found = (vectors[part] @ vectors.T)[:, of_name].topk(looked_at).indices  # of [names, E]
        near |= dict(zip(part.tolist(), found.tolist(), strict=True))
    rows, own, senses = [], [], []
    for mention, name in zip(facts.mentions, names, strict=True):
        kept = [sense for sense in mention.senses if sense != mention.entity][: count - 1]
        kept = sorted([*kept, mention.entity], key=mention.senses.index)
        others = [entity for entity in near[places[name]] if entity not in mention.senses]
        rows.append([*kept, *others][:count])
        own.append(kept.index(mention.entity))
        senses.append(len(kept))
    judged = [int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % JUDGED == 0 for name in names]
    entities = torch.tensor(rows)
    meant = vectors[torch.tensor([places[name] for name in names])]
    alike = torch.stack([(meant * vectors[of_name[column]]).sum(-1) for column in entities.T], 1)
    return Candidates(entities, torch.tensor(own), torch.tensor(senses), torch.tensor(judged), alike)
