"""Make the embedded subset from the full MNIST files: `python -m experiments.data.make_subset FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import OmegaConf

from experiments.data.idx import HERE, write_idx

CONF = HERE.parent.parent / "conf" / "data" / "mnist.yaml"


def main(root: str, target: Path = HERE / "mnist_subset") -> None:
    """Take every sixth training and every fifth test image with its label, and print the hashes of the files made."""
    images = instantiate(OmegaConf.load(CONF), root=root, cache=None, labels=True)
    train, test, _ = images.labels
    for pixels, labels, every, name in ((images.train, train, 6, "train"), (images.test, test, 5, "t10k")):
        chosen = (pixels[::every] * 255).round().byte().reshape(-1, *images.shape)
        print(name, write_idx(target / f"{name}-images-idx3-ubyte.gz", chosen))
        print(name, write_idx(target / f"{name}-labels-idx1-ubyte.gz", labels[::every].byte()))


if __name__ == "__main__":
    main(sys.argv[1])
