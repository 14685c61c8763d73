"""Expressions that refer to things: each is true of exactly one, judged by an evaluator that knows the words alone."""

import math
import re
from collections import Counter

import numpy as np
import pytest
import torch

from experiments.data.aerial import referring, referring_on_sentinel
from experiments.data.aerial.expressions import meant
from experiments.data.aerial.phrases import COLOURS, KINDS, PICKS, PLACES, Facts, Phrase, vocabulary
from experiments.errors import UserError

COUNT = 40
PATTERN = re.compile(
    r"the (?:(smallest|largest|smaller|larger|leftmost|rightmost|topmost|bottommost) )?(?:(small|large) )?"
    r"(?:(red|grey|white|brown|blue|green|orange|yellow) )?(building|court|water|tank|tree|field|forest)"
    r"(?: (?:in|at|on) the (upper left|top|upper right|middle|lower left|bottom|lower right|left(?! of)|right(?! of)))?"
    r"(?: (left of|right of|above|below|nearest to) (the .*))?"
)
LINES = {"upper": 0, "top": 0, "lower": 2, "bottom": 2}
COLUMNS = {"left": 0, "right": 2}


@pytest.fixture(scope="module")
def found():
    return list(referring(scenes=COUNT, held_out=1).train)


def area(thing):
    x, y = thing.polygon.double().T
    return 0.5 * abs(float((x * y.roll(-1) - x.roll(-1) * y).sum()))


def is_small(thing):
    """Small things have less than 64 % of the area between, large ones more than 144 %: the halves lie apart at 1."""
    between = {"building": 13 * 9, "court": 17 * 10, "field": 24 * 18}
    between |= {"water": 22 * 16 * 0.785, "tank": 8 * 8 * 0.785, "tree": 7 * 7 * 0.785, "forest": 22 * 17 * 0.785}
    return area(thing) < between[thing.kind] * (0.95 if thing.kind != "building" else 0.93)


def middle(thing):
    return [float(c) for c in thing.box[:2]]


