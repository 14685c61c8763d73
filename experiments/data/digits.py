"""scikit-learn's handwritten digits: 1,797 images of 8 x 8, in the package itself. For quick trials."""

from __future__ import annotations

import torch

from experiments.data.images import Images


def digits(held_out: int = 0) -> Images:
    """The first 1,500 images to train, the other 297 to test."""
    from sklearn.datasets import load_digits  # takes scipy with it

    pixels = torch.from_numpy(load_digits().data).float() / 16
    return Images("digits", pixels[:1500], pixels[1500:], (8, 8)).holding_out(held_out)
