"""Expressions that refer to one thing of a scene: "the smaller court left of the water".

    expression = "the" PICK? SIZE? COLOUR? KIND PLACE? RELATION?
    PLACE      = one of the nine fields of the image, such as "in the upper left"
    RELATION   = ("left of" | "right of" | "above" | "below" | "nearest to") "the" SIZE? COLOUR? KIND

A thing is where its centre is. It is left of another if that is in the right quarter of directions from it: dx > 0 and
|dy| <= dx. A pick, and "nearest to", choose among all things that the rest of the expression is true of; "smaller" and
"larger" choose among two. An expression is only made where it is true of one thing and clearly
false of all others: see `CLEAR`. What is nearest or farthest out is so by centres and by outlines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.random import RandomState

from experiments.data.aerial.geometry import Ints
from experiments.data.aerial.painting import chance
from experiments.data.aerial.phrases import PICKS, PLACES, RELATIONS, Facts, Phrase

CLEAR = 24
"""A part of the image's height: within one of them of a boundary it is not clear on which side of it a thing is."""
EDGES = {"leftmost": (0, 1), "rightmost": (0, -1), "topmost": (1, 1), "bottommost": (1, -1)}
"""Axes, and which end of them a pick looks at."""
TRIES = 40
"""For an expression of a thing."""


class Expression(NamedTuple):
    """What is said of a scene."""

    text: str
    target: int
    """The number of the thing."""
    relational: bool
    """Whether it names another thing."""


class Meaning(NamedTuple):
    """Of a phrase in a scene; things by their numbers."""

    target: int
    among: tuple[int, ...]
    """Those that it was picked from, if it was."""
    anchor: int | None
    """What it is related to."""


def meant(phrase: Phrase, scene: Sequence[Facts], extent: int) -> Meaning | None:
    """The one thing that a phrase is true of; None: that is not clear.

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
        anchor = found.target
    sure = []
    for number, facts in enumerate(scene):
        holds = min(_holds(phrase, facts, extent), _related(phrase, facts, scene, anchor, number, extent))
        if holds == 0:
            return None
        if holds > 0:
            sure.append(number)
    target = sure[0] if len(sure) == 1 else None
    if phrase.relation == "nearest to" and anchor is not None:
        apart = [_apart(scene[number], scene[anchor]) for number in sure]
        target = _first(sure, apart, lambda near, far: 16 * far >= 25 * near)
    elif phrase.pick is not None:
        target = _picked(phrase.pick, sure, scene, extent)
    return None if target is None else Meaning(target, tuple(sure), anchor)


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
            if phrase is None or found is None or found.target != target or not _seen(phrase, found, scene):
                continue
            if not any(meant(part, scene, extent) for part in phrase.shorter()):
                return Expression(phrase.text(len(found.among) == 2), target, relational)
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


def _picked(pick: str, sure: list[int], scene: Sequence[Facts], extent: int) -> int | None:
    if pick == "smallest":
        return _first(sure, [scene[n].area for n in sure], lambda small, other: 10 * other >= 14 * small)
    if pick == "largest":
        return _first(sure, [-scene[n].area for n in sure], lambda large, other: 10 * large <= 14 * other)
    axis, sign = EDGES[pick]
    places = [sign * (scene[n].x, scene[n].y)[axis] for n in sure]
    return _first(sure, places, lambda first, second: second - first >= extent // CLEAR)


def _first(sure: list[int], values: list[int], clear: Callable[[int, int], bool]) -> int | None:
    """The number with the least value, where the second is clearly another; of two or more."""
    if len(sure) < 2:
        return None
    order = sorted(range(len(sure)), key=values.__getitem__)
    return sure[order[0]] if clear(values[order[0]], values[order[1]]) else None


def _seen(phrase: Phrase, found: Meaning, scene: Sequence[Facts]) -> bool:
    """Whether outlines say the same as centres where they could differ: of what is nearest, or lies farthest out."""
    if phrase.relation == "nearest to" and found.anchor is not None:
        values = [_gap(scene[number].outline, scene[found.anchor].outline) for number in found.among]
    elif phrase.pick in EDGES:
        axis, sign = EDGES[phrase.pick]
        values = [int((sign * scene[number].outline[:, axis]).min()) for number in found.among]
    else:
        return True
    return found.among[values.index(min(values))] == found.target


def _gap(a: Ints, b: Ints) -> int:
    """The squared distance between two outlines, of points that divide each side into eight."""
    steps = np.arange(8)[:, None, None]
    points = [((8 - steps) * outline + steps * np.roll(outline, -1, 0)).reshape(-1, 1, 2) for outline in (a, b)]
    return int(np.square(points[0] - points[1].transpose(1, 0, 2)).sum(-1).min())


def _place(facts: Facts, extent: int) -> str:
    column, row = (min(2, max(0, 3 * at // extent)) for at in (facts.x, facts.y))
    return PLACES[3 * row + column]


def _apart(a: Facts, b: Facts) -> int:
    return (a.x - b.x) ** 2 + (a.y - b.y) ** 2


def _sign(inside: int, clear: int) -> int:
    return 1 if inside >= clear else -1 if inside <= -clear else 0
