"""What a system of retrieval sees of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Pair(NamedTuple):
    """Texts that belong together."""

    query: str
    document: str


class Pairs(NamedTuple):
    """Queries, each with the document that answers it."""

    name: str
    train: Sequence[Pair]
    held_out: Sequence[Pair]
    """Queries to judge by, among whose documents theirs is to be found."""
    cache: str
    """A folder for what takes long to make of the texts, such as a tokenizer."""
