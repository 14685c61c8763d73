"""Unbiased estimators in the table of "Beyond ReinMax" (arXiv 2603.08257), whose numbers are in experiments/data.

    python -m experiments.studies.beyond_reinmax first    # all of ours with what theirs chose for ReinMax
    python -m experiments.studies.beyond_reinmax grid     # optimisers and learning rates, judged by held-out images
    python -m experiments.studies.beyond_reinmax chosen   # with the grid's best
    python -m experiments.studies.beyond_reinmax times    # seconds of a step over those of a step of ReinMax
    python -m experiments.studies.beyond_reinmax page     # docs/findings.md and its figure, of what there is

Each goes on where it was stopped, and leaves alone what is finished. `--sizes=8x4 --methods=rloo2,rloo4 --seeds=0` take
a part of it; what else is given goes to `python -m experiments.train`: `data.root=FOLDER`, `budget=full`, or
`run.steps=1200` for two epochs, from which a later call goes on.
"""
