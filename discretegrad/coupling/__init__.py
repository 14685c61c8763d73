"""Couplings: the joint law of the S points."""

from discretegrad.coupling.base import Coupling, Law, Probs, uniform
from discretegrad.coupling.enumerate import Enumerate
from discretegrad.coupling.independent import Independent
from discretegrad.coupling.mirrored import MirroredUniforms
from discretegrad.coupling.swaps import Swaps
from discretegrad.coupling.tree import Antithetic, StickBreaking, Tree

__all__ = [
    "Antithetic",
    "Coupling",
    "Enumerate",
    "Independent",
    "Law",
    "MirroredUniforms",
    "Probs",
    "StickBreaking",
    "Swaps",
    "Tree",
    "uniform",
]
