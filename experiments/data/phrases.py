"""Words for the relations of a graph, from which questions of several hops are put together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Wording(NamedTuple):
    """Several ways to say one thing, with {} for what it is said of."""

    learned: tuple[str, ...]
    """For questions to train on."""
    new: tuple[str, ...]
    """In which nothing is asked in training, though most of their words occur there."""


class Phrases(NamedTuple):
    """What questions about a graph are made of."""

    relations: Mapping[str, Wording]
    """Of a relation's objects, by its name."""
    never: frozenset[tuple[str, str]] = frozenset()
    """Relations that are not asked for one after the other, since they lead back."""


ASKED = Wording(
    ("what is {}?", "name {}.", "tell me {}.", "which is {}?"),
    ("give me {}.", "say {}."),
)
"""Around a whole question."""

GEONAMES = Phrases(
    {
        "located_in": Wording(
            (
                "the country that {} is in",
                "the country of {}",
                "the state in which {} lies",
                "the nation that {} belongs to",
            ),
            ("the country where {} lies", "the nation in which {} is"),
        ),
        "timezone": Wording(
            (
                "the time zone of {}",
                "the time zone that {} is in",
                "the zone whose time {} keeps",
                "what clocks go by in {}",
            ),
            ("the time zone to which {} belongs", "the zone that clocks in {} go by"),
        ),
        "borders": Wording(
            (
                "the neighbours of {}",
                "the countries that border {}",
                "the countries next to {}",
                "the states that share a border with {}",
            ),
            ("the countries that share a border with {}", "the states next to {}"),
        ),
        "capital": Wording(
            (
                "the capital of {}",
                "the capital city of {}",
                "the seat of government of {}",
                "the city from which {} is governed",
            ),
            ("the city that is the capital of {}", "the city of the government of {}"),
        ),
        "continent": Wording(
            (
                "the continent of {}",
                "the continent that {} is on",
                "the part of the world where {} is",
                "the continent to which {} belongs",
            ),
            ("the continent on which {} lies", "the part of the world that {} belongs to"),
        ),
        "currency": Wording(
            (
                "the currency of {}",
                "the money of {}",
                "the currency that people pay with in {}",
                "what one pays with in {}",
            ),
            ("the money that people pay with in {}", "the currency that one uses in {}"),
        ),
        "dialling_code": Wording(
            (
                "the dialling code of {}",
                "the telephone code of {}",
                "the number that one dials to call {}",
                "the prefix of telephone numbers in {}",
            ),
            ("the telephone prefix of {}", "the code that one dials to call {}"),
        ),
        "language": Wording(
            ("the languages of {}", "the languages spoken in {}", "what people speak in {}", "the tongues of {}"),
            ("the languages that people speak in {}", "the tongues spoken in {}"),
        ),
    },
    never=frozenset({("borders", "borders"), ("capital", "located_in")}),
)

WORDNET = Phrases(
    {
        "antonym": Wording(
            ("the opposite of {}", "the contrary of {}", "what is opposed to {}", "the antonym of {}"),
            ("what is the contrary of {}", "what is opposite to {}"),
        ),
        "domain_region": Wording(
            (
                "the region of {}",
                "the place where one says {}",
                "where the word {} is used",
                "the country whose people say {}",
            ),
            ("the place where the word {} is used", "the region whose people say {}"),
        ),
        "domain_topic": Wording(
            (
                "the topic of {}",
                "the field to which {} belongs",
                "the subject area of {}",
                "what one talks about when one says {}",
            ),
            ("the subject to which {} belongs", "the field of {}"),
        ),
        "domain_usage": Wording(
            (
                "the usage of {}",
                "what sort of expression {} is",
                "the style in which {} is said",
                "the way of speaking that {} belongs to",
            ),
            ("the style of {}", "the sort of expression that {} is"),
        ),
        "hypernym": Wording(
            (
                "the kind of thing that {} is",
                "what {} is a kind of",
                "the genus to which {} belongs",
                "the general term for {}",
            ),
            ("the kind to which {} belongs", "the general kind of {}"),
        ),
        "instance_hypernym": Wording(
            (
                "what {} is an example of",
                "what {} is an instance of",
                "the class of which {} is an instance",
                "the description that fits {}",
            ),
            ("the class that {} is an example of", "the description of which {} is an instance"),
        ),
        "member_holonym": Wording(
            (
                "the group of {}",
                "what {} is a member of",
                "the group that {} is a member of",
                "what counts {} among its members",
            ),
            ("the group that counts {} among its members", "the group of which {} is a member"),
        ),
        "part_holonym": Wording(
            (
                "what {} is a part of",
                "the whole that has {} as a part",
                "what contains {} as a part",
                "the thing of which {} is a part",
            ),
            ("the whole of which {} is a part", "the thing that has {} as a part"),
        ),
        "substance_holonym": Wording(
            ("what {} is a substance of", "what is made of {}", "the thing that is made of {}", "what consists of {}"),
            ("the thing that consists of {}", "what {} is the substance of"),
        ),
    },
    never=frozenset({("antonym", "antonym")}),
)
