"""Couplings: the joint law of the S points."""

from discretegrad.coupling.base import Coupling, Law, Probs, uniform
from discretegrad.coupling.copula import Copula
from discretegrad.coupling.enumerate import Enumerate
from discretegrad.coupling.independent import Independent
from discretegrad.coupling.tree import Antithetic, StickBreaking, Tree

__all__ = [
    "Antithetic",
    "Copula",
    "Coupling",
    "Enumerate",
    "Independent",
    "Law",
    "Probs",
    "StickBreaking",
    "Tree",
    "uniform",
]
