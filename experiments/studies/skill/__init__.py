"""Paths of relations, learned from answers alone: how many look-ups each estimator takes; language models beside them.

    python -m experiments.studies.skill paths                  # GeoNames; --graph wordnet for the other graph
    python -m experiments.studies.skill variance               # of each estimator, along one of these trainings
    python -m experiments.studies.skill arms --seeds 0,1,2     # models that have read the graph, asked without it
    python -m experiments.studies.skill page

Runs go on where they were stopped, and finished ones are left as they are. Seeds are outermost, so that a study that
was stopped has a whole table of fewer seeds. What follows as NAME=VALUE goes to `experiments.train`.
"""
