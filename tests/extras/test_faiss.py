"""Codes start as faiss's quantisers: the same codes, and the same vectors out, for codebooks that go in."""

import math

import faiss
import numpy as np
import pytest
import torch

from experiments.parts.codes import Codes
from experiments.parts.faiss_codebooks import product_quantiser, residual_quantiser
from experiments.parts.quantisers import Form, fit

V, C, W = 4, 8, 12


@pytest.fixture(scope="module")
def vectors():
    torch.manual_seed(0)
    return torch.nn.functional.normalize(torch.randn(3000, 16) @ torch.randn(16, 16), dim=-1)


def unpacked(packed):
    """Ids `[N, V]` of codes as faiss packs them: the low bits of the low bytes first."""
    bits = np.unpackbits(packed, axis=1, bitorder="little")[:, : V * int(math.log2(C))]
    return torch.from_numpy(bits.reshape(len(packed), V, -1) @ (1 << np.arange(int(math.log2(C))))).long()


def form_of(structure, start, variables=V):
    latent, categories = ("bernoulli", 2) if structure == "bits" else ("categorical", C)
    return Form(structure, variables, categories, W, start, latent)


def codes_of(structure, start, vectors, variables=V):
    form = form_of(structure, start, variables)
    return Codes(structure, fit(form, vectors, 0), vectors, 0.3), form


@pytest.mark.parametrize(("structure", "start"), [("product", "pq"), ("product", "opq"), ("additive", "opq")])
def test_product_quantisers(structure, start, vectors):
    codes, form = codes_of(structure, start, vectors)
    projected = codes.project(vectors)
    quantiser = product_quantiser(form)
    own = codes.codebooks.detach().unflatten(-1, (V, -1))[torch.arange(V), :, torch.arange(V)]  # [V, C, W / V]
    faiss.copy_array_to_vector(own.contiguous().numpy().ravel(), quantiser.centroids)
    packed = quantiser.compute_codes(projected.numpy())
    assert torch.equal(codes.encode(vectors), unpacked(packed))
    decoded = torch.from_numpy(quantiser.decode(packed))
    torch.testing.assert_close(codes.decode(unpacked(packed)), decoded, rtol=1e-5, atol=1e-6)
    if start == "opq":  # which is there to be better
        plain, _ = codes_of(structure, "pq", vectors)
        errors = [
            float((c.project(vectors) - c.decode(c.encode(vectors)).detach()).square().sum()) for c in (codes, plain)
        ]
        assert errors[0] < 0.95 * errors[1]


def test_residual_quantisers(vectors):
    codes, form = codes_of("residual", "rq", vectors)
    projected = codes.project(vectors)
    quantiser = residual_quantiser(form)
    quantiser.train(projected.numpy())
    torch.testing.assert_close(
        codes.codebooks.detach().flatten(), torch.from_numpy(faiss.vector_to_array(quantiser.codebooks))
    )
    found = []
    for beam in (1, 5):
        quantiser.max_beam_size = beam
        packed = quantiser.compute_codes(projected.numpy())
        found.append(codes.encode(vectors, beam))
        assert torch.equal(found[-1], unpacked(packed))
        decoded = torch.from_numpy(quantiser.decode(packed))
        torch.testing.assert_close(codes.decode(found[-1]), decoded, rtol=1e-5, atol=1e-6)
    assert not torch.equal(*found)
    torch.testing.assert_close(codes.decode(found[0], 2), codes.codebooks[torch.arange(2), found[0][:, :2]].sum(1))


def test_bits_of_iterative_quantisation(vectors):
    codes, _ = codes_of("bits", "itq", vectors, variables=8)
    transform = faiss.ITQTransform(W, 8, True)
    transform.train(codes.project(vectors).numpy())
    signs = torch.from_numpy(transform.apply(codes.project(vectors).numpy())) > 0
    assert torch.equal(codes.encode(vectors), signs.long())
    rest = (codes.project(vectors) - codes.decode(codes.encode(vectors))).detach()
    # the decoder is that of least squares, so that what it leaves is orthogonal to the bits
    assert float((rest.T @ (2.0 * signs - 1)).abs().max()) < 1e-2


@pytest.mark.parametrize(
    ("structure", "start"), [("product", "pq"), ("product", "opq"), ("residual", "rq"), ("bits", "itq")]
)
def test_seeds_give_other_clusters(structure, start, vectors):
    first, again, other = (fit(form_of(structure, start), vectors, seed).heads for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-3)
