"""Facts about entities, asked one by one, and text that does not have them: for memories beside a language model."""

from __future__ import annotations

import functools
import hashlib
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import NamedTuple

from experiments.data.knowledge import Entity, KnowledgeGraph, geonames, wordnet_graph
from experiments.data.wordnet import wordnet
from experiments.errors import UserError, require_count, require_number

CACHE = "~/.cache/discretegrad"
MASK = "<extra_id_0>"
"""What stands for the object of a fact: a sentinel of T5's."""
MOST_JUDGED = 10_000
INVERSE = " of"
"""Behind a relation that is asked from its object."""
PHRASES = {
    "hypernym": "kind of",
    "instance_hypernym": "instance of",
    "part_holonym": "part of",
    "member_holonym": "member of",
    "substance_holonym": "substance of",
    "antonym": "opposite of",
    "domain_topic": "topic",
    "domain_region": "region",
    "domain_usage": "usage",
    "hypernym of": "kinds",
    "instance_hypernym of": "instances",
    "part_holonym of": "parts",
    "member_holonym of": "members",
    "substance_holonym of": "substances",
    "domain_topic of": "topic of",
    "domain_region of": "region of",
    "domain_usage of": "usage of",
}
"""WordNet's relations as they are asked."""


class Corpus(NamedTuple):
    """Texts for a language model."""

    train: Sequence[str]
    judged: Sequence[str]
    """That nothing trains on."""
    statements: Sequence[tuple[str, str]]
    """Facts about other entities: a text with `MASK` at its end, and what stands there."""
    names: Sequence[str]
    """What the tokenizer is to know besides."""
    cache: str
    """A folder for what takes long to make of the texts, such as a tokenizer."""


class EntityFact(NamedTuple):
    """What is said of an entity by one relation."""

    entity: int
    """Its number among the entities."""
    relation: str
    """As it is asked."""
    objects: tuple[str, ...]
    """Answers to learn."""
    right: tuple[str, ...]
    """All that count as right."""


def asked(name: str, relation: str) -> str:
    """A fact whose object is to be said, as SKILL writes triples (arXiv 2205.08184): "dog, part of, [MASK]"."""
    return f"{name}, {relation}, {MASK}"


class Mention(NamedTuple):
    """An entity by a name that others have too, in a context that tells which is meant."""

    entity: int
    context: str
    senses: tuple[int, ...]
    """All entities of that name, in the graph's order."""


class EntityFacts(NamedTuple):
    """Facts of some entities."""

    name: str
    entities: tuple[Entity, ...]
    """Their kind, and the name that they are asked by."""
    learned: tuple[EntityFact, ...]
    held_out: tuple[EntityFact, ...]
    """Of other relations of the same entities; nobody can know them who has only learned the others."""
    mentions: tuple[Mention, ...]
    """Of entities whose name is ambiguous."""
    corpus: Corpus
    """Without those facts."""


@functools.cache
def wordnet_facts(
    entities: int | None = 4000,
    held_out: float = 0.2,
    most: int = 3,
    texts: int | None = None,
    judged: int = 1000,
    cache: str = CACHE,
) -> EntityFacts:
    """WordNet's nouns of ambiguous words, all senses of each; definitions of all other nouns, and their facts, as text.

    An entity is asked by the word that it was chosen by. The context of a mention is its definition, which is in no
    text.

    Args:
        entities: how many at most, of some 33,000; the smaller of two sets is within the larger; None: all.
        held_out: the share of (entity, relation) that is not learned, where an entity has another one.
        most: objects to learn, of an entity and a relation.
        texts: definitions to train on, and facts about others, at most; None: all.
        judged: definitions that language models are judged by.
        cache: see `Corpus`.

    Raises:
        UserError: for what is no count and no share.
    """
    nouns = wordnet()
    senses: dict[str, list[int]] = defaultdict(list)
    for number, synset in enumerate(nouns.synsets):
        for lemma in dict.fromkeys(lemma.lower() for lemma in synset.lemmas):
            senses[lemma].append(number)
    if entities is not None:
        require_count("data.entities", entities, least=2)
    _require_sizes(texts, judged)
    chosen: dict[int, str] = {}
    for lemma in sorted((lemma for lemma, own in senses.items() if len(own) > 1), key=_hash):
        fresh = [number for number in senses[lemma] if number not in chosen]
        if entities is not None and len(chosen) + len(fresh) > entities:
            break
        chosen |= dict.fromkeys(fresh, lemma)
    graph = _both_ways(wordnet_graph())
    known = {number: tuple(synset.lemmas) for number, synset in enumerate(nouns.synsets)}
    phrased = graph._replace(relations=tuple(PHRASES.get(name, name) for name in graph.relations))
    split, places = _facts(phrased, chosen, known, held_out, most), {n: place for place, n in enumerate(chosen)}
    others = {number: synset.lemmas[0] for number, synset in enumerate(nouns.synsets) if number not in chosen}
    mentions = [
        Mention(place, nouns.synsets[number].gloss, tuple(places[other] for other in senses[chosen[number]]))
        for number, place in places.items()
    ]
    own = {nouns.synsets[number].gloss for number in chosen}
    glosses = [f"{', '.join(s.lemmas)}: {s.gloss}" for s in nouns.synsets if s.gloss not in own]
    named = tuple(Entity(nouns.synsets[number].lexname.removeprefix("noun."), word) for number, word in chosen.items())
    statements = _statements(phrased, chosen, others, known, most)
    corpus = _corpus(glosses, judged, statements, texts, named, split, cache)
    return EntityFacts("WordNet", named, *split, tuple(mentions), corpus)


