"""Structured output prediction by a stochastic network: Raiko, Berglund, Alain, Dinh 2014 (arXiv 1406.2989)."""

from experiments.systems.structured_prediction.model import StochasticNetwork
from experiments.systems.structured_prediction.task import StructuredPredictionTask

__all__ = ["StochasticNetwork", "StructuredPredictionTask"]
