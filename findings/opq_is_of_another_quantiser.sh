#!/usr/bin/env bash
# faiss-cpu 1.15.1: index_factory("OPQ16,PQ16x4") learns its rotation for codes of 8 bits a part, and loses what OPQ is for.
#
# The rotation of an index is learned with a quantiser of its own, which has 256 codewords a part whatever the string says of the
# index's. Where that has 16 codewords the error is 1.6 times that of a rotation which was told of the quantiser (its
# attribute `pq`); of scikit-learn's digits it is three times what it is without any rotation, silently.
source "$(dirname "$0")/with_torch.sh" faiss-cpu==1.15.1 numpy==2.4.6 scikit-learn==1.9.1
venv/bin/python - <<'PY'
import faiss
import numpy as np
from sklearn.datasets import load_digits

print(faiss.__version__)
faiss.omp_set_num_threads(1)
PARTS, BITS, DIMENSIONS = 16, 4, 64


def error(data, start, told=False):
    """The share of the variance that codes of vectors lose which nothing was trained on."""
    index = faiss.index_factory(DIMENSIONS, f"{start}PQ{PARTS}x{BITS}")
    if told:
        rotation = faiss.downcast_VectorTransform(index.chain.at(0))
        quantiser = faiss.ProductQuantizer(DIMENSIONS, PARTS, BITS)
        rotation.pq = quantiser
    index.train(data[::2].copy())
    others = data[1::2].copy()
    lost = others - index.sa_decode(index.sa_encode(others))
    return float(np.square(lost).sum() / np.square(others - others.mean(0)).sum())


numbers = np.random.default_rng(0)
mixed = numbers.standard_normal((DIMENSIONS, DIMENSIONS)) * np.linspace(0.1, 3, DIMENSIONS)
normal = (numbers.standard_normal((6000, DIMENSIONS)) @ mixed).astype("float32")
digits = load_digits().data.astype("float32")
for name, data in (("correlated normal numbers", normal), ("digits", digits)):
    plain, factory, told = error(data, ""), error(data, f"OPQ{PARTS},"), error(data, f"OPQ{PARTS},", told=True)
    print(f"{name}: {plain:.3f} lost by PQ16x4, {factory:.3f} by OPQ16,PQ16x4, {told:.3f} where OPQ knows of the 4 bits")
    assert factory > 1.3 * told, "the rotation suits the quantiser"
assert factory > 2 * plain, "no longer worse than no rotation"
PY
