"""The words of expressions that refer to one thing of a scene, and how they are put together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from experiments.data.aerial.geometry import Ints, doubled_area

KINDS = ("building", "court", "water", "tank", "tree", "field", "forest")
COLOURS = {
    "building": ("red", "grey", "white", "brown"),
    "court": ("blue", "green", "orange"),
    "tank": ("white", "grey"),
    "tree": ("green", "yellow"),
    "field": ("brown", "green", "yellow"),
}
"""Of a kind; water and forests have none that is told."""
SIZES = ("small", "large")
FIELDS = ("upper left", "top", "upper right", "left", "middle", "right", "lower left", "bottom", "lower right")
"""Of the image, row by row."""
PLACES = tuple(
    f"{'at' if field in ('top', 'bottom') else 'on' if field in ('left', 'right') else 'in'} the {field}"
    for field in FIELDS
)
PICKS = ("smallest", "largest", "leftmost", "rightmost", "topmost", "bottommost")
OF_TWO = {"smallest": "smaller", "largest": "larger"}
RELATIONS = ("left of", "right of", "above", "below", "nearest to")


class Facts(NamedTuple):
    """What is known of a thing; lengths in sixteenths of a pixel."""

    kind: str
    colour: str
    size: str
    x: int
    y: int
    outline: Ints
    """`[P, 2]`, around its centre at x and y."""

    @property
    def area(self) -> int:
        """Twice that of the outline."""
        return doubled_area(self.outline)


class Phrase(NamedTuple):
    """An expression as it is put together; None: nothing is said."""

    kind: str
    colour: str | None = None
    size: str | None = None
    place: str | None = None
    relation: str | None = None
    anchor: Phrase | None = None
    """What it is related to, with kind, colour and size alone."""
    pick: str | None = None

    def text(self, of_two: bool = False) -> str:
        """As it is said; `of_two`: the pick is among two."""
        pick = OF_TWO.get(self.pick, self.pick) if of_two and self.pick else self.pick
        words = ["the", pick, self.size, self.colour, self.kind, self.place, self.relation]
        related = [self.anchor.text()] if self.anchor else []
        return " ".join(word for word in (*words, *related) if word)

    def shorter(self) -> Iterator[Phrase]:
        """It without its place, its pick or its relation; colour and size also describe where they need not."""
        if self.place is not None:
            yield self._replace(place=None)
        if self.pick is not None:
            yield self._replace(pick=None)
        if self.relation is not None:
            yield self._replace(relation=None, anchor=None)


def vocabulary() -> tuple[str, ...]:
    """All words that there are."""
    colours = [colour for own in COLOURS.values() for colour in own]
    said = ["the", *KINDS, *colours, *SIZES, *PLACES, *PICKS, *OF_TWO.values(), *RELATIONS]
    return tuple(sorted({word for words in said for word in words.split()}))
