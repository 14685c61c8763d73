"""The named algorithms. Each is a class that fills slots of `core.py` and adds nothing.

If one needs a method of its own, a slot is missing.
"""

from discretegrad.estimators.copulas import ARMS, CARMS
from discretegrad.estimators.coupled import DisARM, DisARMIW, DisARMSB, DisARMTree
from discretegrad.estimators.names import ESTIMATORS, expectation
from discretegrad.estimators.pathwise import IMLE, GappedST, GumbelRao, GumbelSoftmax, ReinMax, StraightThrough
from discretegrad.estimators.score_function import RLOO, Exact, Reinforce

__all__ = [
    "ARMS",
    "CARMS",
    "ESTIMATORS",
    "IMLE",
    "RLOO",
    "DisARM",
    "DisARMIW",
    "DisARMSB",
    "DisARMTree",
    "Exact",
    "GappedST",
    "GumbelRao",
    "GumbelSoftmax",
    "ReinMax",
    "Reinforce",
    "StraightThrough",
    "expectation",
]
