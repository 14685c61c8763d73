"""Signals of the points of a multi-sample bound."""

from discretegrad.ops.bound.reference import pair_signals, signals

__all__ = ["pair_signals", "signals"]
