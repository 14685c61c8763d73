"""Knowledge graphs: entities by their kind and name, and triples of subject, relation and object."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from experiments.data.records import folder_of, lines
from experiments.data.wordnet import checked_lines, wordnet
from experiments.errors import UserError, require_count

GEONAMES = Path(__file__).parent / "geonames" / "triples.tsv.gz"
GEONAMES_SHA256 = "f875c63fd2d6b4e553474c6ec68e0cf0d740073449d730e514d800237c227548"
"""Of its content."""
KINDS = {
    "located_in": ("city", "country"),
    "timezone": ("city", "time zone"),
    "borders": ("country", "country"),
    "capital": ("country", "city"),
    "continent": ("country", "continent"),
    "currency": ("country", "currency"),
    "dialling_code": ("country", "dialling code"),
    "language": ("country", "language"),
}
"""Of subjects and objects, by GeoNames's relations in their order."""
WIKI_FACT = re.compile(
    r"\d+ (.+?) ((?:directed|written)_by|starred_actors|release_year|in_language"
    r"|has_(?:tags|genre|imdb_votes|imdb_rating|plot)) (.+)"
)
"""Of WikiMovies: a movie, a relation, and objects with commas between them."""
ANY = "entity"
"""The kind of all entities of a graph whose names are all different."""


class Entity(NamedTuple):
    """What triples are about. A city, a country and a language may share a name."""

    kind: str
    name: str


class Triple(NamedTuple):
    """A fact, by the numbers of its parts in their graph."""

    subject: int
    relation: int
    object: int


class KnowledgeGraph(NamedTuple):
    """Facts of which each is there once."""

    name: str
    entities: tuple[Entity, ...]
    relations: tuple[str, ...]
    triples: tuple[Triple, ...]

    def numbers(self) -> dict[Entity, int]:
        """The place of every entity."""
        return {entity: number for number, entity in enumerate(self.entities)}

    def both_ways(self, suffix: str = "_of") -> KnowledgeGraph:
        """With the inverse of every relation behind them all, for questions that ask from the object."""
        relations = (*self.relations, *(relation + suffix for relation in self.relations))
        count = len(self.relations)
        inverse = (Triple(triple.object, count + triple.relation, triple.subject) for triple in self.triples)
        return self._replace(relations=relations, triples=(*self.triples, *inverse))


class Fact(NamedTuple):
    """A line of a graph's file."""

    number: int
    subject: str
    relation: str
    object: str


def graph_of(
    name: str, path: Path, facts: Iterable[Fact], kinds: Mapping[str, tuple[str, str]] | None = None
) -> KnowledgeGraph:
    """The graph of all facts in a file; a fact that is told twice is there once.

    Args:
        name: of the graph.
        path: of the file, for refusals.
        facts: its lines.
        kinds: of subjects and objects by relation, all that there are in their order; None: entities are of one kind,
            and relations are those that occur.

    Raises:
        UserError: that names the first line whose relation is unknown, or which lacks a part.
    """
    entities: dict[Entity, int] = {}
    relations = {relation: number for number, relation in enumerate(kinds or ())}
    triples: dict[Triple, None] = {}
    for fact in facts:
        if not all(part and part == part.strip() for part in fact[1:]):
            raise UserError(f"{path}, line {fact.number}, has a part that is empty or has blanks around it; mend it.")
        if kinds is not None and fact.relation not in kinds:
            known = ", ".join(kinds)
            raise UserError(
                f"{path}, line {fact.number}, has the relation {fact.relation!r}, which is none of {known}; mend it."
            )
        kind = (ANY, ANY) if kinds is None else kinds[fact.relation]
        subject = entities.setdefault(Entity(kind[0], fact.subject), len(entities))
        tail = entities.setdefault(Entity(kind[1], fact.object), len(entities))
        triples[Triple(subject, relations.setdefault(fact.relation, len(relations)), tail)] = None
    if not triples:
        raise UserError(f"{path} has no facts; restore it.")
    return KnowledgeGraph(name, tuple(entities), tuple(relations), tuple(triples))


