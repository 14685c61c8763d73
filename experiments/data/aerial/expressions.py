"""Expressions that refer to one thing of a scene: "the smaller court left of the water".

    expression = "the" PICK? SIZE? COLOUR? KIND PLACE? RELATION?
    PLACE      = one of the nine fields of the image, such as "in the upper left"
    RELATION   = ("left of" | "right of" | "above" | "below" | "nearest to") "the" SIZE? COLOUR? KIND

A thing is where its centre is. It is left of another if that is in the right quarter of directions from it: dx > 0 and
|dy| <= dx. A pick, and "nearest to", choose among all things that the rest of the expression is true of; "smaller" and
"larger" choose among two. An expression is only made where it is true of one thing and clearly
false of all others: see `CLEAR`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from numpy.random import RandomState

from experiments.data.aerial.painting import chance
from experiments.data.aerial.phrases import OF_TWO, PICKS, PLACES, RELATIONS, Facts, Phrase

CLEAR = 24
"""A part of the image's height: within one of them of a boundary it is not clear on which side of it a thing is."""
TRIES = 40
"""For an expression of a thing."""


class Expression(NamedTuple):
    """What is said of a scene."""

    text: str
    target: int
    """The number of the thing."""
    relational: bool
    """Whether it names another thing."""


def meant(phrase: Phrase, scene: Sequence[Facts], extent: int) -> tuple[int, int] | None:
    """The number of the one thing that a phrase is true of, and how many it was picked from; None: that is not clear.

    Args:
        phrase: what is said.
        scene: all things.
        extent: of the image, in sixteenths of a pixel.
    """
    anchor = None
    if phrase.anchor is not None:
        found = meant(phrase.anchor, scene, extent)
        if found is None:
            return None
        anchor = found[0]
    sure = []
    for number, facts in enumerate(scene):
        holds = min(_holds(phrase, facts, extent), _related(phrase, facts, scene, anchor, number, extent))
        if holds == 0:
            return None
        if holds > 0:
            sure.append(number)
    if phrase.relation == "nearest to" and anchor is not None:
        return _first(sure, [_apart(scene[n], scene[anchor]) for n in sure], lambda near, far: 16 * far >= 25 * near)
    if phrase.pick is not None:
        return _picked(phrase.pick, sure, scene, extent)
    return (sure[0], 1) if len(sure) == 1 else None


def referring(random: RandomState, scene: Sequence[Facts], extent: int, relational: bool) -> Expression | None:
    """An expression that is true of exactly one thing, which may be any; see `Phrase.shorter` for what it needs.

    None: none was found.

    Args:
        random: the noise.
        scene, extent: see `meant`.
        relational: whether it names another thing.
    """
    for target in random.permutation(len(scene)).tolist():
        for _ in range(TRIES):
            phrase = _phrase(random, scene, target, extent, relational)
            found = meant(phrase, scene, extent) if phrase is not None else None
            if phrase is None or found is None or found[0] != target:
                continue
            if not any(meant(part, scene, extent) for part in phrase.shorter()):
                return Expression(phrase.text(found[1] == 2), target, relational)
    return None


def _phrase(random: RandomState, scene: Sequence[Facts], target: int, extent: int, relational: bool) -> Phrase | None:
    """Something that may be true of a thing."""
    facts = scene[target]
    phrase = Phrase(
        facts.kind,
        facts.colour if facts.colour and chance(random, 60) else None,
        facts.size if chance(random, 40) else None,
        _place(facts, extent) if chance(random, 20 if relational else 50) else None,
        pick=PICKS[int(random.randint(len(PICKS)))] if chance(random, 25) else None,
    )
    if not relational:
        return phrase
    other = int(random.randint(len(scene)))
    if other == target:
        return None
    there = scene[other]
    anchor = Phrase(
        there.kind,
        there.colour if there.colour and chance(random, 60) else None,
        there.size if chance(random, 40) else None,
    )
    relation = RELATIONS[int(random.randint(len(RELATIONS)))]
    pick = None if relation == "nearest to" else phrase.pick
    return phrase._replace(relation=relation, anchor=anchor, pick=pick)


def _holds(phrase: Phrase, facts: Facts, extent: int) -> int:
    """Whether kind, colour, size and place are: 1, yes; -1, no; 0, that is not clear."""
    if phrase.kind != facts.kind or phrase.colour not in (None, facts.colour) or phrase.size not in (None, facts.size):
        return -1
    if phrase.place is None:
        return 1
    row, column = divmod(PLACES.index(phrase.place), 3)
    inside = min(
        min(3 * at - part * extent, (part + 1) * extent - 3 * at) for at, part in ((facts.x, column), (facts.y, row))
    )
    return _sign(inside, 3 * extent // CLEAR)


def _related(phrase: Phrase, facts: Facts, scene: Sequence[Facts], anchor: int | None, number: int, extent: int) -> int:
    """The same of the relation. Nothing is related to itself; "nearest to" is true of all others at first."""
    if anchor is None:
        return 1
    if number == anchor:
        return -1
    if phrase.relation == "nearest to":
        return 1
    dx, dy = scene[anchor].x - facts.x, scene[anchor].y - facts.y
    ahead, aside = {
        "left of": (dx, dy),
        "right of": (-dx, dy),
        "above": (dy, dx),
        "below": (-dy, dx),
    }[str(phrase.relation)]
    return _sign(ahead - abs(aside), extent // CLEAR)


def _picked(pick: str, sure: list[int], scene: Sequence[Facts], extent: int) -> tuple[int, int] | None:
    sign = -1 if pick in ("largest", "rightmost", "bottommost") else 1
    if pick in OF_TWO:
        areas = [scene[n].area for n in sure]
        if sign > 0:
            return _first(sure, areas, lambda small, next_one: 10 * next_one >= 14 * small)
        return _first(sure, [-area for area in areas], lambda large, next_one: 10 * -large >= 14 * -next_one)
    places = [sign * (scene[n].x if pick in ("leftmost", "rightmost") else scene[n].y) for n in sure]
    return _first(sure, places, lambda first, second: second - first >= extent // CLEAR)


def _first(sure: list[int], values: list[int], clear: Callable[[int, int], bool]) -> tuple[int, int] | None:
    """The number with the least value, where the second is clearly another; of two or more."""
    if len(sure) < 2:
        return None
    order = sorted(range(len(sure)), key=values.__getitem__)
    return (sure[order[0]], len(sure)) if clear(values[order[0]], values[order[1]]) else None


def _place(facts: Facts, extent: int) -> str:
    column, row = (min(2, max(0, 3 * at // extent)) for at in (facts.x, facts.y))
    return PLACES[3 * row + column]


def _apart(a: Facts, b: Facts) -> int:
    return (a.x - b.x) ** 2 + (a.y - b.y) ** 2


def _sign(inside: int, clear: int) -> int:
    return 1 if inside >= clear else -1 if inside <= -clear else 0
