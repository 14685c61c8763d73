"""Vectors as codes of V variables, and back: what vector search stores, as a module that learns."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

import discretegrad as dg
from experiments.parts import code_search
from experiments.parts.quantisers import Quantiser


class Codes(nn.Module):
    """V variables of C categories for a vector x, and the vector that they stand for.

    Of u = projection x `[W]` the logits of variable v are linear,

        logits_v = heads_v u + biases_v,     residual: heads_v (u - sum of codebooks_w[z_w] over w < v) + biases_v,

    and the code stands for the sum over v of codebooks_v[z_v]; of bits z_v in {0, 1}, of (2 z_v - 1) codebooks_v.
    At the start this is the quantiser: heads are its codebooks and biases -|codebook|^2 / 2, both times one number,
    so that the largest logit is the nearest codeword, and the sum of a code's logits tells how near it is.

    Args:
        structure: product, whose codebooks are of W / V dimensions each; additive; residual, a chain; or bits.
        start: what it starts from.
        inputs: vectors `[N, D]` by which the logits' size is found.
        entropy: of the logits at the start, as a share of the largest one.
    """

    projection: Tensor
    block: Tensor

    def __init__(self, structure: str, start: Quantiser, inputs: Tensor, entropy: float = 0.3) -> None:
        super().__init__()
        self.structure = structure
        self.variables, rows, width = start.codebooks.shape
        self.categories = 2 if structure == "bits" else rows
        self.register_buffer("projection", start.projection)
        self.register_buffer("block", torch.ones(self.variables, 1, width))
        if structure == "product":
            self.block.copy_(blocks(self.variables, width))
        self.codebooks = nn.Parameter(start.codebooks.clone())
        self.heads = nn.Parameter(start.heads.clone())
        self.biases = nn.Parameter(start.biases.clone())
        scale = scale_for(self.greedy(self.project(inputs))[1], entropy, self.latent)
        with torch.no_grad():
            self.heads.mul_(scale)
            self.biases.mul_(scale)

    @property
    def latent(self) -> str:
        """As an estimator has it."""
        return "bernoulli" if self.structure == "bits" else "categorical"

    @property
    def chain(self) -> bool:
        """Whether logits depend on the variables before."""
        return self.structure == "residual"

    @property
    def table(self) -> Tensor:
        """What each category adds, `[V, C, W]`; of bits what a one adds, `[V, 1, W]`."""
        return self.codebooks * self.block

    def project(self, inputs: Tensor) -> Tensor:
        """u `[*, W]` of x `[*, D]`."""
        return inputs @ self.projection.T

    @property
    def weights(self) -> code_search.Weights:
        """All that search needs."""
        return code_search.Weights(self.heads, self.biases, self.table, self.structure)

    def logits(self, projected: Tensor) -> Tensor:
        """`[N, V, C]`, or `[N, V]` of bits, where these depend on no variable."""
        return code_search.logits_of(self.weights, projected)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Of all categories, those of a bit included: `[*, V, C]`."""
        if self.structure != "bits":
            return logits.softmax(-1)
        ones = logits.sigmoid()
        return torch.stack((1 - ones, ones), -1)

    def decode(self, code: Tensor, prefix: int | None = None) -> Tensor:
        """The vectors `[*, W]` of ids, or of points: see `code_search.decode`."""
        return code_search.decode(self.weights, code, prefix)

    @torch.no_grad()
    def encode(self, inputs: Tensor, beam: int = 1) -> Tensor:
        """The ids `[N, V]` that are served: those of the largest logits.

        Args:
            inputs: `[N, D]`.
            beam: how many codes of a chain are kept at each variable, those with the largest sums of logits.
        """
        return code_search.search(self.weights, self.project(inputs), beam)

    @torch.no_grad()
    def greedy(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        """The most likely ids `[N, V]`, one variable after the other, and the logits there, as `logits` has them."""
        return code_search.greedy(self.weights, projected)


def blocks(variables: int, width: int) -> Tensor:
    """Which dimensions belong to which variable of a product, `[V, 1, W]`."""
    return torch.eye(variables).repeat_interleave(width // variables, 1).unsqueeze(1)


def scale_for(logits: Tensor, entropy: float, latent: str) -> float:
    """What to multiply logits by so that their mean entropy is a share of the largest one; by bisection."""
    most = math.log(2 if latent == "bernoulli" else logits.shape[-1]) * logits.shape[1]
    low, high = -20.0, 20.0
    for _ in range(40):
        middle = (low + high) / 2
        share = float(dg.objectives.entropy(logits * math.exp(middle), latent=latent).mean()) / most
        low, high = (middle, high) if share > entropy else (low, middle)
    return math.exp((low + high) / 2)
