"""Decoders as encoders: what they start from, masks, poolers, and which words they may read.

    python -m experiments.studies.gemma_encoder runs                  # or one part of them: start, masks, reading
    python -m experiments.studies.gemma_encoder page

Runs go on where they were stopped, and finished ones are left as they are; seeds are outermost. What follows as
NAME=VALUE goes to `experiments.train`, for all runs: sizes, and how many steps and examples there are.
"""
