"""Prompts of 32 bits: a code an entity, whose codewords all entities share, chosen by what the model then answers."""

from __future__ import annotations

from collections.abc import Callable

import torch

import discretegrad as dg
from experiments.data.entity_facts import EntityFacts
from experiments.engine import Step, Watch, finite
from experiments.parts.estimators import asked_on, drawn, require_estimator
from experiments.parts.language_model import LanguageModel
from experiments.systems.knowledge_prompts.memory import Codes, Form
from experiments.systems.knowledge_prompts.questions import Example
from experiments.systems.knowledge_prompts.task import PromptsTask


class CodesTask(PromptsTask):
    """Train codes and codebooks by an estimator; they are judged by the likeliest code, as they are served.

    Every entity has logits of its own, `[V, C]`, and nothing else chooses its code: f is the log-probability of the
    answer after the prompt of V vectors that the code stands for.

    Args:
        facts, model, shared, scale, vocabulary, length, answer: see `PromptsTask`.
        estimator: of the gradient w.r.t. the logits.
        prompts: V, variables of a code.
        categories: C of a variable; 8 variables of 16 make 32 bits.

    Raises:
        UserError: where the parts do not fit together.
    """

    memory: Codes

    def __init__(
        self,
        facts: EntityFacts,
        model: Callable[..., LanguageModel],
        estimator: dg.Estimator,
        prompts: int = 8,
        categories: int = 16,
        shared: bool = False,
        scale: float = 1.0,
        vocabulary: int = 8000,
        length: int = 32,
        answer: int = 12,
    ) -> None:
        require_estimator(estimator, "codes", "categorical")
        self.categories = categories
        super().__init__(facts, model, prompts, shared, scale, vocabulary, length, answer)
        self.estimator = estimator
        self.learners = dg.nn.Learners(estimator)
        self._last: tuple[Example, dg.Draw, torch.Tensor] | None = None

    def make(self, entities: int, prompts: int, scale: float) -> Codes:
        return Codes(entities, Form(prompts, self.categories), self.model.width, scale)

    @property
    def measures(self) -> dict[str, str]:  # type: ignore[override]
        """The columns."""
        return super().measures | {"entropy": "of the largest"}

    @property
    def title(self) -> str:
        """Estimator and memory."""
        return f"{type(self.estimator).__name__}, {super().title}"

    def groups(self) -> dict[str, list[torch.nn.Parameter]]:
        """Also what learns inside the estimator."""
        learning = list(self.learners.parameters())
        found, own = super().groups(), {id(p) for p in learning}
        found["optimizer"] = [p for p in found["optimizer"] if id(p) not in own]
        return found | {"learner_optimizer": learning}

    def forward(self, batch: Example, generator: torch.Generator) -> Step:
        """The surrogate of minus the log-probability of the answers."""
        logits = self.memory.logits(self.rows(batch.entities))
        draw = self.estimator.sample(logits, generator)
        values = -self.log_probability(batch, self.memory.decode(drawn(self.estimator, draw)))
        finite({"logits": logits, "nats": values})
        loss = self.estimator.surrogate(draw, values).mean() + self.learners.loss(draw, values)
        self._last = (batch, draw, values.detach())
        return Step(loss, {"train_loss": values.detach().mean()})

    def after(self) -> None:
        """Update what learns inside the estimator."""
        assert self._last is not None, "after a forward pass"
        self.learners.update(*self._last[1:])

    @torch.no_grad()
    def evaluate(self, most: int | None = None) -> dict[str, float]:
        """Also measures the entropy of the codes' probabilities."""
        logits = self.memory.table.weight.unflatten(-1, tuple(self.memory.form))
        entropy = dg.objectives.entropy(logits, latent="categorical").mean()
        largest = dg.objectives.entropy(torch.zeros_like(logits[:1]), latent="categorical").mean()
        return super().evaluate(most) | {"entropy": float(entropy / largest)}

    def watched(self) -> Watch | None:
        """What the estimator saw of the last batch, at any points."""
        if self._last is None:
            return None
        batch, draw, _ = self._last

        def nats(inputs: torch.Tensor) -> torch.Tensor:
            return -self.log_probability(batch, self.memory.decode(inputs))

        return Watch(self.estimator, nats, draw.logits, None, asked_on(self.estimator))
