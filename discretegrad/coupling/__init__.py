"""Couplings: the joint law of the S points."""

from discretegrad.coupling.base import Check, Coupling, Law, law_of_pairs, unchecked
from discretegrad.coupling.copula import Copula, CopulaPoints
from discretegrad.coupling.distinct import DistinctPairs, NearlyDistinct
from discretegrad.coupling.drawn import Drawn, PairLaw, PairPoints, Weighted
from discretegrad.coupling.enumerate import Enumerate
from discretegrad.coupling.independent import Independent, IndependentPoints
from discretegrad.coupling.joint import JointPoints, SetPoints, TopAndRest, TopPoints, WithoutReplacement
from discretegrad.coupling.local import Alternatives, LocalPoints
from discretegrad.coupling.merged import Distinct
from discretegrad.coupling.mirrored import MirroredBits, MirroredUniforms
from discretegrad.coupling.swaps import SwappedPoints, Swaps
from discretegrad.coupling.tree import Antithetic, StickBreaking, Tree, TreePairs

__all__ = [
    "Alternatives",
    "Antithetic",
    "Check",
    "Copula",
    "CopulaPoints",
    "Coupling",
    "Distinct",
    "DistinctPairs",
    "Drawn",
    "Enumerate",
    "Independent",
    "IndependentPoints",
    "JointPoints",
    "Law",
    "LocalPoints",
    "MirroredBits",
    "MirroredUniforms",
    "NearlyDistinct",
    "PairLaw",
    "PairPoints",
    "SetPoints",
    "StickBreaking",
    "SwappedPoints",
    "Swaps",
    "TopAndRest",
    "TopPoints",
    "Tree",
    "TreePairs",
    "Weighted",
    "WithoutReplacement",
    "law_of_pairs",
    "unchecked",
]
