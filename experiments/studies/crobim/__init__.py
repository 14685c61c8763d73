"""The parts of CroBIM one by one, and windows that are drawn against such as are moved by a gradient.

    python -m experiments.studies.crobim runs     # trains, and keeps docs/crobim.csv
    python -m experiments.studies.crobim page     # writes docs/crobim.md from it

`--methods` are some of the rows; what else is given goes to `experiments.train`, as in `data=sentinel`.
"""
