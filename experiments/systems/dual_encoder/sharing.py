"""Which modules the two towers share, learned along with them: a gate a module, and the gradient of an estimator."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

import discretegrad as dg
from experiments.data.pairs import Pairs
from experiments.engine import Settings, Step, World
from experiments.engine.world import mixed
from experiments.errors import UserError, require_number
from experiments.parts.batches import Shuffled
from experiments.parts.contrastive import equal_texts, in_batch_softmax
from experiments.parts.text import Tokens
from experiments.parts.towers import Tower
from experiments.systems.dual_encoder.model import DualEncoder
from experiments.systems.dual_encoder.task import DualEncoderTask, Texts


class Batch(NamedTuple):
    """What a step takes."""

    step: int
    learned: Texts
    """Pairs for the towers."""
    judged: Texts | None
    """Pairs for the gates; None: the same."""


class Tied(nn.Module):
    """A tower in which a gate a module says whether its parameters are those that both towers have, or its own.

    Args:
        own, common: towers of one shape.
        modules: the names of a tower's parameters, by module; in the gates' order.
        gates: `[M]`, 1 where the common parameters are taken.
    """

    def __init__(self, own: Tower, common: Tower, modules: dict[str, list[str]], gates: Tensor) -> None:
        super().__init__()
        self.own = own
        self.parameters_taken: dict[str, Tensor] = {
            name: (common if shared else own).get_parameter(name)
            for names, shared in zip(modules.values(), gates.tolist(), strict=True)
            for name in names
        }

    def forward(self, tokens: Tokens) -> Tensor:
        """Embeddings `[N, D]` of length 1."""
        embeddings: Tensor = torch.func.functional_call(self.own, self.parameters_taken, (tokens,))
        return embeddings


class SharingTask(DualEncoderTask):
    """Train two towers, and which of their modules are one for both.

    A gate b_m a module, 1 with probability sigmoid(l_m): one copy for both towers, or each its own. f(b) is the loss
    of the network so tied, plus a price for every module with two copies. The logits follow the estimator's gradient of
    E f(b), the copies the average of the losses at its points. What is learned is the tie of most likely gates, which
    `model.variant` then trains from the start.

    Args:
        pairs, model, vocabulary, length, temperature, trigrams, drop, same_tower: see `DualEncoderTask`; the variant is
            ade.
        estimator: of the gradient w.r.t. the gates' logits; for Bernoulli latents.
        price: of a module with two copies, in nats.
        apart: the share of the training pairs that the towers do not learn from, by which gates are judged; 0: gates
            are judged by the pairs that the towers learn from.

    Raises:
        UserError: where the parts do not fit together.
    """

    def __init__(
        self,
        pairs: Pairs,
        model: Callable[..., DualEncoder],
        estimator: dg.Estimator,
        vocabulary: int = 8000,
        length: int = 24,
        temperature: float = 0.05,
        trigrams: int | None = None,
        drop: float = 0.0,
        price: float = 0.0,
        apart: float = 0.0,
        same_tower: bool = False,
    ) -> None:
        super().__init__(pairs, model, vocabulary, length, temperature, trigrams, drop, same_tower)
        require_number("task.price", price, least=0, below=float("inf"))
        require_number("task.apart", apart, least=0, below=1)
        if estimator.latent != "bernoulli" or estimator.needs_grad_f or estimator.learners:
            raise UserError(
                f"{type(estimator).__name__} is no estimator for gates: a module is shared or not, and nothing lies "
                "between; use one for Bernoulli latents without the gradient of f, such as estimator=disarm."
            )
        if self.model.shared:
            raise UserError("what the towers share is to be learned; give model.variant=ade.")
        self.estimator, self.price, self.apart = estimator, price, apart
        self.common = copy.deepcopy(self.model.query_tower)
        nn.init.normal_(self.common.projection.weight, std=self.common.projection.in_features**-0.5)
        self.gates = nn.Parameter(torch.zeros(len(self.model.modules_of_towers)))
        """Logits `[M]`."""

    @property
    def measures(self) -> dict[str, str]:  # type: ignore[override]
        """The columns, with a probability for each of the modules that the towers have."""
        shares = {f"share_{module}": "probability" for module in self.model.modules_of_towers}
        return DualEncoderTask.measures | {"objective": "nats per pair"} | shares

    @property
    def title(self) -> str:
        """The most likely tie, and data."""
        return f"Learned sharing ({self.tie() or 'nothing shared'}) on {self.pairs.name}"

    def tie(self) -> str:
        """The most likely one, as `model.variant` takes it; empty: nothing is shared."""
        gates = (self.gates > 0).tolist()
        return "+".join(module for module, on in zip(self.model.modules_of_towers, gates, strict=True) if on)

    def begin(self, settings: Settings, world: World) -> None:
        super().begin(settings, world)
        self.seed, count = settings.seed, len(self.pairs.train)
        self.kept = round(count * self.apart)
        self.order = Shuffled(count - self.kept, settings.batch, settings.seed, world)
        self.judges = Shuffled(self.kept, settings.batch, settings.seed, world) if self.apart else None

    def batch(self, step: int) -> Batch:  # type: ignore[override]
        """Pairs `[B]`, and as many to judge by."""
        first = len(self.pairs.train) - self.kept
        judged = None if self.judges is None else self.train_texts.take(first + self.judges(step))
        return Batch(step, self.train_texts.take(self.order(step)), judged)

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """All copies, and the gates."""
        copies = [*self.model.parameters(), *self.common.parameters()]
        return {"optimizer": copies, "gate_optimizer": [self.gates]}

    def forward(self, batch: Batch, generator: torch.Generator) -> Step:  # type: ignore[override]
        """The surrogate of the gates' objective, in which the copies have the average loss of the points."""
        # The same ties in all processes, whose documents are each other's negatives.
        ties = torch.Generator(self.gates.device).manual_seed(mixed(self.seed, batch.step))
        draw = self.estimator.sample(self.gates, ties)
        copies = self.price * (1 - draw.points).sum(-1)
        losses = self.losses(self._dropped(batch.learned, generator), draw.points)
        if batch.judged is None:
            objective = losses + copies
            loss = self.estimator.surrogate(draw, objective)
        else:
            with torch.no_grad():
                objective = self.losses(self._dropped(batch.judged, generator), draw.points) + copies
            loss = self.estimator.surrogate(draw, objective) + losses.mean()
        return Step(loss.mean(), {"train_loss": losses.detach().mean(), "objective": objective.detach().mean()})

    def losses(self, texts: Texts, points: Tensor) -> Tensor:
        """The loss of the network tied by each of the points: `[S]` of `[S, M]`."""
        equal = equal_texts(texts.queries.text, texts.documents.text, self.world)
        found = []
        for gates in points:
            queries, documents = (tower(tokens) for tower, tokens in zip(self.tied(gates), texts, strict=True))
            losses = in_batch_softmax(queries, documents, equal, self.temperature, self.world, self.same_tower)
            found.append(losses.mean())
        return torch.stack(found)

    def towers(self) -> tuple[nn.Module, nn.Module]:
        """Those of the most likely tie."""
        return self.tied((self.gates > 0).float())

    def tied(self, gates: Tensor) -> tuple[Tied, Tied]:
        """The towers of queries and of documents, tied by gates `[M]`."""
        modules = self.model.modules_of_towers
        query, document = self.model.query_tower, self.model.document_tower
        return Tied(query, self.common, modules, gates), Tied(document, self.common, modules, gates)

    def noted(self) -> dict[str, float | None]:
        """The probability of every gate."""
        shares = self.gates.detach().sigmoid().tolist()
        return {f"share_{module}": share for module, share in zip(self.model.modules_of_towers, shares, strict=True)}
