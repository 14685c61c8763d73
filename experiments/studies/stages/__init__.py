"""Gradient variance of the estimators on a VAE, at stages of its training. Writes docs/stages.md and docs/stages.csv.

    python -m experiments.studies.stages RUN --steps 1000 4000 12000

RUN is the folder of a run that kept its checkpoints at these steps (run.keep=[1000,4000,12000]). Everything is
measured on the same images, in nats per image, for the gradient w.r.t. the posterior's logits. Estimators with modules
of their own learn on the frozen model first, but for the run's own estimator, whose modules are what it has learned.
"""
