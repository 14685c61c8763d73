"""Codes that are trained as they are served, beside faiss's quantisers: recall against bytes, and by estimator.

    python -m experiments.studies.codes runs      # about an hour on one core
    python -m experiments.studies.codes page

Runs go on where they were stopped, and finished ones are left as they are. Seeds are outermost, so that a study that
was stopped has a whole table of fewer seeds. What follows as NAME=VALUE goes to `experiments.train`.
"""
