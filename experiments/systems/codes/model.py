"""The loss of a batch of codes, with an estimator's gradient for what chooses them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

import discretegrad as dg
from experiments.errors import UserError, require_count, require_number
from experiments.parts.code_draws import Sampled, sample
from experiments.parts.codes import Codes
from experiments.parts.quantisers import Form
from experiments.systems.codes.objectives import OBJECTIVES, Question, cosines, local_expectation, reciprocal_ranks


class Aims(NamedTuple):
    """What codes are trained for: see `CodesTask`."""

    objective: str
    sharpness: float
    prefixes: Sequence[int]
    price: float
    asked: int | None

    def check(self, form: Form, estimator: dg.Estimator) -> None:
        """Refuse what does not fit together.

        Raises:
            UserError: in the words of the configuration.
        """
        name = type(estimator).__name__
        if self.objective not in OBJECTIVES:
            raise UserError(f"task.objective is one of {', '.join(OBJECTIVES)}, not {self.objective!r}.")
        require_number("task.sharpness", self.sharpness, least=0, below=math.inf)
        require_number("task.price", self.price, least=0, below=math.inf)
        if self.asked is not None:
            require_count("task.asked", self.asked)
        for prefix in self.prefixes:
            require_count("each of task.prefixes", prefix)
            if prefix > form.variables:
                raise UserError(f"task.prefixes has {prefix}, and there are {form.variables} variables; give less.")
        if self.objective == "rank" and not estimator.takes_ids:
            raise UserError(f"a rank has no gradient in the points, which {name} needs; use another, such as rloo.")
        if isinstance(estimator, dg.LocalExpectation):
            all_variables = form.structure in ("product", "additive") and estimator.num_variables is None
            if not all_variables or self.objective == "rank" or self.prefixes != [form.variables]:
                raise UserError(
                    f"{name} is computed by tables, which are for all variables of whole product and additive codes in "
                    "a softmax; give estimator.num_variables=null there, or another estimator, such as rloo."
                )


class Lost(NamedTuple):
    """What one forward pass finds."""

    total: Tensor
    """A scalar whose gradient is the estimate, in everything that learns."""
    loss: Tensor
    """The softmax's, without a graph."""
    drawn: Sampled
    values: Tensor
    """`[S, N]`, or `[S, N, V]`: what the estimator was given, with its graph."""


class CodesModel(nn.Module):
    """Codes, and the frequencies of their categories.

    Args:
        codes: see there.
        estimator: of the gradient w.r.t. their logits.
        aims: of the training.
        documents: `[N, D]`, by whose codes the frequencies start.
    """

    usage: Tensor

    def __init__(self, codes: Codes, estimator: dg.Estimator, aims: Aims, documents: Tensor) -> None:
        super().__init__()
        self.codes, self.estimator, self.aims = codes, estimator, aims
        self.register_buffer("usage", self.frequencies(codes.encode(documents)))
        """`[V, C]`, a moving average."""

    def frequencies(self, ids: Tensor) -> Tensor:
        """Of the categories of each variable in codes `[N, V]`, `[V, C]`; none is 0."""
        counts = torch.stack([column.bincount(minlength=self.codes.categories) for column in ids.T])
        counts = counts.to(self.codes.codebooks.dtype) + 0.5
        return counts / counts.sum(-1, keepdim=True)

    def forward(self, documents: Tensor, asked: Question, generator: torch.Generator | None) -> Lost:
        """Draw codes of documents `[N, D]`, and judge them by what they are asked."""
        tables = isinstance(self.estimator, dg.LocalExpectation)
        drawn = sample(
            self.codes, self.codes.project(documents), dg.Reinforce(1) if tables else self.estimator, generator
        )
        smooth, loss = self._smooth(drawn, asked)
        values = smooth.mean(0) + self._lengths(drawn.code).sum(-1)
        if tables:
            total = values.mean(0).sum() + self._by_tables(drawn, asked, generator)
        elif self.estimator.needs_grad_f or (len(self.aims.prefixes) == 1 and self.aims.objective != "rank"):
            total = drawn.surrogate(values).sum()
        else:  # what the logits follow is not what the codebooks do
            followed = self._ranks(drawn, asked) if self.aims.objective == "rank" else smooth
            values = self._by_variable(followed.detach()) + self._lengths(drawn.code)
            total = drawn.surrogate(values).sum() + smooth.mean((0, 1)).sum()
        self._follow(drawn.logits)
        return Lost(total, loss, drawn, values)

    def _smooth(self, drawn: Sampled, asked: Question) -> tuple[Tensor, Tensor]:
        """Values `[K, S, N]` of the K prefixes, and the loss to look at."""
        each = [
            dg.objectives.contrastive(self.aims.sharpness * scores, asked.targets, mask=asked.mask)
            for scores in self._scores(drawn, asked)
        ]
        return torch.stack([one.values for one in each]), torch.stack([one.loss for one in each]).mean()

    def _ranks(self, drawn: Sampled, asked: Question) -> Tensor:
        each = self._scores(drawn, asked)
        return torch.stack([reciprocal_ranks(scores, asked.targets, scores[0], asked.mask) for scores in each])

    def _scores(self, drawn: Sampled, asked: Question) -> list[Tensor]:
        """`[S, Q, N]` of each prefix."""
        return [cosines(asked.asked, self.codes.decode(drawn.code, prefix)) for prefix in self.aims.prefixes]

    def _by_variable(self, values: Tensor) -> Tensor:
        """`[S, N, V]` of values `[K, S, N]`: a variable is judged by the prefixes that it is in."""
        prefixes = torch.tensor(self.aims.prefixes, device=values.device).unsqueeze(1)
        within = torch.arange(self.codes.variables, device=values.device) < prefixes
        return torch.einsum("ksn,kv->snv", values, within.to(values.dtype)) / len(prefixes)

    def _lengths(self, code: Tensor) -> Tensor:
        """The priced lengths of the variables, `[S, N, V]`; where they cost nothing `[1, 1, V]`."""
        nats = -self.usage.log()
        if not self.aims.price:
            return torch.zeros_like(nats[:, 0]).expand(1, 1, -1)
        if not code.is_floating_point():
            found = nats[torch.arange(len(nats), device=code.device), code]
        elif self.codes.latent == "bernoulli":
            found = nats[:, 0] + code * (nats[:, 1] - nats[:, 0])
        else:
            found = (code * nats).sum(-1)
        return self.aims.price * found / found.shape[1]

    def _by_tables(self, drawn: Sampled, asked: Question, generator: torch.Generator | None) -> Tensor:
        queries, rows = asked.asked, None
        if self.aims.asked is not None and self.aims.asked < len(queries):
            rows = torch.randperm(len(queries), generator=generator, device=queries.device)[: self.aims.asked]
        found = local_expectation(self.codes, drawn.code[0], drawn.logits, asked, self.aims.sharpness, rows)
        lengths = (self.codes.probabilities(drawn.logits) * -self.usage.log()).sum()
        return found + self.aims.price * lengths / len(drawn.logits)

    @torch.no_grad()
    def _follow(self, logits: Tensor) -> None:
        if self.training:
            self.usage.lerp_(self.codes.probabilities(logits).flatten(0, -3).mean(0), 0.01)
