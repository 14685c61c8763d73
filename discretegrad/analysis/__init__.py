"""Which estimator should I use on my model? Bias, variance and cost, measured on it.

`compare` measures, and returns a `Comparison`: print it, rank, plot, save, load and merge it. `plots` has the figures.
The extra `analysis` installs what it needs.
"""

from importlib import import_module
from typing import Any

from discretegrad.analysis.compare import compare
from discretegrad.analysis.comparison import Comparison
from discretegrad.analysis.estimate import Estimate, p_value
from discretegrad.analysis.moments import Moments, Truth
from discretegrad.analysis.monitor import Monitor
from discretegrad.analysis.ranking import Ranking
from discretegrad.analysis.recommendation import Recommendation
from discretegrad.analysis.result import Result

__all__ = [
    "Comparison",
    "Estimate",
    "Moments",
    "Monitor",
    "Ranking",
    "Recommendation",
    "Result",
    "Truth",
    "compare",
    "p_value",
    "plots",
]


def __getattr__(name: str) -> Any:
    if name == "plots":  # not imported before it is asked for: it takes matplotlib with it
        return import_module("discretegrad.analysis.plots")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
