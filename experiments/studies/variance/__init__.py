"""Named reports on the variance and the bias of estimators, with the literature's claims put to the test.

    python -m experiments.studies.variance report=disarm

A report (conf/report/*.yaml) is a list of problems, estimators for each, claims about them, and figures. Every problem
is a cell: one `discretegrad.analysis.compare`, kept in a file of its own, so that an interrupted report goes on from
what was measured, and several jobs can share one (`shard=2/3`). `python -m experiments.studies.variance.show` prints,
merges and plots such files.
"""
