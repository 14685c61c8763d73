"""One causal language model for captions and images: both are tokens of one vocabulary, in one stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.errors import require_count
from experiments.parts.decoders import new_decoder
from experiments.parts.extras import require_extra
from experiments.parts.towers import configured

EXAMPLE, CAPTION, IMAGE = 1, 2, 3
"""Tokens that say what follows: an example, its caption, its image. 0 pads, and is not used."""
WORDS = 4
"""The first word of captions; behind the words come the tokens of images."""


class Language(nn.Module):
    """A causal transformer on examples, each a caption and an image in either order:

        [EXAMPLE, CAPTION, w_1 ... w_L, IMAGE, z_1 ... z_V]
        [EXAMPLE, IMAGE, z_1 ... z_V, CAPTION, w_1 ... w_L]

    It predicts words and image tokens, out of the whole vocabulary, but not the three tokens that say what follows. An
    image token's embedding has one of its place in the grid added, as those of DALL·E have (arXiv 2102.12092).

    Args:
        sizes: `model_type` and what else the configuration of that architecture of `transformers` has.
        words: number of words.
        slots: L.
        variables: V.
        categories: of an image token.
        examples: in a stream, at most.

    Raises:
        UserError: where the extra `systems` is missing, or the architecture is none of a causal language model.
    """

    def __init__(
        self, sizes: Mapping[str, Any], words: int, slots: int, variables: int, categories: int, examples: int
    ) -> None:
        super().__init__()
        require_extra("systems", "transformers")
        require_count("task.examples", examples)
        self.slots, self.variables, self.categories, self.examples = slots, variables, categories, examples
        self.images = WORDS + words
        """The first image token."""
        config = configured(sizes, self.images + categories, examples * self.length, "model.language")
        self.network = new_decoder(config, "model.language")
        width = self.network.get_input_embeddings().embedding_dim
        self.places = nn.Parameter(torch.randn(variables, width) * width**-0.5)

    @property
    def length(self) -> int:
        """Of an example in tokens."""
        return 3 + self.slots + self.variables

    def logits(self, embedded: Tensor) -> Tensor:
        """Of the token after each, `[N, T, vocabulary]`, from embeddings `[N, T, H]`."""
        return self.network(inputs_embeds=embedded, use_cache=False).logits

    def embed(self, ids: Tensor) -> Tensor:
        """Embeddings `[N, T, H]` of streams."""
        where = torch.arange(ids.shape[1], device=ids.device)
        begun = torch.where(ids == IMAGE, where, -1).cummax(1).values
        place = (where - begun - 1).clamp(0, self.variables - 1)
        own = torch.where((ids >= self.images).unsqueeze(-1), self.places[place], 0.0)
        return self.network.get_input_embeddings()(ids) + own

    def log_prob(self, captions: Tensor, codes: Tensor) -> Tensor:
        """`log p(z_v | z_1 ... z_{v-1}, caption)`, `[S, B, V]`.

        Args:
            captions: int64 `[B, L]`, numbers of words.
            codes: ids of image tokens, int64 `[S, B, V]`; or points `[S, B, V, C]`, of which relaxed ones are read as
                means of embeddings, and their log-probability is the mean over categories: a language model has none.
        """
        relaxed = codes.is_floating_point()
        points, batch = codes.shape[:2]
        before, embedder = self.embed(self.caption_first(captions)), self.network.get_input_embeddings()
        if relaxed:
            own = codes @ embedder.weight[self.images :] * float(getattr(embedder, "embed_scale", 1.0))
        else:
            own = embedder(codes + self.images)
        own = (own + self.places)[:, :, :-1]
        embedded = torch.cat((before.expand(points, *before.shape), own), 2).flatten(0, 1)
        logits = self.logits(embedded)[:, -self.variables :].unflatten(0, (points, batch))
        found = logits.log_softmax(-1)[..., self.images :]
        return (codes * found).sum(-1) if relaxed else found.gather(-1, codes.unsqueeze(-1)).squeeze(-1)

    def caption_first(self, captions: Tensor, ids: Tensor | None = None) -> Tensor:
        """Examples from their captions, `[N, 3 + L]` without the image, `[N, T]` with its tokens `[N, V]`."""
        parts = [self._marks(captions, EXAMPLE, CAPTION), captions + WORDS, self._marks(captions, IMAGE)]
        return torch.cat(parts if ids is None else [*parts, ids + self.images], 1)

    def image_first(self, ids: Tensor, captions: Tensor | None = None) -> Tensor:
        """Examples from their images' tokens, `[N, 3 + V]` without the caption, `[N, T]` with it."""
        parts = [self._marks(ids, EXAMPLE, IMAGE), ids + self.images, self._marks(ids, CAPTION)]
        return torch.cat(parts if captions is None else [*parts, captions + WORDS], 1)

    def streams(self, captions: Tensor, ids: Tensor) -> Tensor:
        """`-log p` of streams of several examples, a scalar: nats per example, captions and images together.

        Half of the streams have all captions first, the others all images; what does not fill a stream is left out.

        Args:
            captions: int64 `[B, L]`.
            ids: of image tokens, int64 `[B, V]`.
        """
        count = len(ids) // self.examples
        half = (count + 1) // 2 * self.examples
        rest = slice(half, count * self.examples)
        first = self.caption_first(captions[:half], ids[:half])
        tokens = torch.cat((first, self.image_first(ids[rest], captions[rest])))
        tokens = tokens.reshape(count, -1)
        logits = self.logits(self.embed(tokens[:, :-1]))
        lost = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
        return lost[tokens[:, 1:].flatten() >= WORDS].sum() / (count * self.examples)

    @torch.no_grad()
    def write(self, tokens: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Go on with streams `[N, T]`, whose last token says with what.

        Args:
            tokens: all alike up to words and image tokens.
            generator: of what is drawn; None: the likeliest token each time.

        Returns:
            Numbers of words `[N, L]`, or ids of image tokens `[N, V]`.
        """
        caption = bool(tokens[0, -1] == CAPTION)
        kind = slice(WORDS, self.images) if caption else slice(self.images, None)
        start = tokens.shape[1]
        for _ in range(self.slots if caption else self.variables):
            logits = self.logits(self.embed(tokens))[:, -1, kind]
            if generator is None:
                chosen = logits.argmax(-1, keepdim=True)
            else:
                chosen = torch.multinomial(logits.softmax(-1), 1, generator=generator)
            tokens = torch.cat((tokens, chosen + kind.start), 1)
        return tokens[:, start:] - kind.start

    @staticmethod
    def _marks(like: Tensor, *marks: int) -> Tensor:
        return torch.tensor(marks, device=like.device).expand(len(like), -1)
