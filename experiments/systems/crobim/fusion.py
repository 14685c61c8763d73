"""Image and expression look at each other: LGFA at every scale, and MID above all of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.systems.crobim.attention import Attention, Block, as_map, tokens
from experiments.systems.crobim.language import Read


class Modulated(nn.Module):
    """Without LGFA: every map times a vector of the whole expression.

    Args:
        width: D.
        levels: maps.
    """

    def __init__(self, width: int, levels: int) -> None:
        super().__init__()
        self.by = nn.ModuleList(nn.Linear(width, width) for _ in range(levels))

    def forward(self, maps: Sequence[Tensor], read: Read) -> list[Tensor]:
        """Maps `[B, D, h, w]` of the same shapes."""
        return [m * (1 + by(read.whole))[..., None, None] for m, by in zip(maps, self.by, strict=True)]


class LanguageGuided(nn.Module):
    """LGFA: at every scale pixels look at words; what they find is mixed across scales; what was starved is given back.

        A_l = softmax over words (V_l F_t^T)                    what pixels find: A_l F_t
        V'_l = V_l + sum over m of w_lm resize(A_m F_t)         w_lm: softmax over scales m, at every pixel
        a_l = mean over words of softmax over pixels (V_l F_t^T)
        V*_l = V'_l + gamma_l (1 - a_l / max a_l) V_l           attention deficit compensation

    The paper's flowchart names these steps; the formulas are a reconstruction.

    Args:
        width: D.
        levels: maps.
    """

    def __init__(self, width: int, levels: int) -> None:
        super().__init__()
        self.attend = nn.ModuleList(Attention(width) for _ in range(levels))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(levels))
        self.weigh = nn.ModuleList(nn.Conv2d(width, 1, 1) for _ in range(levels))
        self.gamma = nn.Parameter(torch.ones(levels))

    def forward(self, maps: Sequence[Tensor], read: Read) -> list[Tensor]:
        """Maps `[B, D, h, w]` of the same shapes."""
        found, starved = [], []
        for features, attend, norm in zip(maps, self.attend, self.norms, strict=True):
            own, logits = attend(norm(tokens(features)), read.words, read.mask)
            found.append(as_map(own, features))
            starved.append(as_map(deficit(logits, read.mask).unsqueeze(-1), features))
        weights = [weigh(each) for weigh, each in zip(self.weigh, found, strict=True)]
        results = []
        for level, features in enumerate(maps):
            size = features.shape[-2:]
            shares = torch.stack([F.interpolate(w, size=size, mode="bilinear") for w in weights]).softmax(0)
            mixed = torch.stack([F.interpolate(each, size=size, mode="bilinear") for each in found])
            gathered = features + (shares * mixed).sum(0)
            results.append(gathered + self.gamma[level] * starved[level] * features)
        return results


def deficit(logits: Tensor, mask: Tensor) -> Tensor:
    """How little each pixel is looked at by the words, `[B, N]`: 0 for the one that most is, up to 1.

    Args:
        logits: `[B, h, N, M]` of N pixels and M words.
        mask: bool `[B, M]`, where there are words.
    """
    there = mask[:, None, None].to(logits.dtype)
    looked = logits.masked_fill(~mask[:, None, None], 0.0).softmax(-2) * there
    received = looked.sum((1, 3)) / there.sum((1, 3))
    return 1 - received / received.amax(-1, keepdim=True)


class Decoder(nn.Module):
    """All scales summed at the finest one, and a logit for each of its pixels.

    With MID, words and prompts look at the pixels, and pixels at what these have found, in turns; the logit of a pixel
    is the product of what it is then with a mixture of words and prompts. Without, with the whole expression.

    Args:
        width: D.
        levels: maps.
        layers: of MID; 0: none.
    """

    def __init__(self, width: int, levels: int, layers: int) -> None:
        super().__init__()
        self.smooth = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(levels))
        self.to_words = nn.ModuleList(Block(width) for _ in range(layers))
        self.to_pixels = nn.ModuleList(Block(width) for _ in range(layers))
        self.mix = nn.Linear(width, 1) if layers else None
        self.refine = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.GELU())
        self.match = nn.Linear(width, width)
        self.bias = nn.Parameter(torch.tensor(-2.0))

    def forward(self, maps: Sequence[Tensor], read: Read) -> tuple[Tensor, Tensor]:
        """Features `[B, D, h, w]` and logits `[B, 1, h, w]` at the finest scale."""
        pixels = self.smooth[-1](maps[-1])
        for level in range(len(maps) - 2, -1, -1):
            above = F.interpolate(pixels, size=maps[level].shape[-2:], mode="bilinear")
            pixels = self.smooth[level](F.gelu(maps[level] + above))
        words, whole = read.prompted, read.whole
        for to_words, to_pixels in zip(self.to_words, self.to_pixels, strict=True):
            words = to_words(words, tokens(pixels))
            pixels = as_map(to_pixels(tokens(pixels), words, read.prompted_mask), pixels)
        if self.mix is not None:
            shares = self.mix(words).masked_fill(~read.prompted_mask.unsqueeze(-1), -torch.inf).softmax(1)
            whole = (shares * words).sum(1)
        pixels = self.refine(pixels)
        logits = torch.einsum("bdhw,bd->bhw", pixels, self.match(whole)) / pixels.shape[1] ** 0.5 + self.bias
        return pixels, logits.unsqueeze(1)
