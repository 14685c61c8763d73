"""Tokens learned together with their language model, against the usual two stages at the same passes.

    python -m experiments.studies.gemini runs     # trains, and keeps docs/gemini.csv
    python -m experiments.studies.gemini page     # writes docs/gemini.md from it

`--steps` are those of a joint run; what else is given goes to `experiments.train`, as in `data=mnist data.root=FOLDER`.
"""