def true_of(text, things, size):
    """The numbers of all things that an expression is true of."""
    pick, small, colour, kind, place, relation, other = PATTERN.fullmatch(text).groups()
    left = []
    for number, thing in enumerate(things):
        x, y = middle(thing)
        column, line = (int(3 * at // size) for at in (x, y))
        words = (place or "").split()
        wanted = (
            next((COLUMNS[w] for w in words if w in COLUMNS), 1),
            next((LINES[w] for w in words if w in LINES), 1),
        )
        if thing.kind != kind or (colour and thing.colour != colour) or (place and (column, line) != wanted):
            continue
        if small and is_small(thing) != (small == "small"):
            continue
        left.append(number)
    if relation:
        [anchor] = true_of(other, things, size)
        ax, ay = middle(things[anchor])
        near = [n for n in left if n != anchor]
        if relation == "nearest to":
            return [min(near, key=lambda n: math.hypot(middle(things[n])[0] - ax, middle(things[n])[1] - ay))]
        headings = {"right of": 0, "below": 90, "left of": 180, "above": 270}
        left = []
        for number in near:
            x, y = middle(things[number])
            turn = (math.degrees(math.atan2(y - ay, x - ax)) - headings[relation]) % 360
            left += [number] if min(turn, 360 - turn) <= 45 else []
    if pick in ("smaller", "larger"):
        assert len(left) == 2, text
    elif pick in ("smallest", "largest"):
        assert len(left) > 2, text
    if pick:
        sign = -1 if pick[:5] in ("large", "right", "botto") else 1
        axis = {"l": 0, "r": 0, "t": 1, "b": 1}
        by = area if pick[:5] in ("small", "large") else (lambda thing: middle(thing)[axis[pick[0]]])
        return [min(left, key=lambda n: sign * by(things[n]))]
    return left


def test_every_expression_is_true_of_its_target_alone(found):
    for one in found:
        [target] = true_of(one.expression, one.things, 96)
        assert torch.equal(one.mask, one.things[target].mask(96, 96)), one.expression
        assert 0 < one.share < 0.2


def test_places_picks_and_relations_are_needed(found):
    """Without them there is more than one such thing."""
    for one in found:
        words = PATTERN.fullmatch(one.expression).groups()
        if words[0] or any(words[4:]):
            short = " ".join(word for word in ("the", *words[1:4]) if word)
            assert len(true_of(short, one.things, 96)) > 1, one.expression


def test_half_of_the_expressions_name_another_thing(found):
    """And say so; a binomial count, false alarm 1e-6."""
    relational = [PATTERN.fullmatch(one.expression)[6] is not None for one in found]
    assert relational == [one.relational for one in found]
    assert abs(sum(relational) - COUNT / 2) < 4.9 * math.sqrt(COUNT / 4)
    assert not any(one.relational for one in referring(scenes=8, held_out=1, relational=0).train)
    assert all(one.relational for one in referring(scenes=8, held_out=1, relational=100).train)


def test_all_words_are_listed(found):
    listed = vocabulary()
    assert list(listed) == sorted({*listed})
    assert {word for one in found for word in one.expression.split()} <= {*listed}
    assert {*KINDS} | {c for own in COLOURS.values() for c in own} <= {*listed}


def test_things_neither_overlap_nor_leave_the_image(found):
    for one in found:
        assert torch.stack([thing.mask(96, 96) for thing in one.things]).sum(0).max() == 1
        assert all((thing.polygon >= 0).all() and (thing.polygon <= 96).all() for thing in one.things)
    kinds = Counter(thing.kind for one in found for thing in one.things)
    assert {*kinds} == {*KINDS}
    assert 0.2 < np.mean([one.share < 0.02 for one in found]) < 0.95


def outlines_of(thing):
    """Points on an outline, less than half a pixel apart."""
    ends = thing.polygon.double().roll(-1, 0)
    shares = torch.linspace(0, 1, 100, dtype=torch.float64)[:, None, None]
    return ((1 - shares) * thing.polygon + shares * ends).reshape(-1, 2)


def test_what_is_nearest_or_farthest_out_is_so_by_outlines(found):
    """To a pixel, among those that the words are about."""
    seen = 0
    for one in found:
        pick, _, _, _, _, relation, other = PATTERN.fullmatch(one.expression).groups()
        [target] = true_of(one.expression, one.things, 96)
        if relation == "nearest to":
            [anchor] = true_of(other, one.things, 96)
            near = true_of(one.expression.removesuffix(f" nearest to {other}"), one.things, 96)
            there = outlines_of(one.things[anchor])
            values = {n: torch.cdist(outlines_of(one.things[n]), there).min() for n in near if n != anchor}
        elif pick in ("leftmost", "rightmost", "topmost", "bottommost"):
            axis, sign = {"l": (0, 1), "r": (0, -1), "t": (1, 1), "b": (1, -1)}[pick[0]]
            near = true_of(one.expression.replace(f"the {pick} ", "the "), one.things, 96)
            values = {n: (sign * one.things[n].polygon[:, axis]).min() for n in near}
        else:
            continue
        assert values[target] <= min(values.values()) + 1, one.expression
        seen += 1
    assert seen > 3


def facts(kind, x, y, area=100, colour="", size="small"):
    side = area * 32
    outline = np.array([[0, 0], [side, 0], [side, 1], [0, 1]]) + np.array([x * 16, y * 16])
    return Facts(kind, colour, size, x * 16, y * 16, outline)


@pytest.mark.parametrize(
    ("phrase", "expected"),
    [
        (Phrase("court"), None),
        (Phrase("court", colour="blue"), (0, 1)),
        (Phrase("court", colour="red"), None),
        (Phrase("court", relation="left of", anchor=Phrase("water")), (0, 1)),
        (Phrase("court", relation="right of", anchor=Phrase("water")), (1, 1)),
        (Phrase("court", relation="above", anchor=Phrase("water")), None),
        (Phrase("court", relation="above", anchor=Phrase("tree")), None),  # there are two trees
        (Phrase("tree", relation="nearest to", anchor=Phrase("water")), (3, 2)),
        (Phrase("tree", pick="largest"), None),  # 100 and 110
        (Phrase("court", pick="largest"), (1, 2)),
        (Phrase("court", pick="leftmost"), (0, 2)),
        (Phrase("court", place="on the left"), (0, 1)),
        (Phrase("tree", place="at the top"), None),  # the other is on the line
        (Phrase("water", pick="leftmost"), None),  # of one
    ],
)
def test_what_phrases_mean_by_hand(phrase, expected):
    scene = [
        facts("court", 12, 48, 100, "blue"),
        facts("court", 84, 50, 150, "green"),
        facts("water", 48, 48),
        facts("tree", 52, 60, 110),
        facts("tree", 62, 31, 100),
    ]
    found = meant(phrase, scene, 96 * 16)
    assert (found and (found.target, len(found.among))) == expected


def test_words_of_places_and_picks():
    assert len({*PLACES}) == 9 and PLACES[0] == "in the upper left" and PLACES[7] == "at the bottom"
    assert Phrase("tree", "green", "small", "in the middle", pick="smallest").text(of_two=True) == (
        "the smaller small green tree in the middle"
    )
    assert all(pick in vocabulary() for pick in PICKS)


def test_areas_of_sentinel_are_where_the_words_say():
    """More than half of a ninth is theirs, and halves do not share a pixel."""
    data = referring_on_sentinel(96)
    assert len(data.train) > len(data.test) > 100
    for one in (*data.train[::7], *data.test[::7]):
        place = one.expression.split(maxsplit=2)[2]
        row, column = divmod(PLACES.index(place), 3)
        part = one.mask[32 * row : 32 * row + 32, 32 * column : 32 * column + 32]
        assert part.float().mean() > 0.5, one.expression
        assert one.image.shape == (3, 96, 96) and not one.relational
    assert {"forest", "water", "field"} <= {*data.words}
    with pytest.raises(UserError, match=r"data\.size=97 is no whole multiple"):
        len(referring_on_sentinel(97).train)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"relational": 101}, "at most 100, not 101"),
        ({"size": 10}, r"data\.size must be"),
        ({"digest": "0" * 16}, r"data=referring renders other scenes than those of data\.digest=0000"),
    ],
)
def test_what_cannot_be_meant_is_refused(given, match):
    with pytest.raises(UserError, match=match):
        referring(**given)
