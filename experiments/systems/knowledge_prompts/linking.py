"""Which entity's prompts a question needs, where its name is ambiguous: learned from answers alone."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import discretegrad as dg
from experiments.data.entity_facts import EntityFacts
from experiments.engine import Settings, Step, UserError, Watch, World, finite, require_count
from experiments.parts.batches import Shuffled
from experiments.parts.estimators import asked_on, drawn, require_estimator
from experiments.parts.language_model import LanguageModel
from experiments.parts.retrieval import spread
from experiments.parts.text import Tokens
from experiments.parts.towers import Tower
from experiments.systems.knowledge_prompts.candidates import SENSES, Candidates
from experiments.systems.knowledge_prompts.candidates import candidates as find
from experiments.systems.knowledge_prompts.memory import Prompts, saved_prompts
from experiments.systems.knowledge_prompts.questions import Example
from experiments.systems.knowledge_prompts.task import PromptsTask

CHUNK = 256
"""Contexts that are read at a time."""


class Linker(nn.Module):
    """Scores of candidates: the cosine of the mention's context and of what the prompts say.

    Args:
        encoder: of contexts, which learns.
        numbers: of an entity's prompts, P times D.
        dimensions: of the embeddings that are compared.
    """

    def __init__(self, encoder: Any, numbers: int, dimensions: int) -> None:
        super().__init__()
        self.contexts = Tower(encoder, dimensions)
        self.keys = nn.Linear(numbers, dimensions, bias=False)
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(10.0)))

    def forward(self, contexts: Tokens, prompts: Tensor) -> Tensor:
        """Logits `[B, 1, N]` of candidates whose prompts are `[B, N, P, D]`."""
        keys = F.normalize(self.keys(prompts.flatten(-2)), dim=-1)
        cosines = torch.einsum("bk,bnk->bn", self.contexts(contexts), keys)
        return (self.log_sharpness.exp() * cosines).unsqueeze(1)


class LinkingTask(PromptsTask):
    """Train what chooses among up to N entities by what the model then answers; nobody says which is right.

    A mention is a name in a context. The context goes to the linker alone, so that answers come from the prompts. The
    entities of one name out of five are judged by, and no question about them is trained on.

    Args:
        facts, model, prompts, shared, scale, vocabulary, length, answer: see `PromptsTask`.
        memory: the folder of a run of `PromptsTask`, whose prompts are read and stay; None: `prompts` as they start.
        estimator: of the gradient w.r.t. the candidates' logits.
        candidates: N, entities at most.
        dimensions: see `Linker`.
        labels: whether to train by which entity is right instead, as a ceiling.

    Raises:
        UserError: where the parts do not fit together.
    """

    def __init__(
        self,
        facts: EntityFacts,
        model: Callable[..., LanguageModel],
        estimator: dg.Estimator,
        memory: str | None = None,
        candidates: int = 16,
        dimensions: int = 64,
        labels: bool = False,
        prompts: int = 4,
        shared: bool = False,
        scale: float = 1.0,
        vocabulary: int = 8000,
        length: int = 32,
        answer: int = 12,
    ) -> None:
        require_count("task.candidates", candidates, least=2)
        require_estimator(estimator, "choices among entities", "categorical")
        if not isinstance(labels, bool):
            raise UserError(f"task.labels is true or false, not {labels!r}.")
        if shared:
            raise UserError("task.shared=true has one prompt, among which there is nothing to choose; use false.")
        if not facts.mentions:
            raise UserError(f"no name of {facts.name} is ambiguous; use data=wordnet_facts.")
        self.source = memory
        super().__init__(facts, model, prompts, shared, scale, vocabulary, length, answer)
        self.memory.requires_grad_(False)
        self.estimator, self.labels = estimator, labels
        self.learners = dg.nn.Learners(estimator)
        numbers = self.memory.table.weight.shape[1]
        self.linker = Linker(copy.deepcopy(self.model.network.get_encoder()), numbers, dimensions).requires_grad_()
        self.choices = find(facts, candidates)
        self._last: tuple[Example, dg.Draw, Tensor] | None = None

    def make(self, entities: int, prompts: int, scale: float) -> Prompts:
        """See `PromptsTask.make`."""
        width = self.model.width
        return (
            Prompts(entities, prompts, width, scale)
            if self.source is None
            else saved_prompts(self.source, entities, width)
        )

    @property
    def measures(self) -> dict[str, str]:  # type: ignore[override]
        """As `Task.measures`."""
        answers, linked = "share of learned facts", "share of names"
        found = {"train_loss": "nats per answer", "em": answers, "em_right": answers, "em_first": answers}
        found |= {"em_random": answers, "accuracy": linked, "accuracy_first": linked, "accuracy_chance": linked}
        counts = self.choices.senses[self.choices.judged]
        groups = {name for name, (least, most) in SENSES.items() if bool(((counts >= least) & (counts <= most)).any())}
        return found | {f"accuracy_{name}": linked for name in SENSES if name in groups}

    @property
    def title(self) -> str:
        """Estimator and data."""
        how = "labels" if self.labels else type(self.estimator).__name__
        return f"Entities of ambiguous names by {how}, {self.choices.entities.shape[1]} candidates, {self.facts.name}"

    def begin(self, settings: Settings, world: World) -> None:
        """See `Task.begin`."""
        super().begin(settings, world)
        self.choices = Candidates(*(column.to(world.device) for column in self.choices))
        of_example = self.choices.judged[self.asked["learned"].entities[self.examples]]
        self.trained = (~of_example).nonzero().squeeze(1)
        self.order = Shuffled(len(self.trained), settings.batch, settings.seed, world)

    def batch(self, step: int) -> Example:
        """Facts of entities whose names are not judged by."""
        return self.example(self.trained[self.order(step)])

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """The linker, and what learns inside the estimator."""
        return {"optimizer": list(self.linker.parameters()), "learner_optimizer": list(self.learners.parameters())}

    def logits(self, entities: Tensor) -> tuple[Tensor, Tensor]:
        """Of mentions of entities `[B]`: `[B, 1, N]`, and their candidates' prompts `[B, N, P, D]`."""
        prompts: Tensor = self.memory(self.choices.entities[entities])
        return self.linker(self.column("contexts").take(entities), prompts), prompts

    def forward(self, batch: Example, generator: torch.Generator) -> Step:
        """The surrogate of minus the log-probability of the answers; or the cross-entropy of the right entity."""
        logits, prompts = self.logits(batch.entities)
        if self.labels:
            self._last, right = None, self.choices.own[batch.entities]
            loss = F.cross_entropy(logits.squeeze(1), right)
            return Step(loss, {"train_loss": loss.detach()})
        draw = self.estimator.sample(logits, generator)
        values = self.nats(batch, prompts, drawn(self.estimator, draw))
        finite({"logits": logits, "nats": values})
        self._last = (batch, draw, values.detach())
        loss = self.estimator.surrogate(draw, values).mean() + self.learners.loss(draw, values)
        return Step(loss, {"train_loss": values.detach().mean()})

    def nats(self, batch: Example, prompts: Tensor, chosen: Tensor) -> Tensor:
        """Minus the log-probabilities `[S, B]` after the chosen prompts: ids `[S, B, 1]`, or points `[S, B, 1, N]`."""
        if chosen.is_floating_point():
            read = torch.einsum("sbn,bnpd->sbpd", chosen.squeeze(2).to(prompts.dtype), prompts)
        else:
            read = prompts[torch.arange(len(prompts), device=chosen.device), chosen.squeeze(-1)]
        return -self.log_probability(batch, read)

    def after(self) -> None:
        """Update what learns inside the estimator."""
        if self._last is not None:
            self.learners.update(*self._last[1:])

    @torch.no_grad()
    def evaluate(self, most: int | None = None) -> dict[str, float]:
        """Names that were not trained on: how often the right entity is chosen, and what the model then answers."""
        asked, choices = self.asked["learned"], self.choices
        facts = choices.judged[asked.entities].nonzero().squeeze(1)
        facts = facts[spread(len(facts), most, facts.device)]
        entities = asked.entities[facts].unique()
        best = torch.zeros(len(choices.own), dtype=torch.int64, device=facts.device)
        best[entities] = self._likeliest(entities)
        drawn = (
            torch.rand(len(choices.own), generator=torch.Generator().manual_seed(0)).to(facts.device) * choices.senses
        )
        ways = {"em": best, "em_right": choices.own, "em_first": torch.zeros_like(best), "em_random": drawn.long()}
        measured = {}
        for name, columns in ways.items():

            def prompts(part: Tensor, columns: Tensor = columns) -> Tensor:
                own = asked.entities[part]
                return self.memory(choices.entities[own, columns[own]])

            measured[name] = float(asked.matches(facts, prompts).double().mean())
        right, senses = (best == choices.own)[entities].double(), choices.senses[entities]
        measured |= {"accuracy": float(right.mean()), "accuracy_chance": float((1 / senses.double()).mean())}
        measured["accuracy_first"] = float((choices.own[entities] == 0).double().mean())
        for name, (least, largest) in SENSES.items():
            inside = (senses >= least) & (senses <= largest)
            if f"accuracy_{name}" in self.measures:
                measured[f"accuracy_{name}"] = float(right[inside].mean()) if bool(inside.any()) else 0.0
        return measured

    def _likeliest(self, entities: Tensor) -> Tensor:
        """The columns `[n]` of the candidates that are chosen for mentions; each process reads a part of them."""
        share = entities[self.world.share(len(entities))]
        own = [self.logits(part)[0].squeeze(1).argmax(-1) for part in share.split(CHUNK) if len(part)]
        parts = self.world.every([column for part in own for column in part.tolist()])
        return torch.tensor([column for part in parts for column in part], device=entities.device)

    def pictures(self, folder: Path) -> list[Path]:
        """How often the right entity is chosen, by how many have the name."""
        from experiments.systems.knowledge_prompts.pictures import draw_linking  # takes matplotlib with it

        return draw_linking(folder, self)

    def watched(self) -> Watch | None:
        """What the estimator saw of the last batch, at any points."""
        if self._last is None:
            return None
        batch, draw, _ = self._last
        prompts: Tensor = self.memory(self.choices.entities[batch.entities])
        return Watch(
            self.estimator,
            lambda inputs: self.nats(batch, prompts, inputs),
            draw.logits,
            None,
            asked_on(self.estimator),
        )
