"""Gradient estimators for discrete latent variables: composable, proved unbiased where they say so, measured."""

from discretegrad import exact, functional, nn, objectives
from discretegrad.control_variate import BatchLeaveOneOut, LeaveOneOut, UnorderedBaseline
from discretegrad.core import Composition, Estimator, Pathwise
from discretegrad.coupling import (
    Alternatives,
    Antithetic,
    Enumerate,
    Independent,
    StickBreaking,
    TopAndRest,
    Tree,
    WithoutReplacement,
)
from discretegrad.draw import Draw
from discretegrad.estimators import (
    ESTIMATORS,
    NVIL,
    RLOO,
    VIMCO,
    DisARM,
    DisARMBound,
    DisARMIW,
    DisARMSB,
    DisARMTree,
    Exact,
    GumbelSoftmax,
    LocalExpectation,
    Reinforce,
    StraightThrough,
    SumAndSample,
    UnorderedSet,
    VarGrad,
    expectation,
)
from discretegrad.weights import Importance, LocalExpectations, RaoBlackwell, Score

__version__ = "0.1.0"

__all__ = [
    "ESTIMATORS",
    "NVIL",
    "RLOO",
    "VIMCO",
    "Alternatives",
    "Antithetic",
    "BatchLeaveOneOut",
    "Composition",
    "DisARM",
    "DisARMBound",
    "DisARMIW",
    "DisARMSB",
    "DisARMTree",
    "Draw",
    "Enumerate",
    "Estimator",
    "Exact",
    "GumbelSoftmax",
    "Importance",
    "Independent",
    "LeaveOneOut",
    "LocalExpectation",
    "LocalExpectations",
    "Pathwise",
    "RaoBlackwell",
    "Reinforce",
    "Score",
    "StickBreaking",
    "StraightThrough",
    "SumAndSample",
    "TopAndRest",
    "Tree",
    "UnorderedBaseline",
    "UnorderedSet",
    "VarGrad",
    "WithoutReplacement",
    "exact",
    "expectation",
    "functional",
    "nn",
    "objectives",
]
