"""What faiss's quantisers have learned, as tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from experiments.parts.quantisers import Form


def library_of_one_thread() -> Any:
    """The library, with one thread: with several its results depend on their number."""
    import faiss as library

    library.omp_set_num_threads(1)
    return library


def product_quantiser(form: Form, seed: int = 0) -> Any:
    """Of faiss, untrained."""
    return _untrained(library_of_one_thread().ProductQuantizer, form, seed)


def residual_quantiser(form: Form, beam: int = 5, seed: int = 0) -> Any:
    """Of faiss, untrained."""
    found = _untrained(library_of_one_thread().ResidualQuantizer, form, seed)
    found.max_beam_size = beam
    return found


def _untrained(kind: Any, form: Form, seed: int) -> Any:
    """Whose clusters with seed 0 are those of faiss by default."""
    found = kind(form.dimensions, form.variables, form.categories.bit_length() - 1)
    found.cp.seed += seed
    found.cp.min_points_per_centroid = 1  # or it writes a warning for every clustering of fewer than 39
    return found


def product_codebooks(projected: Tensor, form: Form, seed: int) -> Tensor:
    """Of a trained product quantiser, with zeros beside each one's dimensions."""
    quantiser = product_quantiser(form, seed)
    quantiser.train(projected.numpy())
    return from_product(quantiser, form)


def from_product(quantiser: Any, form: Form) -> Tensor:
    """The codebooks `[V, C, W]` of a product quantiser of faiss."""
    width = form.dimensions // form.variables
    flat = torch.from_numpy(library_of_one_thread().vector_to_array(quantiser.centroids).copy())
    found = torch.zeros(form.variables, form.categories, form.dimensions)
    for variable, codebook in enumerate(flat.reshape(form.variables, form.categories, width)):
        found[variable, :, variable * width : (variable + 1) * width] = codebook
    return found


def rotation_of(projected: Tensor, form: Form, seed: int) -> Tensor:
    """The rotation `[W, W]` of faiss's optimised product quantiser."""
    library = library_of_one_thread()
    rotation = library.OPQMatrix(form.dimensions, form.variables)
    quantiser = product_quantiser(form, seed)
    rotation.pq = quantiser  # or it would be one of 256 categories
    rotation.train(projected.numpy())
    return torch.from_numpy(library.vector_to_array(rotation.A).copy()).reshape(form.dimensions, form.dimensions)


def residual_codebooks(projected: Tensor, form: Form, seed: int) -> Tensor:
    """The codebooks `[V, C, W]` of faiss's residual quantiser, trained with a beam of 5."""
    quantiser = residual_quantiser(form, seed=seed)
    quantiser.train(projected.numpy())
    return from_residual(quantiser, form)


def from_residual(quantiser: Any, form: Form) -> Tensor:
    """The codebooks of a residual quantiser of faiss."""
    flat = torch.from_numpy(library_of_one_thread().vector_to_array(quantiser.codebooks).copy())
    return flat.reshape(form.variables, form.categories, form.dimensions)


def itq_directions(projected: Tensor, bits: int, seed: int) -> Tensor:
    """The directions of iterative quantisation with their offsets, `[bits, 1, W + 1]`."""
    library = library_of_one_thread()
    transform = library.ITQTransform(projected.shape[1], bits, True)
    transform.itq.seed += seed
    transform.train(projected.numpy())
    matrix = torch.from_numpy(library.vector_to_array(transform.pca_then_itq.A).copy()).reshape(bits, -1)
    mean = torch.from_numpy(library.vector_to_array(transform.mean).copy())
    return torch.cat((matrix, -(matrix @ mean).unsqueeze(1)), 1).unsqueeze(1)
