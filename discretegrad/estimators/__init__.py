"""The named algorithms. Each is a class that fills slots of `core.py` and adds nothing.

If one needs a method of its own, a slot is missing.
"""

from discretegrad.estimators.augmented import ARM, ARS, ARSM, ARSMPlus, ARSPlus
from discretegrad.estimators.coupled import DisARM, DisARMIW, DisARMSB, DisARMTree, Flow
from discretegrad.estimators.names import ESTIMATORS, expectation
from discretegrad.estimators.pathwise import GumbelSoftmax, StraightThrough
from discretegrad.estimators.score_function import RLOO, Exact, Reinforce

__all__ = [
    "ARM",
    "ARS",
    "ARSM",
    "ESTIMATORS",
    "RLOO",
    "ARSMPlus",
    "ARSPlus",
    "DisARM",
    "DisARMIW",
    "DisARMSB",
    "DisARMTree",
    "Exact",
    "Flow",
    "GumbelSoftmax",
    "Reinforce",
    "StraightThrough",
    "expectation",
]
