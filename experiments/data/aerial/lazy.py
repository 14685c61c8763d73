"""Sequences of what is made when it is asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Made = TypeVar("Made")


class Lazy(Sequence[Made]):
    """What is made when it is asked for: the same every time, by its number.

    Args:
        size: how many there are.
        make: makes one.
    """

    def __init__(self, size: int, make: Callable[[int], Made]) -> None:
        self.size, self.make = size, make

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Made:  # type: ignore[override]
        if not -self.size <= index < self.size:
            raise IndexError(f"there are {self.size}, and none is number {index}.")
        return self.make(index % self.size)

    def __iter__(self) -> Iterator[Made]:
        return (self[index] for index in range(self.size))


class Later(Sequence[Made]):
    """What is made all at once, when it is first asked for.

    Args:
        make: makes it.
    """

    def __init__(self, make: Callable[[], Sequence[Made]]) -> None:
        self._made = functools.cache(make)

    def __len__(self) -> int:
        return len(self._made())

    def __getitem__(self, index: int) -> Made:  # type: ignore[override]
        return self._made()[index]
