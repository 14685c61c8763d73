"""Paths: points that carry the gradient themselves, as relaxed one-hots or straight-through ones."""

from discretegrad.pathwise.base import Path, straight_through
from discretegrad.pathwise.gumbel import Gumbel
from discretegrad.pathwise.softmax import Softmax

__all__ = [
    "Gumbel",
    "Path",
    "Softmax",
    "straight_through",
]
