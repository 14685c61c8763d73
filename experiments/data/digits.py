"""scikit-learn's handwritten digits: 1,797 images of 8 x 8, in the package itself. For quick trials."""

from __future__ import annotations

import torch

from experiments.data.images import Images, Labels

NUMERALS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def digits(held_out: int = 0, labels: bool = False) -> Images:
    """The first 1,500 images to train, the other 297 to test; with their labels, if asked for."""
    from sklearn.datasets import load_digits  # takes scipy with it

    found = load_digits()
    pixels, classes = torch.from_numpy(found.data).float() / 16, torch.from_numpy(found.target)
    own = Labels(classes[:1500], classes[1500:], NUMERALS) if labels else None
    return Images("digits", pixels[:1500], pixels[1500:], (8, 8), own).holding_out(held_out)
