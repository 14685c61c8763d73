"""The named algorithms. Each is a class that fills slots of `core.py` and adds nothing.

If one needs a method of its own, a slot is missing.
"""

from discretegrad.estimators.augmented import ARM, ARS, ARSM, ARSMPlus, ARSPlus
from discretegrad.estimators.bound import VIMCO, DisARMBound
from discretegrad.estimators.copulas import ARMS, CARMS
from discretegrad.estimators.coupled import DisARM, DisARMIW, DisARMSB, DisARMTree, Flow
from discretegrad.estimators.gradient_of_f import RODEO, DoubleCV, MuProp
from discretegrad.estimators.joint import LocalExpectation, SumAndSample, UnorderedSet
from discretegrad.estimators.names import ESTIMATORS, expectation
from discretegrad.estimators.pathwise import (
    IMLE,
    ArgmaxST,
    GappedST,
    GumbelRao,
    GumbelSoftmax,
    ReinMax,
    ReinMaxRao,
    RelaxedReinMax,
    StraightThrough,
)
from discretegrad.estimators.relaxed import REBAR, RELAX
from discretegrad.estimators.score_function import NVIL, RLOO, Exact, Reinforce, VarGrad

__all__ = [
    "ARM",
    "ARMS",
    "ARS",
    "ARSM",
    "CARMS",
    "ESTIMATORS",
    "IMLE",
    "NVIL",
    "REBAR",
    "RELAX",
    "RLOO",
    "RODEO",
    "VIMCO",
    "ARSMPlus",
    "ARSPlus",
    "ArgmaxST",
    "DisARM",
    "DisARMBound",
    "DisARMIW",
    "DisARMSB",
    "DisARMTree",
    "DoubleCV",
    "Exact",
    "Flow",
    "GappedST",
    "GumbelRao",
    "GumbelSoftmax",
    "LocalExpectation",
    "MuProp",
    "ReinMax",
    "ReinMaxRao",
    "Reinforce",
    "RelaxedReinMax",
    "StraightThrough",
    "SumAndSample",
    "UnorderedSet",
    "VarGrad",
    "expectation",
]
