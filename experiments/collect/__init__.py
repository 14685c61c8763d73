"""One table and figure set over many runs: `python -m experiments.collect RUNS...`.

Runs of one configuration that differ only in their seed are a group, of which mean and standard error are given: of the
last figures, and of what was recorded along the way, by steps and by seconds.
"""
