"""Facts of a graph as texts, each with one of its two entities left out."""

from __future__ import annotations

from typing import NamedTuple

from experiments.data.knowledge import KnowledgeGraph
from experiments.errors import UserError

SENTENCES = {
    "located_in": ("{} lies in {}.", "{} is a place in {}."),
    "timezone": ("in {} clocks show the time of {}.", "{} keeps the time of {}."),
    "borders": ("{} shares a border with {}.", "{} lies next to {}."),
    "capital": ("{} is governed from {}.", "{} has its government in {}."),
    "continent": ("{} is a part of {}.", "{} can be found in {}."),
    "currency": ("people in {} pay in {}.", "in {} prices are in {}."),
    "dialling_code": ("to call {} one dials {}.", "numbers in {} start with {}."),
    "language": ("people in {} speak {}.", "in {} one hears {}."),
}
"""Of GeoNames's relations, in other words than those of `phrases`."""
FORMS = ("triples", "sentences")


class Cloze(NamedTuple):
    """A text with a gap, and what was there."""

    text: str
    left_out: str
    relation: str


def clozes(knowledge: KnowledgeGraph, form: str, gap: str) -> tuple[list[Cloze], list[Cloze]]:
    """Every fact without its subject, and without its object; never without its relation.

    Args:
        knowledge: the facts.
        form: triples, "Lyon, located in, France"; or sentences, "Lyon lies in France.", which only GeoNames has.
        gap: what stands for the entity that is left out.

    Raises:
        UserError: for another form, or a relation without a sentence.
    """
    if form not in FORMS:
        raise UserError(f"facts are written as {' or '.join(FORMS)}, not {form!r}.")
    both: tuple[list[Cloze], list[Cloze]] = ([], [])
    for number, (subject, relation, tail) in enumerate(knowledge.triples):
        name = knowledge.relations[relation]
        if form == "sentences" and name not in SENTENCES:
            raise UserError(f"{knowledge.name} has the relation {name!r}, for which there is no sentence; use triples.")
        frames = SENTENCES[name] if form == "sentences" else ("{}, " + name.replace("_", " ") + ", {}",)
        before, between, after = frames[number % len(frames)].split("{}")
        head, end = knowledge.entities[subject].name, knowledge.entities[tail].name
        both[0].append(Cloze(f"{before}{gap}{between}{end}{after}", head, name))
        both[1].append(Cloze(f"{before}{head}{between}{gap}{after}", end, name))
    return both
