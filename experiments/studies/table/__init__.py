"""The table of all estimators: evaluations, bias, variance and cost, measured. Writes docs/estimators.md and .csv.

    python -m experiments.studies.table

Bias and variance are exact, by enumeration in float64, where an estimator has finitely many outcomes; else they come
from a long run with a fixed seed, and the bias has its standard error. Variances are ratios to RLOO(2), times to
leave-one-out with as many evaluations, in one interleaved run.
"""
