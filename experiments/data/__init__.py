"""Data sets as float images in [0, 1], with a training and a test part."""

from experiments.data.digits import digits
from experiments.data.idx import File, idx_images, mnist_subset
from experiments.data.images import Images

__all__ = ["File", "Images", "digits", "idx_images", "mnist_subset"]
