"""What context is worth to a detector of buildings, and which edges between its proposals.

    python -m experiments.studies.cedet runs     # trains, and keeps docs/cedet.csv
    python -m experiments.studies.cedet page     # writes docs/cedet.md from it

`--steps` are those of a run; what else is given goes to `experiments.train`.
"""
