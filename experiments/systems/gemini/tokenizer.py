"""Images as a grid of tokens, and back: convolutions around a codebook."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import discretegrad as dg
from experiments.errors import UserError, require_count

SLOPE = 0.2
"""Of the rectifiers below zero."""


class Tokenizer(nn.Module):
    """An encoder to a grid of V vectors e, a codebook of C vectors c_k for all of them, a decoder of the chosen ones.

    The logits of a token are `-s |e - c_k|^2`, up to a constant, with a sharpness s that is learned: the likeliest
    code is the nearest, which is what a VQ-VAE takes (van den Oord, Vinyals, Kavukcuoglu 2017, arXiv 1711.00937), with
    the same parameters. So does SQ-VAE (Takida et al. 2022, arXiv 2205.07547), with a noise of its own.

    Args:
        mean: the training images' mean, `[H * W]`: the encoder's input is centred by it, the decoder's bias starts
            there.
        shape: `(H, W)`.
        variables: V: what is left of the pixels after halving both sides some times, rounded up.
        categories: C.
        width: channels of the convolutions.
        dimensions: D, of the codebook's vectors.

    Raises:
        UserError: for a V that no number of halvings gives.
    """

    mean: Tensor

    def __init__(
        self, mean: Tensor, shape: tuple[int, int], variables: int, categories: int, width: int, dimensions: int
    ) -> None:
        super().__init__()
        for name, count in (("variables", variables), ("width", width), ("dimensions", dimensions)):
            require_count(f"model.{name}", count)
        require_count("model.categories", categories, least=2)
        self.register_buffer("mean", mean)
        sizes = _halved(shape)
        numbers = [height * across for height, across in sizes[1:]]
        if variables not in numbers:
            raise UserError(
                f"model.variables={variables} is no grid of images of {shape[0]} x {shape[1]} pixels; give one of "
                f"{', '.join(map(str, numbers))}."
            )
        sizes = sizes[: numbers.index(variables) + 2]
        self.shape, self.grid = shape, sizes[-1]
        self.encoder = _encoder(len(sizes) - 1, width, dimensions)
        self.codebook = nn.Parameter(torch.randn(categories, dimensions) * dimensions**-0.5)
        self.log_sharpness = nn.Parameter(torch.zeros(()))
        self.decoder = _decoder(sizes, width, dimensions)
        self.bias = nn.Parameter(mean.clamp(1e-3, 1 - 1e-3).logit())
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(layer.weight, SLOPE, "fan_in" if isinstance(layer, nn.Conv2d) else "fan_out")
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def encode(self, images: Tensor) -> Tensor:
        """The grid's vectors `[B, V, D]`, row by row, of images `[B, H * W]`."""
        found = self.encoder((images - self.mean).reshape(-1, 1, *self.shape))
        return found.flatten(2).mT

    def logits(self, vectors: Tensor) -> Tensor:
        """Of the tokens, `[B, V, C]`."""
        return self.log_sharpness.exp() * (2 * vectors @ self.codebook.T - self.codebook.square().sum(1))

    def codewords(self, codes: Tensor) -> Tensor:
        """`[..., V, D]` of ids `[..., V]` or points `[..., V, C]`."""
        return codes @ self.codebook if codes.is_floating_point() else F.embedding(codes, self.codebook)

    def decode(self, codewords: Tensor) -> Tensor:
        """Logits of the pixels `[..., H * W]`."""
        grids = codewords.flatten(0, -3).mT.unflatten(2, self.grid)
        pixels = self.decoder(grids.contiguous()).flatten(1) + self.bias
        return pixels.reshape(*codewords.shape[:-2], -1)

    @torch.no_grad()
    def start(self, images: Tensor, entropy: float, generator: torch.Generator) -> None:
        """Standardise what the encoder makes of images, take codewords from it, and set the sharpness.

        So all codewords are used, and the decoder tells them apart: one that does not has nothing to lose when the
        posterior forgets the image.

        Args:
            images: `[N, H * W]`.
            entropy: of the tokens at the start, over the largest there is.
            generator: of the choice.
        """
        last = self.encoder[-1]
        assert isinstance(last, nn.Conv2d) and last.bias is not None
        deviation, centre = torch.std_mean(self.encode(images), (0, 1))
        last.weight /= deviation.clamp(min=1e-6).reshape(-1, 1, 1, 1)
        last.bias.copy_((last.bias - centre) / deviation.clamp(min=1e-6))
        vectors = self.encode(images)
        rows = vectors.flatten(0, 1)
        self.codebook.copy_(rows[torch.randperm(len(rows), generator=generator)[: len(self.codebook)].to(rows.device)])
        self.log_sharpness.zero_()
        likeness, wanted = self.logits(vectors), entropy * math.log(len(self.codebook))
        low, high = 1e-3, 1e9
        for _ in range(50):  # the entropy falls with the sharpness
            middle = math.sqrt(low * high)
            above = float(dg.objectives.entropy(middle * likeness).mean()) / likeness.shape[1] > wanted
            low, high = (middle, high) if above else (low, middle)
        self.log_sharpness.fill_(math.log(low))


def _halved(shape: tuple[int, int]) -> list[tuple[int, int]]:
    sizes = [shape]
    while max(sizes[-1]) > 1:
        height, across = sizes[-1]
        sizes.append(((height + 1) // 2, (across + 1) // 2))
    return sizes


def _encoder(halvings: int, width: int, dimensions: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for number in range(halvings):
        layers += [nn.Conv2d(width if number else 1, width, 3, stride=2, padding=1), nn.LeakyReLU(SLOPE)]
        layers += [nn.Conv2d(width, width, 3, padding=1), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers, nn.Conv2d(width, dimensions, 1))


def _decoder(sizes: list[tuple[int, int]], width: int, dimensions: int) -> nn.Sequential:
    """From the last of the sizes back to the first."""
    layers: list[nn.Module] = [nn.Conv2d(dimensions, width, 3, padding=1), nn.LeakyReLU(SLOPE)]
    for small, large in zip(sizes[:0:-1], sizes[-2::-1], strict=True):
        last = large == sizes[0]
        rest = 1 - large[0] % 2, 1 - large[1] % 2
        layers.append(nn.ConvTranspose2d(width, 1 if last else width, 3, 2, 1, output_padding=rest))
        assert [2 * side - 1 + more for side, more in zip(small, rest, strict=True)] == [*large]
        if not last:
            layers.append(nn.LeakyReLU(SLOPE))
    return nn.Sequential(*layers)
