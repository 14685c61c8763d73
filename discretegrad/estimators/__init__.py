"""The named algorithms. Each is a class that fills slots of `core.py` and adds nothing.

If one needs a method of its own, a slot is missing.
"""

from discretegrad.estimators.bound import VIMCO, DisARMBound
from discretegrad.estimators.coupled import DisARM, DisARMIW, DisARMSB, DisARMTree
from discretegrad.estimators.joint import LocalExpectation, SumAndSample, UnorderedSet
from discretegrad.estimators.names import ESTIMATORS, expectation
from discretegrad.estimators.pathwise import GumbelSoftmax, StraightThrough
from discretegrad.estimators.score_function import NVIL, RLOO, Exact, Reinforce, VarGrad

__all__ = [
    "ESTIMATORS",
    "NVIL",
    "RLOO",
    "VIMCO",
    "DisARM",
    "DisARMBound",
    "DisARMIW",
    "DisARMSB",
    "DisARMTree",
    "Exact",
    "GumbelSoftmax",
    "LocalExpectation",
    "Reinforce",
    "StraightThrough",
    "SumAndSample",
    "UnorderedSet",
    "VarGrad",
    "expectation",
]
