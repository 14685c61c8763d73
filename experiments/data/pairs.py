"""What a system of retrieval sees of a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Pair(NamedTuple):
    """Texts that belong together."""

    query: str
    document: str
    grade: int = 1
    """How well the document answers the query, as a judge said: 1 or more."""


class Pairs(NamedTuple):
    """Queries, each with the document that answers it."""

    name: str
    train: Sequence[Pair]
    held_out: Sequence[Pair]
    """Queries to judge by, whose documents are to be found among all of them, and others. A query may have several."""
    cache: str
    """A folder for what takes long to make of the texts, such as a tokenizer."""
    others: Sequence[str] = ()
    """Documents that are searched too, and answer none of those queries."""


class Asked(NamedTuple):
    """One task of several."""

    prompt: str
    """What stands before every query, such as "class"; empty: nothing."""
    pairs: Pairs


class Mixture(NamedTuple):
    """Several tasks for one model."""

    name: str
    tasks: Mapping[str, Asked]
    """By the names that their figures have."""
    cache: str
    """See `Pairs`."""
