"""Images and captions as one stream of discrete tokens, in the manner of Gemini (arXiv 2312.11805)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import discretegrad as dg
from discretegrad.objectives import log_prob
from experiments.data.captions import Captions
from experiments.errors import UserError, require_number
from experiments.parts.images import log_likelihood
from experiments.systems.gemini.language import Language
from experiments.systems.gemini.tokenizer import Tokenizer


class Terms(NamedTuple):
    """The terms of the ELBO at the points."""

    log_likelihood: Tensor
    """`log p(x | z)`, `[S, B]`."""
    log_prior: Tensor
    """`log p(z_v | z_1 ... z_{v-1}, caption)`, `[S, B, V]`."""
    log_posterior: Tensor
    """`log q(z_v | x)`, `[S, B, V]`; 0 where the posterior is one point."""

    @property
    def elbo(self) -> Tensor:
        """`[S, B]`."""
        return self.log_likelihood + (self.log_prior - self.log_posterior).sum(-1)

    def weighted(self, weight: float) -> Terms:
        """With a weight for what the tokens cost."""
        return Terms(self.log_likelihood, weight * self.log_prior, weight * self.log_posterior)


class Gemini(nn.Module):
    """A tokenizer of images, and a language model of captions and image tokens.

    Args:
        mean: the training images' mean, `[H * W]`.
        shape: `(H, W)`.
        captions: how images are put into words.
        examples: of a stream, at most.
        language: the language model's configuration: see `Language`.
        variables: V, image tokens: of a grid that halving the sides gives.
        categories: C, of an image token.
        posterior: "sampled": tokens are drawn from the softmax of the logits; "nearest": they are the likeliest, as
            those of a VQ-VAE, and the posterior is one point.
        width: channels of the convolutions.
        dimensions: of the codebook's vectors.
        entropy: of the tokens at the start, over the largest there is.
        latent: "categorical"; here for the configurations of estimators.

    Raises:
        UserError: for what cannot be meant.
    """

    def __init__(
        self,
        mean: Tensor,
        shape: tuple[int, int],
        captions: Captions,
        examples: int,
        language: Mapping[str, Any],
        variables: int = 16,
        categories: int = 32,
        posterior: str = "sampled",
        width: int = 32,
        dimensions: int = 16,
        entropy: float = 0.5,
        latent: str = "categorical",
    ) -> None:
        super().__init__()
        if posterior not in ("sampled", "nearest"):
            raise UserError(f"model.posterior is sampled or nearest, not {posterior!r}.")
        if latent != "categorical":
            raise UserError(f"image tokens are categorical; leave model.latent={latent} out.")
        require_number("model.entropy", entropy, least=1e-3, below=1)
        self.sampled, self.entropy, self.latent = posterior == "sampled", entropy, latent
        self.tokenizer = Tokenizer(mean, shape, variables, categories, width, dimensions)
        slots = captions.slots
        self.language = Language(language, len(captions.words), len(slots), variables, categories, examples)

    def posterior_logits(self, images: Tensor) -> Tensor:
        """Of the tokens, `[B, V, C]`, for images `[B, H * W]`."""
        return self.tokenizer.logits(self.tokenizer.encode(images))

    def pixel_logits(self, codes: Tensor) -> Tensor:
        """`[..., H * W]` of ids `[..., V]` or points `[..., V, C]`."""
        return self.tokenizer.decode(self.tokenizer.codewords(codes))

    def log_likelihood(self, images: Tensor, codes: Tensor) -> Tensor:
        """`log p(x | z)`, `[S, B]`, for images `[B, H * W]` and ids `[S, B, V]` or points `[S, B, V, C]`."""
        return log_likelihood(images, self.pixel_logits(codes))

    def terms(self, images: Tensor, captions: Tensor, codes: Tensor, logits: Tensor) -> Terms:
        """The ELBO's terms.

        Args:
            images: `[B, H * W]`.
            captions: int64 `[B, L]`.
            codes: ids `[S, B, V]` or points `[S, B, V, C]`.
            logits: of the posterior, `[B, V, C]`, without a graph: the mean of `grad log q` over q is zero, so that
                with it the gradient would only be noisier.
        """
        posterior = log_prob(codes, logits, event_dims=0)
        return Terms(
            self.log_likelihood(images, codes),
            self.language.log_prob(captions, codes),
            posterior if self.sampled else torch.zeros_like(posterior),
        )

    def draw(self, images: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Ids `[count, B, V]` of the posterior, and its logits; where it is one point, that alone: `[1, B, V]`."""
        logits = self.posterior_logits(images)
        if not self.sampled:
            return logits.argmax(-1).unsqueeze(0), logits
        return dg.Reinforce(count).sample(logits, generator).indices, logits
