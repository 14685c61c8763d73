"""Paths: points that carry the gradient themselves, as relaxed one-hots or straight-through ones."""

from discretegrad.pathwise.base import DiscretePath, OnPath, Path, straight_through
from discretegrad.pathwise.gapped import Gapped
from discretegrad.pathwise.gumbel import ConditionalGumbel, Gumbel
from discretegrad.pathwise.map_states import MapStates
from discretegrad.pathwise.softmax import Argmax, Softmax
from discretegrad.pathwise.trapezoid import ConditionalTrapezoid, RelaxedTrapezoid, Trapezoid

__all__ = [
    "Argmax",
    "ConditionalGumbel",
    "ConditionalTrapezoid",
    "DiscretePath",
    "Gapped",
    "Gumbel",
    "MapStates",
    "OnPath",
    "Path",
    "RelaxedTrapezoid",
    "Softmax",
    "Trapezoid",
    "straight_through",
]