@functools.cache
def geonames_facts(
    entities: int | None = None,
    held_out: float = 0.2,
    most: int = 3,
    texts: int | None = None,
    judged: int = 1000,
    cache: str = CACHE,
) -> EntityFacts:
    """GeoNames's cities and countries, of which some have a name in common; WordNet's definitions as text.

    Args:
        entities, held_out, most, texts, judged, cache: see `wordnet_facts`; None: all 31,094 that facts are about.

    Raises:
        UserError: for what is no count and no share.
    """
    graph = geonames()
    if entities is not None:
        require_count("data.entities", entities, least=2)
    _require_sizes(texts, judged)
    subjects = sorted({triple.subject for triple in graph.triples}, key=lambda n: _hash("\t".join(graph.entities[n])))
    chosen = {number: graph.entities[number].name for number in subjects[:entities]}
    known = {number: (entity.name,) for number, entity in enumerate(graph.entities)}
    phrased = graph._replace(relations=tuple(name.replace("_", " ") for name in graph.relations))
    split = _facts(phrased, chosen, known, held_out, most)
    others = {number: graph.entities[number].name for number in subjects[len(chosen) :]}
    glosses = [f"{', '.join(synset.lemmas)}: {synset.gloss}" for synset in wordnet().synsets]
    named = tuple(graph.entities[number] for number in chosen)
    statements = _statements(phrased, chosen, others, known, most)
    return EntityFacts("GeoNames", named, *split, (), _corpus(glosses, judged, statements, texts, named, split, cache))


def _statements(
    graph: KnowledgeGraph,
    chosen: Container[int],
    others: Mapping[int, str],
    names: Mapping[int, Sequence[str]],
    most: int,
) -> list[tuple[str, str]]:
    """The facts of entities that are not chosen, about each other alone, in the order of their hashes.

    Every other one is told before it is asked, "dog, kind of, canine; dog, kind of, [MASK]": what stands before a
    question is to be read, which long texts teach and definitions do not.
    """
    graph = graph._replace(triples=tuple(triple for triple in graph.triples if triple.object not in chosen))
    facts = _facts(graph, others, names, 0.0, most)[0] if others else ()
    called = [*others.values()]
    found = {(asked(called[fact.entity], fact.relation), f"{MASK} {name}") for fact in facts for name in fact.objects}
    order = sorted(found, key=lambda statement: _hash("\t".join(statement)))
    return [
        (f"{text.replace(MASK, said.removeprefix(MASK).strip())}; {text}" if n % 2 else text, said)
        for n, (text, said) in enumerate(order)
    ]


def _corpus(
    texts: Iterable[str],
    judged: int,
    statements: Sequence[tuple[str, str]],
    most: int | None,
    entities: Sequence[Entity],
    split: Sequence[Sequence[EntityFact]],
    cache: str,
) -> Corpus:
    """Texts in the order of their hashes, the last of which are judged by."""
    order = sorted(set(texts), key=_hash)
    names = dict.fromkeys(entity.name for entity in entities) | dict.fromkeys(
        name for facts in split for fact in facts for name in fact.right
    )
    return Corpus(order[:-judged][:most], order[-judged:], statements[:most], (*names,), cache)


def _facts(
    graph: KnowledgeGraph,
    chosen: Iterable[int],
    names: Mapping[int, Sequence[str]],
    held_out: float,
    most: int,
) -> tuple[tuple[EntityFact, ...], tuple[EntityFact, ...]]:
    """The chosen entities' facts, to learn and held out."""
    require_number("data.held_out", held_out, least=0, below=1)
    require_count("data.most", most)
    places = {number: place for place, number in enumerate(chosen)}
    objects: dict[int, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for subject, relation, tail in graph.triples:
        if subject in places:
            objects[subject][relation].append(tail)
    split: tuple[list[EntityFact], list[EntityFact]] = ([], [])
    for number, place in places.items():
        order = sorted(objects[number], key=lambda r: _hash(f"{number}\t{graph.relations[r]}"))
        for rank, relation in enumerate(order):
            tails = objects[number][relation]
            fact = EntityFact(
                place,
                graph.relations[relation],
                tuple(dict.fromkeys(names[tail][0] for tail in tails))[:most],
                tuple(dict.fromkeys(name for tail in tails for name in names[tail])),
            )
            share = int(_hash(f"{graph.relations[relation]}\t{number}")[:8], 16) / 16**8
            split[rank > 0 and share < held_out * len(order) / (len(order) - 1)].append(fact)
    if not split[0]:
        raise UserError(f"{graph.name} has no facts about data.entities={len(places)} entities; give more.")
    return tuple(split[0]), tuple(split[1])


def _both_ways(graph: KnowledgeGraph) -> KnowledgeGraph:
    """With inverse relations, but for the antonym, which is its own."""
    both = graph.both_ways(INVERSE)
    own = both.relations.index("antonym" + INVERSE)
    return both._replace(triples=tuple(triple for triple in both.triples if triple.relation != own))


def _require_sizes(texts: int | None, judged: int) -> None:
    if texts is not None:
        require_count("data.texts", texts)
    require_count("data.judged", judged)
    if judged > MOST_JUDGED:
        raise UserError(f"data.judged={judged} is more than {MOST_JUDGED}, and would leave few texts; give less.")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
