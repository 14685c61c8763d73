"""Questions by template: for every path of relations, in words put together, with exact sets of answers."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from experiments.data.knowledge import KnowledgeGraph, geonames, wordnet_graph
from experiments.data.phrases import ASKED, GEONAMES, WORDNET, Phrases
from experiments.errors import UserError
from experiments.parts.graph import Graph, Sets
from experiments.parts.questions import BLANK, CACHE, HOPS, Group, Questions, QuestionSet, require_part

SHARE = 10
"""One of so many entities is held out."""
SPLITS = ("cities", "countries")


def geonames_questions(
    split: str = "cities",
    hops: Sequence[int] = (1, 2, 3),
    cities: int | None = None,
    questions: int | None = 2000,
    held_out: int | None = 200,
    cache: str = CACHE,
) -> QuestionSet:
    """Questions of one to three hops on `geonames`.

    Args:
        split: cities: every tenth city or country is held out, by a hash of its name. All cities of a country have the
            same answers of two and three hops, so that training questions hold those of test questions too. countries:
            every tenth country is held out with all its cities, and training questions lead through none of them.
        cities: of the graph: see `geonames`.
        hops, questions, held_out, cache: see `template_questions`.

    Raises:
        UserError: for another split, and as `template_questions`.
    """
    if split not in SPLITS:
        raise UserError(f"data.split is one of {', '.join(SPLITS)}, not {split!r}.")
    knowledge = geonames(cities)
    owners = torch.arange(len(knowledge.entities))
    if split == "countries":
        located = knowledge.relations.index("located_in")
        pairs = torch.tensor([(t.subject, t.object) for t in knowledge.triples if t.relation == located])
        owners[pairs[:, 0]] = pairs[:, 1]
    apart = _hashes(knowledge)[owners] // 2**20 % SHARE == 0
    countries = torch.tensor([entity.kind == "country" for entity in knowledge.entities])
    passed = ~apart if split == "countries" else torch.ones_like(apart)
    name = f"GeoNames by {split}"
    return template_questions(name, knowledge, GEONAMES, apart, passed | ~countries, hops, questions, held_out, cache)


def wordnet_questions(
    hops: Sequence[int] = (1, 2, 3), questions: int | None = 500, held_out: int | None = 50, cache: str = CACHE
) -> QuestionSet:
    """Questions of one to three hops on `wordnet_graph`, of which every tenth noun is held out, by a hash.

    Args:
        hops, questions, held_out, cache: see `template_questions`.

    Raises:
        UserError: as `template_questions`.
    """
    knowledge = wordnet_graph()
    apart = _hashes(knowledge) // 2**20 % SHARE == 0
    anything = torch.ones_like(apart)
    return template_questions("WordNet", knowledge, WORDNET, apart, anything, hops, questions, held_out, cache)


def template_questions(
    name: str,
    knowledge: KnowledgeGraph,
    phrases: Phrases,
    apart: Tensor,
    passed: Tensor,
    hops: Sequence[int],
    questions: int | None,
    held_out: int | None,
    cache: str,
    least: int = 100,
) -> QuestionSet:
    """Questions for every path of relations that leads from enough entities to other ones.

    Args:
        name: of the set.
        knowledge: the graph.
        phrases: for its relations.
        apart: bool `[E]`, of which entities nothing is asked in training.
        passed: bool `[E]`, through which entities training questions may lead.
        hops: numbers of relations, 1 to 3.
        questions: of each path, to train on at most, the smaller of two sets within the larger; None: all.
        held_out: of each path, to judge by at most, likewise.
        cache: see `QuestionSet`.
        least: entities that a path starts from, or nothing is asked by it.

    Raises:
        UserError: for what is no count.
    """
    hops = require_part(hops, questions, held_out)
    graph, hashes = Graph(knowledge), _hashes(knowledge)
    own = torch.arange(graph.entities)
    everywhere = Sets(own, own)
    found: dict[str, list[Questions]] = {"train": [], "held_out": [], "reworded": []}
    paths = [p for p in _paths(graph, phrases, (), everywhere, max(hops), least) if len(p[0]) in hops]
    for path, answered in paths:
        starts = answered[hashes[answered].sort().indices]
        fair = starts[~apart[starts]]
        fair = fair[_leads_through(graph, fair, path, passed)][:questions]
        judged = starts[apart[starts]][:held_out]
        for part, rows in (("train", fair), ("held_out", judged), ("reworded", judged)):
            if len(rows):
                found[part].append(_asked(graph, phrases, path, rows, hashes, part == "reworded"))
    whole = {part: _together(parts) for part, parts in found.items()}
    return QuestionSet(name, knowledge, whole.pop("train"), whole, cache)


def _paths(
    graph: Graph, phrases: Phrases, path: tuple[int, ...], reached: Sets, hops: int, least: int
) -> Iterator[tuple[tuple[int, ...], Tensor]]:
    """All longer paths, each with the entities from which it leads to others than themselves."""
    names = graph.knowledge.relations
    for relation in range(graph.relations):
        if path and (names[path[-1]], names[relation]) in phrases.never:
            continue
        further = graph.follow(reached, reached.rows.new_full((graph.entities,), relation))
        sizes = further.sizes(graph.entities)
        sizes[further.rows[further.rows == further.entities]] = 0
        starts = sizes.nonzero().squeeze(-1)
        if len(starts) >= least:
            yield (*path, relation), starts
        if len(path) + 1 < hops and len(further.rows):
            yield from _paths(graph, phrases, (*path, relation), further, hops, least)


def _leads_through(graph: Graph, starts: Tensor, path: Sequence[int], passed: Tensor) -> Tensor:
    """Whether all entities between each start and its answers may be passed, bool `[N]`."""
    rows = torch.arange(len(starts))
    sets, fine = Sets(rows, starts), torch.ones(len(starts), dtype=torch.bool)
    for relation in path[:-1]:
        sets = graph.follow(sets, rows.new_full((len(starts),), relation))
        fine[sets.rows[~passed[sets.entities]]] = False
    return fine


def _asked(
    graph: Graph, phrases: Phrases, path: tuple[int, ...], starts: Tensor, hashes: Tensor, new: bool
) -> Questions:
    """Of each entity, in one of all ways to ask by the path."""
    names = graph.knowledge.relations
    wordings = [phrases.relations[names[relation]] for relation in path] + [ASKED]
    ways = [wording.new if new else wording.learned for wording in wordings]
    chosen, form = (hashes[starts] % math.prod(len(way) for way in ways)).unique(return_inverse=True)
    forms = tuple(_put_together(ways, number) for number in chosen.tolist())
    padded = torch.tensor([*path, *[graph.stay] * (HOPS - len(path))]).expand(len(starts), HOPS)
    group = Group(", ".join(names[relation] for relation in path), len(path))
    zeros = torch.zeros(len(starts), dtype=torch.int64)
    answers = graph.walk(starts, padded)
    return Questions(forms, form, starts, padded, answers, zeros, (group,))


def _put_together(ways: Sequence[Sequence[str]], number: int) -> str:
    """One of all combinations, each way around the one before."""
    text = BLANK
    for way in ways:
        number, own = divmod(number, len(way))
        text = way[own].replace(BLANK, text)
    return text


def _together(parts: Sequence[Questions]) -> Questions:
    """All of them, one group behind the other."""
    if not parts:
        raise UserError("no question can be asked of this graph; take other hops.")
    forms = [0, *itertools.accumulate(len(part.forms) for part in parts)]
    rows = [0, *itertools.accumulate(len(part) for part in parts)]
    answers = Sets(
        torch.cat([part.answers.rows + row for part, row in zip(parts, rows, strict=False)]),
        torch.cat([part.answers.entities for part in parts]),
    )
    return Questions(
        tuple(form for part in parts for form in part.forms),
        torch.cat([part.form + first for part, first in zip(parts, forms, strict=False)]),
        torch.cat([part.starts for part in parts]),
        torch.cat([part.paths for part in parts]),
        answers,
        torch.cat([part.group + number for number, part in enumerate(parts)]),
        tuple(group for part in parts for group in part.groups),
    )


def _hashes(knowledge: KnowledgeGraph) -> Tensor:
    """Of every entity's kind and name, int64 `[E]` and not negative: the same for ever, on every machine."""
    texts = (f"{entity.kind}\t{entity.name}".encode() for entity in knowledge.entities)
    return torch.tensor([int.from_bytes(hashlib.sha256(text).digest()[:8]) >> 1 for text in texts])
