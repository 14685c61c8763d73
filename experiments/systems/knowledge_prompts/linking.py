"""Which entity's prompts a question needs, where its name is ambiguous: learned from answers alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

import discretegrad as dg
from experiments.data.entity_facts import EntityFacts, asked
from experiments.engine import Settings, Step, Watch, World, finite
from experiments.errors import UserError, require_count
from experiments.parts.batches import Shuffled
from experiments.parts.estimators import asked_on, drawn, require_estimator
from experiments.parts.language_model import LanguageModel
from experiments.parts.retrieval import spread
from experiments.parts.text import Tokens, padded
from experiments.systems.knowledge_prompts.candidates import SENSES, Candidates
from experiments.systems.knowledge_prompts.candidates import candidates as find
from experiments.systems.knowledge_prompts.linker import Linker
from experiments.systems.knowledge_prompts.memory import Prompts, saved_prompts
from experiments.systems.knowledge_prompts.questions import Example
from experiments.systems.knowledge_prompts.task import PromptsTask

CHUNK = 256
"""Contexts that are read at a time."""


class LinkingTask(PromptsTask):
    """Train what chooses among up to N entities by what the model then answers; nobody says which is right.

    A mention is a name in a context. The context goes to the linker alone, so that answers come from the prompts; it is
    compared with what the model says of a candidate after its prompts, asked by the relation of most facts. The
    entities of one name out of five are judged by, and no question about them is trained on.

    Args:
        facts, model, prompts, shared, scale, vocabulary, length, answer: see `PromptsTask`.
        memory: the folder of a run of `PromptsTask`, whose prompts are read and stay; None: `prompts` as they start.
        estimator: of the gradient w.r.t. the candidates' logits.
        candidates: N, entities at most.
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
        self.linker = Linker(len(self.model.network.get_input_embeddings().weight))
        self.choices = find(facts, candidates)
        self._said: Tokens | None = None
        self._last: tuple[Example, dg.Draw, Tensor] | None = None

    def make(self, entities: int, prompts: int, scale: float) -> Prompts:
        width = self.model.width
        return (
            Prompts(entities, prompts, width, scale)
            if self.source is None
            else saved_prompts(self.source, entities, width)
        )

    @property
    def measures(self) -> dict[str, str]:  # type: ignore[override]
        """The columns."""
        answers, linked = "share of learned facts", "share of names"
        found = {"train_loss": "nats per answer", "em": answers, "em_right": answers, "em_first": answers}
        found |= {"em_random": answers, "em_start": answers, "accuracy": linked, "accuracy_first": linked}
        found |= {"accuracy_chance": linked, "accuracy_start": linked}
        counts = self.choices.senses[self.choices.judged]
        groups = {name for name, (least, most) in SENSES.items() if bool(((counts >= least) & (counts <= most)).any())}
        return found | {f"accuracy_{name}": linked for name in SENSES if name in groups}

    @property
    def title(self) -> str:
        """Estimator and data."""
        how = "labels" if self.labels else type(self.estimator).__name__
        return f"Entities of ambiguous names by {how}, {self.choices.entities.shape[1]} candidates, {self.facts.name}"

    def begin(self, settings: Settings, world: World) -> None:
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

    def texts(self) -> dict[str, list[str]]:
        """Contexts, and what of every entity is compared with them, too."""
        [(relation, _)] = Counter(fact.relation for fact in self.facts.learned).most_common(1)
        contexts = [mention.context for mention in self.facts.mentions]
        return super().texts() | {
            "contexts": contexts,
            "compared": [asked(entity.name, relation) for entity in self.facts.entities],
        }

    def _take_up(self) -> None:
        super()._take_up()
        self.linker.know(self.column("contexts"), [*self.reader.own.get_added_tokens_decoder()])
        self._said = None  # the memory may be another now
        self._unmoved: dict[int | None, dict[str, float]] = {}

    def said(self) -> Tokens:
        """What the model says of every entity after its prompts, which stay: it is asked once."""
        if self._said is None:
            questions, own = self.column("compared"), self.world.share(len(self.facts.entities))
            parts = torch.arange(own.start, own.stop, device=self.world.device).split(CHUNK)
            shown = tqdm(parts, "asked", unit="part", disable=not (self.settings.progress and self.world.writes))
            found = [row for part in shown for row in self._answers(questions.take(part), part)]
            rows = [row for each in self.world.every(found) for row in each]
            ids, lengths = padded(rows, self.model.padding, self.world.device)
            self._said = Tokens(ids, lengths, torch.arange(len(rows), device=self.world.device))
        return self._said

    @torch.no_grad()
    def _answers(self, questions: Tokens, entities: Tensor) -> list[list[int]]:
        ids = self.model.complete(self.model.encode(questions, self.memory(entities)), self.answer)
        return [[number for number in row if number != self.model.padding] for row in ids.tolist()]

    def logits(self, entities: Tensor, linker: Linker | None = None) -> tuple[Tensor, Tensor]:
        """Of mentions of entities `[B]`: `[B, 1, N]`, and their candidates' prompts `[B, N, P, D]`."""
        among, linker = self.choices.entities[entities], linker or self.linker
        contexts, said = self.column("contexts").take(entities), self.said().take(among.flatten())
        embedded = self.model.network.get_input_embeddings().weight
        return linker(contexts, said, self.choices.names[entities], embedded), self.memory(among)

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
        if most not in self._unmoved:
            self._unmoved[most] = self._baselines(facts, entities)
        best = self._likeliest(entities, self.linker)
        right, senses = (best == choices.own)[entities].double(), choices.senses[entities]
        measured = {"em": self._answered_after(facts, best), "accuracy": float(right.mean())} | self._unmoved[most]
        for name, (least, largest) in SENSES.items():
            inside = (senses >= least) & (senses <= largest)
            if f"accuracy_{name}" in self.measures:
                measured[f"accuracy_{name}"] = float(right[inside].mean()) if bool(inside.any()) else 0.0
        return measured

    def _baselines(self, facts: Tensor, entities: Tensor) -> dict[str, float]:
        """What other choices answer, and how often they are right, which no training moves."""
        choices = self.choices
        start = self._likeliest(entities, self.linker.untrained())
        uniform = torch.rand(len(choices.own), generator=torch.Generator().manual_seed(0)).to(facts.device)
        ways = {"right": choices.own, "first": torch.zeros_like(choices.own), "start": start}
        ways["random"] = (uniform * choices.senses).long()
        found = {f"em_{name}": self._answered_after(facts, columns) for name, columns in ways.items()}
        for name in ("first", "start"):
            found[f"accuracy_{name}"] = float((ways[name] == choices.own)[entities].double().mean())
        return found | {"accuracy_chance": float((1 / choices.senses[entities].double()).mean())}

    def _answered_after(self, facts: Tensor, columns: Tensor) -> float:
        """The share of facts that is answered after the prompts of the candidates in columns `[M]`."""
        asked = self.asked["learned"]

        def prompts(part: Tensor) -> Tensor:
            own = asked.entities[part]
            return self.memory(self.choices.entities[own, columns[own]])

        return float(asked.matches(facts, prompts).double().mean())

    def _likeliest(self, entities: Tensor, linker: Linker) -> Tensor:
        """The columns `[M]` of the candidates that are chosen for mentions `[n]`; each process reads a part of them."""
        share = entities[self.world.share(len(entities))]
        own = [self.logits(part, linker)[0].squeeze(1).argmax(-1) for part in share.split(CHUNK) if len(part)]
        parts = self.world.every([column for part in own for column in part.tolist()])
        chosen = torch.zeros_like(self.choices.own)
        chosen[entities] = torch.tensor([column for part in parts for column in part], device=entities.device)
        return chosen

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
