"""Texts one behind the other, as a language model reads them, and what is left of them where some is left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from experiments.parts.text import Tokens


class Stream(NamedTuple):
    """One or several texts a row: what begins a stream, a text, what ends it, the next text, ..."""

    ids: Tensor
    """int64 `[N, L]`."""
    positions: Tensor
    """int64 `[N, L]`, ascending."""
    mask: Tensor
    """bool `[N, L]`, where there is anything; a row begins at 0, and what pads stands behind it."""
    words: Tensor
    """bool `[N, L]`, where there are tokens of texts."""

    def repeat(self, count: int) -> Stream:
        """All rows so many times, one after the other."""
        return Stream(*(part.repeat(count, 1) for part in self))


def join(texts: Sequence[Tokens], begin: int, end: int, padding: int, ended: bool = False) -> Stream:
    """Row by row one stream of the texts.

    Args:
        texts: each of `N` rows.
        begin, end: tokens before the first text, and between two; what pads does so by the id `padding`.
        ended: whether the last text ends as well.
    """
    count, device = len(texts[0].ids), texts[0].ids.device
    ids, mask, words = [], [], []
    for place, text in enumerate(texts):
        mark = torch.full((count, 1), end if place else begin, device=device)
        ids += [mark, text.ids]
        mask += [torch.ones_like(mark, dtype=torch.bool), text.mask]
        words += [torch.zeros_like(mark, dtype=torch.bool), text.mask]
    if ended:
        ids.append(torch.full((count, 1), end, device=device))
        mask.append(torch.ones(count, 1, dtype=torch.bool, device=device))
        words.append(torch.zeros_like(mask[-1]))
    held = torch.cat(mask, 1)
    whole = _close_up(Stream(torch.cat(ids, 1), torch.zeros_like(held, dtype=torch.int64), held, torch.cat(words, 1)))
    positions = torch.arange(whole.ids.shape[1], device=device).expand_as(whole.ids)
    return whole._replace(ids=whole.ids.masked_fill(~whole.mask, padding), positions=positions)


def read_only(stream: Stream, kept: Tensor) -> Stream:
    """What is left of the streams without the words that are not kept, bool `[N, L]`: the others are absent.

    What begins a stream and ends a text stays. Every token keeps the position that it had.
    """
    return _close_up(stream._replace(mask=stream.mask & (kept | ~stream.words)))


def _close_up(stream: Stream) -> Stream:
    """What the mask has, moved to the left, as long as the longest row."""
    order = (~stream.mask).long().argsort(dim=1, stable=True)[:, : int(stream.mask.sum(1).max())]
    ids, positions, mask, words = (part.gather(1, order) for part in stream)
    return Stream(ids, positions, mask, words & mask)
