"""Words for the relations of a graph, from which questions of several hops are put together."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

THIRD = 3
"""One of so many combinations of words is never used in training."""


class Wording(NamedTuple):
    """Several ways to say one thing, with {} for what it is said of."""

    learned: tuple[str, ...]
    """For questions to train on."""
    new: tuple[str, ...]
    """In which nothing is asked in training, though all of their words occur there."""


class Phrases(NamedTuple):
    """What questions about a graph are made of."""

    relations: Mapping[str, Wording]
    """Of a relation's objects, by its name."""
    never: frozenset[tuple[str, str]] = frozenset()
    """Relations that are not asked for one after the other, since they lead back."""


def wordings(nouns: Sequence[str], frames: Sequence[str]) -> Wording:
    """Every noun in every frame, in the place of its NOUN; every third of them is new."""
    both: tuple[list[str], list[str]] = ([], [])
    for (place, noun), (other, frame) in itertools.product(enumerate(nouns), enumerate(frames)):
        both[(place + other) % THIRD == 0].append(frame.replace("NOUN", noun))
    return Wording(tuple(both[0]), tuple(both[1]))


FRAMES = (
    "the NOUN of {}",
    "{}'s NOUN",
    "the NOUN that {} has",
    "the NOUN that belongs to {}",
    "what is said to be the NOUN of {}",
    "whatever counts as {}'s NOUN",
)
ASKED = wordings(("what is", "name", "tell me"), ("NOUN {}", "please NOUN {}", "NOUN {} if you can"))
"""Around a whole question."""

GEONAMES = Phrases(
    {
        name: wordings(nouns, FRAMES)
        for name, nouns in {
            "located_in": ("country", "nation", "state"),
            "timezone": ("time zone", "local time", "clock"),
            "borders": ("neighbours", "neighbouring lands", "adjacent lands"),
            "capital": ("capital", "chief town", "seat of government"),
            "continent": ("continent", "part of the world", "landmass"),
            "currency": ("currency", "money", "legal tender"),
            "dialling_code": ("dialling code", "telephone prefix", "number to dial"),
            "language": ("languages", "tongues", "ways of speaking"),
        }.items()
    },
    never=frozenset({("borders", "borders"), ("capital", "located_in")}),
)

WORDNET = Phrases(
    {
        name: wordings(nouns, FRAMES)
        for name, nouns in {
            "antonym": ("opposite", "contrary", "antonym"),
            "domain_region": ("region of use", "land where one says so", "dialect"),
            "domain_topic": ("topic", "subject", "field of knowledge"),
            "domain_usage": ("style", "register", "sort of expression"),
            "hypernym": ("kind", "genus", "general term"),
            "instance_hypernym": ("class", "category", "description"),
            "member_holonym": ("group", "community", "collective"),
            "part_holonym": ("whole", "larger thing", "containing thing"),
            "substance_holonym": ("product", "stuff made from it", "result of its use"),
        }.items()
    },
    never=frozenset({("antonym", "antonym")}),
)
