"""Couplings: the joint law of the S points."""

from discretegrad.coupling.base import Coupling, Drawn, Law, Probs, law_of_pairs
from discretegrad.coupling.copula import Copula
from discretegrad.coupling.distinct import NearlyDistinct
from discretegrad.coupling.enumerate import Enumerate
from discretegrad.coupling.independent import Independent
from discretegrad.coupling.joint import TopAndRest, WithoutReplacement
from discretegrad.coupling.local import Alternatives
from discretegrad.coupling.mirrored import MirroredUniforms
from discretegrad.coupling.swaps import Swaps
from discretegrad.coupling.tree import Antithetic, StickBreaking, Tree

__all__ = [
    "Alternatives",
    "Antithetic",
    "Copula",
    "Coupling",
    "Drawn",
    "Enumerate",
    "Independent",
    "Law",
    "MirroredUniforms",
    "NearlyDistinct",
    "Probs",
    "StickBreaking",
    "Swaps",
    "TopAndRest",
    "Tree",
    "WithoutReplacement",
    "law_of_pairs",
]
