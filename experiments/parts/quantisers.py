"""Quantisers that are fitted to vectors, not trained by a gradient: faiss's, and codewords that are sampled."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from experiments.errors import UserError, require_count, require_number
from experiments.parts.extras import require_extra

STARTS = {
    "product": ("opq", "pq", "sampled"),
    "additive": ("opq", "pq", "sampled"),
    "residual": ("rq", "sampled"),
    "bits": ("itq", "sampled"),
}
"""What the codes of a structure may start from."""


class Quantiser(NamedTuple):
    """Vectors as sums of codewords, found by the largest of linear functions; see `Codes`."""

    projection: Tensor
    """`[W, D]`"""
    codebooks: Tensor
    """`[V, C, W]`; of bits `[V, 1, W]`."""
    heads: Tensor
    """Of the same shape."""
    biases: Tensor
    """`[V, C]`; of bits `[V, 1]`."""


class Form(NamedTuple):
    """What codes consist of, and what they start from."""

    structure: str
    """product, additive, residual or bits: see `Codes`."""
    variables: int
    categories: int
    dimensions: int
    """W, of the projected vectors."""
    start: str | None = None
    """One of `STARTS`; None: the first of them."""
    latent: str = "categorical"
    """bernoulli for bits, and only for these."""
    entropy: float = 0.3
    """Of the logits at the start, as a share of the largest one."""

    @property
    def origin(self) -> str:
        """What they start from."""
        return self.start or STARTS[self.structure][0]

    def check(self, inputs: int | None = None) -> None:
        """Refuse what cannot be made.

        Args:
            inputs: D, of the vectors; None: not known yet.

        Raises:
            UserError: in the words of the configuration.
        """
        if self.structure not in STARTS:
            raise UserError(f"model.structure is one of {', '.join(STARTS)}, not {self.structure!r}.")
        if self.origin not in STARTS[self.structure]:
            found = " or ".join(STARTS[self.structure])
            raise UserError(f"model.start={self.start} is no start for model.structure={self.structure}; give {found}.")
        require_number("model.entropy", self.entropy, least=0, below=1)
        if not self.entropy:
            raise UserError("model.entropy must be above 0, or no code but the most likely would ever be drawn.")
        for name, least in (("variables", 1), ("categories", 2), ("dimensions", 1)):
            require_count(f"model.{name}", getattr(self, name), least)
        if inputs is not None and self.dimensions > inputs:
            raise UserError(
                f"model.dimensions={self.dimensions} is more than the {inputs} of the embeddings; give less."
            )
        if self.structure in ("product", "additive") and self.dimensions % self.variables:
            raise UserError(
                f"model.dimensions={self.dimensions} must be a multiple of model.variables={self.variables}."
            )
        if self.latent != ("bernoulli" if self.structure == "bits" else "categorical"):
            raise UserError("model.latent=bernoulli and model.structure=bits go together; give both or none.")
        if self.structure == "bits" and (self.categories != 2 or self.variables > self.dimensions):
            raise UserError("model.structure=bits needs model.categories=2, and no more bits than model.dimensions.")
        if self.origin != "sampled":
            require_extra("codes", "faiss")
            if self.categories & (self.categories - 1):
                raise UserError(f"model.categories={self.categories} is no power of 2, which faiss needs.")


def fit(form: Form, inputs: Tensor, seed: int) -> Quantiser:
    """A quantiser of vectors: opq, pq, rq or itq of faiss; or sampled, codewords (or directions of bits) by chance.

    Args:
        form: of the codes.
        inputs: `[N, D]`, what it is fitted to; seen through their first principal axes, of which none is subtracted.
        seed: of what is drawn, and of faiss's clusters.

    Raises:
        UserError: where the parts do not fit together.
    """
    form.check(inputs.shape[1])
    if len(inputs) < form.categories:
        raise UserError(f"model.categories={form.categories} is more than the {len(inputs)} training documents.")
    inputs = inputs.float().cpu()
    projection = principal_axes(inputs, form.dimensions)
    rotation, codebooks = _fitted(form, inputs @ projection.T, seed)
    projection = rotation @ projection
    if form.structure == "bits":
        heads, biases = codebooks[:, :, :-1], codebooks[:, :, -1]
        projected = inputs @ projection.T
        signs = (torch.einsum("nw,vcw->nvc", projected, heads) + biases > 0).squeeze(-1).float() * 2 - 1
        # in double: the last bits of float32's solution depend on where the numbers lie in memory
        decoder = torch.linalg.lstsq(signs.double(), projected.double()).solution.float().unsqueeze(1)
        return Quantiser(projection, decoder.contiguous(), heads.contiguous(), biases.contiguous())
    return Quantiser(projection, codebooks, codebooks, -codebooks.square().sum(-1) / 2)


def principal_axes(inputs: Tensor, count: int) -> Tensor:
    """`[count, D]`: the directions of the largest mean squares, as rows, each with its largest entry above 0."""
    axes = torch.linalg.eigh(inputs.double().T @ inputs.double()).eigenvectors.T.flip(0)[:count]
    return (axes * axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()).float()


def _fitted(form: Form, projected: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """A rotation `[W, W]` and codebooks `[V, C, W]` behind it; of bits directions with offsets, `[V, 1, W + 1]`."""
    from experiments.parts import faiss_codebooks as found_by

    identity = torch.eye(form.dimensions)
    if form.origin == "sampled":
        generator = torch.Generator().manual_seed(seed)
        found = _directions(form, generator) if form.structure == "bits" else _sampled(form, projected, generator)
        return identity, found
    if form.origin == "itq":
        return identity, found_by.itq_directions(projected, form.variables, seed)
    if form.origin == "rq":
        return identity, found_by.residual_codebooks(projected, form, seed)
    rotation = found_by.rotation_of(projected, form, seed) if form.origin == "opq" else identity
    return rotation, found_by.product_codebooks(projected @ rotation.T, form, seed)


def _directions(form: Form, generator: torch.Generator) -> Tensor:
    square = torch.linalg.qr(torch.randn(form.dimensions, form.dimensions, generator=generator)).Q
    return torch.nn.functional.pad(square[: form.variables], (0, 1)).unsqueeze(1)


def _sampled(form: Form, projected: Tensor, generator: torch.Generator) -> Tensor:
    """Of each variable C rows of what the variables before have left; of a product, in its own dimensions."""
    rest, found = projected, []
    width = form.dimensions // form.variables
    for variable in range(form.variables):
        own = torch.zeros(form.dimensions)
        own[slice(None) if form.structure == "residual" else slice(variable * width, (variable + 1) * width)] = 1
        codebook = rest[torch.randperm(len(rest), generator=generator)[: form.categories]] * own
        rest = rest - codebook[torch.cdist(rest * own, codebook).argmin(1)]
        found.append(codebook)
    return torch.stack(found)