@functools.cache
def geonames(cities: int | None = None) -> KnowledgeGraph:
    """64,059 facts on 30,842 cities and 252 countries, shipped with the experiments.

    Args:
        cities: that facts are about, in the order of a hash of their names, so that the smaller of two graphs is within
            the larger; None: all.

    Raises:
        UserError: where the file is damaged, or for what is no count.
    """
    if cities is not None:
        require_count("data.cities", cities)
        return _about(geonames(), cities)
    rows = checked_lines(GEONAMES, GEONAMES_SHA256)
    facts = (_fact(GEONAMES, number, row, "\t") for number, row in enumerate(rows, start=1))
    return graph_of("GeoNames", GEONAMES, facts, KINDS)


@functools.cache
def wordnet_graph() -> KnowledgeGraph:
    """WordNet's nouns: entity n is synset n of `wordnet()`, its kind the lexicographers' class, its name the words.

    Of several meanings of the same words in a class, the second has " (2)" behind its name, and so on.

    Raises:
        UserError: where a file is damaged.
    """
    nouns = wordnet()
    seen: dict[Entity, int] = {}
    entities = []
    for synset in nouns.synsets:
        entity = Entity(synset.lexname.removeprefix("noun."), ", ".join(synset.lemmas))
        seen[entity] = count = seen.get(entity, 0) + 1
        entities.append(entity if count == 1 else Entity(entity.kind, f"{entity.name} ({count})"))
    relations = {name: number for number, name in enumerate(sorted({r.name for r in nouns.relations}))}
    triples = tuple(Triple(head, relations[name], tail) for head, name, tail in nouns.relations)
    return KnowledgeGraph("WordNet", tuple(entities), tuple(relations), triples)


def wiki_movies(root: str | None) -> KnowledgeGraph:
    """The graph of MetaQA and WikiMovies, with inverse relations, from the file that either publishes.

    MetaQA (Zhang et al. 2018, arXiv 1709.04071) has kb.txt, "Kismet|directed_by|William Dieterle"; WikiMovies (Miller
    et al. 2016, arXiv 1606.03126) has wiki_entities_kb.txt, "1 Kismet directed_by William Dieterle", with an empty line
    between movies. Entities are known by name alone, as in the questions. WikiMovies's plots are texts and left out.

    Args:
        root: the folder with the file.

    Raises:
        UserError: where it is missing, or a line is broken.
    """
    folder = folder_of(root)
    names = ("kb.txt", "wiki_entities_kb.txt")
    path = next((folder / name for name in names if any(folder.glob(f"{name}*"))), None)
    if path is None:
        raise UserError(f"{folder} has neither kb.txt nor wiki_entities_kb.txt; name the folder with MetaQA's files.")
    numbered = ((number, line) for number, line in enumerate(lines(path), start=1) if line.strip())
    read = _wiki_movies(path, numbered) if path.name == names[1] else (_fact(path, *line, "|") for line in numbered)
    return graph_of("WikiMovies", path, read).both_ways()


def _about(graph: KnowledgeGraph, cities: int) -> KnowledgeGraph:
    """The facts about countries, and about so many cities."""
    subjects = {triple.subject for triple in graph.triples if graph.entities[triple.subject].kind == "city"}
    order = sorted(subjects, key=lambda number: hashlib.sha256(graph.entities[number].name.encode()).digest())
    left_out = {*order[cities:]}
    kept = [triple for triple in graph.triples if triple.subject not in left_out]
    numbers = {number: None for triple in kept for number in (triple.subject, triple.object)}
    place = {number: own for own, number in enumerate(numbers)}
    triples = tuple(Triple(place[subject], relation, place[tail]) for subject, relation, tail in kept)
    return graph._replace(entities=tuple(graph.entities[number] for number in numbers), triples=triples)


def _fact(path: Path, number: int, line: str, separator: str) -> Fact:
    parts = line.rstrip("\r\n").split(separator)
    if len(parts) != 3:
        raise UserError(f"{path}, line {number}, has {len(parts)} parts where a fact has three; mend it.")
    return Fact(number, *parts)


def _wiki_movies(path: Path, numbered: Iterable[tuple[int, str]]) -> Iterator[Fact]:
    for number, line in numbered:
        found = WIKI_FACT.fullmatch(line.rstrip("\r\n"))
        if found is None:
            raise UserError(f"{path}, line {number}, is no number, movie, relation and object; mend it.")
        subject, relation, objects = found.groups()
        if relation != "has_plot":
            yield from (Fact(number, subject, relation, part) for part in objects.split(", "))
