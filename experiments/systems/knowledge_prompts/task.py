"""Knowledge Prompts as a task: facts about entities in, their log-probability out; the language model is frozen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from experiments.data.entity_facts import EntityFacts
from experiments.engine import Settings, Step, Task, World, finite
from experiments.errors import UserError, require_count
from experiments.parts.batches import Shuffled
from experiments.parts.language_model import SENTINELS, LanguageModel, read_columns
from experiments.parts.reader import Reader
from experiments.parts.retrieval import spread
from experiments.parts.text import Tokens
from experiments.systems.knowledge_prompts import neighbours
from experiments.systems.knowledge_prompts.memory import Codes, Prompts
from experiments.systems.knowledge_prompts.questions import Asked, Example, Lookup, answer, majority, question

ANSWERED = ("em", "em_other", "em_without", "em_majority")


class PromptsTask(Task):
    """Train a memory of entities that a frozen language model reads before a question.

    Args:
        facts: what there is to know.
        model: makes the language model from `vocabulary`.
        prompts: P, vectors of an entity.
        shared: whether one prompt serves all entities: what is learned of how to answer, and of no entity.
        scale: of the prompts at the start, as a share of the token embeddings' root mean square.
        vocabulary, length: tokens at most of a tokenizer that is trained, and of a text.
        answer: tokens of an answer at most.

    Raises:
        UserError: where the parts do not fit together.
    """

    def __init__(
        self,
        facts: EntityFacts,
        model: Callable[..., LanguageModel],
        prompts: int = 4,
        shared: bool = False,
        scale: float = 1.0,
        vocabulary: int = 8000,
        length: int = 32,
        answer: int = 12,
    ) -> None:
        super().__init__()
        require_count("task.answer", answer)
        if not isinstance(shared, bool):
            raise UserError(f"task.shared is true or false, not {shared!r}.")
        self.facts, self.shared, self.answer = facts, shared, answer
        self.reader = Reader(vocabulary, length, None, SENTINELS)
        self.model = model(vocabulary=vocabulary).requires_grad_(False).eval()
        embedded = self.model.network.get_input_embeddings().weight
        self.memory = self.make(
            1 if shared else len(facts.entities), prompts, scale * float(embedded.square().mean().sqrt())
        )

    def make(self, entities: int, prompts: int, scale: float) -> Prompts | Codes:
        """The memory."""
        return Prompts(entities, prompts, self.model.width, scale)

    @property
    def measures(self) -> dict[str, str]:  # type: ignore[override]
        """The columns, without those of which there is nothing to measure."""
        found = {"train_loss": "nats per answer"} | dict.fromkeys(ANSWERED, "share of learned facts")
        found["em_macro"] = "mean over relations"
        if self.facts.held_out:
            found |= {f"held_out_{name}": "share of facts not learned" for name in ANSWERED}
        if not self.shared:
            found |= dict.fromkeys(("same_class", "same_class_chance"), "share of the nearest prompts")
        return found

    @property
    def title(self) -> str:
        """Prompts, data, and what a checkpoint takes."""
        gigabytes = sum(p.numel() * p.element_size() * (3 if p.requires_grad else 1) for p in self.parameters()) / 1e9
        what = "One prompt" if self.shared else f"{len(self.facts.entities):,} prompts"
        return f"{what} of {self.memory.bytes:g} bytes on {self.facts.name} (a checkpoint of {gigabytes:.2g} GB)"

    def train(self, mode: bool = True) -> Self:
        """The language model stays in evaluation mode."""
        super().train(mode)
        self.model.eval()
        return self

    def begin(self, settings: Settings, world: World) -> None:
        """Also trains the tokenizer, if the cache has none for these texts."""
        if settings.clip is not None:
            raise UserError(
                "run.clip needs the norm of dense gradients, and those of a memory are sparse; leave it out."
            )
        self.world, self.settings = world, settings
        learned = self.facts.learned
        pairs = [(number, name) for number, fact in enumerate(learned) for name in fact.objects]
        self.order = Shuffled(len(pairs), settings.batch, settings.seed, world)
        self.examples = torch.tensor([number for number, _ in pairs], device=world.device)
        columns = {"answers": [answer(name) for _, name in pairs]} | self.texts()
        self.named = tuple(name for name, column in columns.items() if column)
        read = [columns[name] for name in self.named]
        read_columns(self.reader, self.model, self.facts.corpus, read, settings.progress, world)
        kinds = {kind: number for number, kind in enumerate(sorted({entity.kind for entity in self.facts.entities}))}
        self.classes = torch.tensor([kinds[entity.kind] for entity in self.facts.entities], device=world.device)
        self.constants: dict[tuple[str, int | None], float] = {}
        """What no training moves."""
        self._take_up()

    def texts(self) -> dict[str, list[str]]:
        """What is read beside answers, by name."""
        parts = {"learned": self.facts.learned, "held_out": self.facts.held_out}
        return {name: [question(self.facts, fact) for fact in part] for name, part in parts.items()}

    def _take_up(self) -> None:
        """What depends on the tokenizer."""
        self.asked: dict[str, Asked] = {
            name: Asked(getattr(self.facts, name), self.column(name), self.model, self.reader, self.answer, self.world)
            for name in ("learned", "held_out")
            if name in self.named
        }

    def column(self, name: str) -> Tokens:
        """Texts that were read."""
        return self.reader.columns[self.named.index(name)]

    def batch(self, step: int) -> Example:
        """Facts, each with one of the objects that are learned."""
        return self.example(self.order(step))

    def example(self, rows: Tensor) -> Example:
        """Some of all (fact, object)."""
        facts, learned = self.examples[rows], self.asked["learned"]
        entities = learned.entities[facts]
        return Example(facts, entities, learned.questions.take(facts), self.column("answers").take(rows))

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """The table, whose gradients are sparse, and all else that learns."""
        table: nn.Parameter = self.memory.table.weight  # type: ignore[assignment]
        others = [p for p in self.parameters() if p.requires_grad and p is not table]
        return {"optimizer": others, "prompt_optimizer": [table]}

    def forward(self, batch: Example, generator: torch.Generator) -> Step:
        """Minus the log-probability of the answers."""
        nats = -self.log_probability(batch, self.memory(self.rows(batch.entities)))
        finite({"nats": nats})
        return Step(nats.mean(), {"train_loss": nats.detach().mean()})

    def log_probability(self, batch: Example, prompts: Tensor) -> Tensor:
        """Of a batch's answers `[B]`, with prompts `[B, P, D]`; or `[S, B]` of `[S, B, P, D]`, in as many passes."""
        flat = prompts.flatten(0, -3)
        count = len(flat) // len(batch.facts)
        batch = batch.repeated(count)
        found = self.model.log_probability(self.model.encode(batch.questions, flat), batch.answers)
        return found.unflatten(0, prompts.shape[:-2])

    def rows(self, entities: Tensor) -> Tensor:
        """Where the memory has entities."""
        return torch.zeros_like(entities) if self.shared else entities

    def lookup(self, name: str, shift: int = 0) -> Lookup:
        """The prompts of facts' own entities; or of the entities so many places behind them."""

        def found(facts: Tensor) -> Tensor:
            entities = (self.asked[name].entities[facts] + shift) % len(self.facts.entities)
            prompts: Tensor = self.memory(self.rows(entities))
            return prompts

        return found

    @torch.no_grad()
    def evaluate(self, most: int | None = None) -> dict[str, float]:
        """How many facts are answered with own prompts, another's, and without; and what near prompts share."""
        measured: dict[str, float] = {}
        for name in self.asked:
            measured |= self._answered(name, "" if name == "learned" else f"{name}_", most)
        if self.shared:
            return measured
        entities = spread(len(self.classes), most, self.world.device)
        prompts = self.memory(torch.arange(len(self.classes), device=self.world.device)).flatten(1)
        same = neighbours.same_class(prompts, self.classes, entities)
        return measured | {"same_class": same, "same_class_chance": neighbours.chance(self.classes)}

    def _answered(self, name: str, start: str, most: int | None) -> dict[str, float]:
        asked = self.asked[name]
        chosen = spread(len(asked.facts), most, self.world.device)
        if (name, most) not in self.constants:
            self.constants[name, most] = float(asked.matches(chosen, None).double().mean())
        own = asked.matches(chosen, self.lookup(name))
        other = asked.matches(chosen, self.lookup(name, len(self.facts.entities) // 2))
        macro = {} if start else {"em_macro": asked.macro(chosen, own)}
        return macro | {
            f"{start}em": float(own.double().mean()),
            f"{start}em_other": float(other.double().mean()),
            f"{start}em_without": self.constants[name, most],
            f"{start}em_majority": majority([asked.facts[n] for n in chosen.tolist()], self.facts.learned),
        }

    def pictures(self, folder: Path) -> list[Path]:
        """Prompts in the plane, by class, and how many facts are answered."""
        from experiments.systems.knowledge_prompts.pictures import draw  # takes matplotlib with it

        return draw(folder, self)

    def get_extra_state(self) -> dict[str, Tensor]:
        """For the checkpoint."""
        return self.reader.state()

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        """From the checkpoint."""
        self.reader.load(state)
        self._take_up()
