"""The variants of dual encoders over numbers of pairs, all ways to tie two towers, and the ties that gates learn.

    python -m experiments.studies.dual_encoders variants     # about three hours on one core
    python -m experiments.studies.dual_encoders ties         # eight
    python -m experiments.studies.dual_encoders searches     # eight
    python -m experiments.studies.dual_encoders maps         # of the runs with seed 0
    python -m experiments.studies.dual_encoders page

Every part goes on where it was stopped, and finished runs are left as they are. Seeds are outermost, so that a part
that was stopped has a whole table of fewer seeds. What follows as NAME=VALUE goes to `experiments.train`.
"""
