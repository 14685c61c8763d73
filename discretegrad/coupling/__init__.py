"""Couplings: the joint law of the S points."""

from discretegrad.coupling.base import Coupling, Law, Probs, uniform
from discretegrad.coupling.enumerate import Enumerate
from discretegrad.coupling.independent import Independent
from discretegrad.coupling.joint import TopAndRest, WithoutReplacement
from discretegrad.coupling.local import Alternatives
from discretegrad.coupling.tree import Antithetic, StickBreaking, Tree

__all__ = [
    "Alternatives",
    "Antithetic",
    "Coupling",
    "Enumerate",
    "Independent",
    "Law",
    "Probs",
    "StickBreaking",
    "TopAndRest",
    "Tree",
    "WithoutReplacement",
    "uniform",
]
