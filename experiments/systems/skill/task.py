"""Answers by look-up in a graph, along a path that is a discrete latent: learned from answers alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import discretegrad as dg
from experiments.engine import Settings, Step, Task, World, finite
from experiments.errors import UserError, require_number
from experiments.parts.batches import Shuffled
from experiments.parts.estimators import require_estimator
from experiments.parts.graph import Graph, Sets
from experiments.parts.questions import BLANK, HOPS, Questions, QuestionSet
from experiments.parts.reader import Reader
from experiments.parts.shares import macro
from experiments.systems.skill.policy import PathPolicy

ENTITY = "this"
"""What a policy reads in the place of the entity's name."""
REWARDS = ("f1", "exact")
STOPS = ("stays", "ends")
CHUNK = 512
"""Questions that are read at a time, where nothing is learned."""


class PathTask(Task):
    """Train a policy to choose the relations that lead from a question's entity to its answers.

    z is a path of at most three relations, behind which STOP stands. f follows it in the graph, and compares the set of
    entities that it reaches with that of the answers. That look-up has no derivative in z, and nothing between two
    relations could be looked up. No path is told.

    Args:
        data: questions, and the graph that holds their answers.
        model: makes the policy from `hops`, `relations`, `vocabulary` and `length`.
        estimator: of the gradient w.r.t. the policy's logits.
        supervised: whether the path is told, and learned by cross-entropy without any look-up: the ceiling.
        stop: ends: what stands behind the first STOP does not count; stays: STOP leads from every entity to itself.
        reward: f1: of the two sets; exact: 1 where they are equal, else 0.
        entropy: weight of the policy's entropy in nats, which keeps it trying.
        vocabulary: tokens at most of the tokenizer that is trained on the training questions; a pretrained encoder has
            its own.
        length: in tokens, to which longer texts are cut off.

    Raises:
        UserError: where the parts do not fit together.
    """

    def __init__(
        self,
        data: QuestionSet,
        model: Callable[..., PathPolicy],
        estimator: dg.Estimator,
        supervised: bool = False,
        stop: str = "stays",
        reward: str = "f1",
        entropy: float = 0.01,
        vocabulary: int = 2000,
        length: int = 48,
    ) -> None:
        super().__init__()
        require_number("task.entropy", entropy, least=0, below=math.inf)
        for setting, value, known in (("stop", stop, STOPS), ("reward", reward, REWARDS)):
            if value not in known:
                raise UserError(f"task.{setting} is one of {', '.join(known)}, not {value!r}.")
        if not isinstance(supervised, bool):
            raise UserError(f"task.supervised is true or false, not {supervised!r}.")
        require_estimator(estimator, "paths", "categorical", looked_up=True)
        if supervised and bool((data.train.paths < 0).any()):
            raise UserError(f"the questions of {data.name} come without paths; give task.supervised=false.")
        self.reader = Reader(vocabulary, length, None)
        self.data, self.estimator, self.supervised = data, estimator, supervised
        self.stop, self.reward, self.entropy = stop, reward, entropy
        relations = len(data.knowledge.relations) + 1
        self.model = model(hops=HOPS, relations=relations, vocabulary=vocabulary, length=length)
        self.learners = dg.nn.Learners(estimator)
        self.register_buffer("lookups", torch.zeros((), dtype=torch.int64))
        self._last: tuple[dg.Draw, Tensor] | None = None

    lookups: Tensor

    @property
    def measures(self) -> dict[str, str]:  # type: ignore[override]
        """The columns: what is found by the number of relations, and by how questions are worded."""
        found = {"train_loss": "nats per question"} if self.supervised else {"train_reward": "per look-up"}
        found |= {"entropy": "nats per question", "lookups": "so far, in all processes"}
        for part, questions in self.data.held_out.items():
            found |= {f"{part}_{hops}": "share of answer sets" for hops in self._hops(questions)}
            found[part] = "share of answer sets, mean over numbers of relations"
        return found

    @property
    def title(self) -> str:
        """Data, and how paths are learned."""
        way = "paths that are told" if self.supervised else type(self.estimator).__name__
        return f"Paths of relations on {self.data.name}, {way}"

    def begin(self, settings: Settings, world: World) -> None:
        """Also trains the tokenizer, if the cache has none for these texts."""
        self.world, self.batch_size = world, settings.batch
        self.order = Shuffled(len(self.data.train), settings.batch, settings.seed, world)
        self.graph = Graph(self.data.knowledge, world.device)
        self.train_questions = self.data.train.to(world.device)
        self.held_out = {part: questions.to(world.device) for part, questions in self.data.held_out.items()}
        columns = [[form.replace(BLANK, ENTITY) for form in part.forms] for part in self.parts()]
        model, cache, shown = self.model, self.data.cache, settings.progress
        self.reader.begin(columns, columns[0], model.tokenizer, cache, model.padding, [], world, shown)

    def parts(self) -> list[Questions]:
        """Those to train on, and those to judge by, in the order of the reader's columns."""
        return [self.train_questions, *self.held_out.values()]

    def batch(self, step: int) -> Tensor:
        """Numbers of training questions, `[B]`."""
        return self.order(step)

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """The policy, and what learns inside the estimator."""
        policy = [p for p in self.model.parameters() if p.requires_grad]
        return {"optimizer": policy, "learner_optimizer": list(self.learners.parameters())}

    def forward(self, batch: Tensor, generator: torch.Generator) -> Step:
        """The surrogate of minus the reward, or the cross-entropy of the path that is told; and the entropy's bonus."""
        questions = self.train_questions.take(batch)
        logits = self.model(self.reader.columns[0].take(questions.form))
        entropy = dg.objectives.entropy(logits).mean()
        shown = {"entropy": entropy.detach()}
        if self.supervised:
            loss = F.cross_entropy(logits.flatten(0, -2), questions.paths.flatten(), reduction="sum") / len(batch)
            return Step(loss, shown | {"train_loss": loss.detach()})
        finite({"logits": logits})
        draw = self.estimator.sample(logits, generator)
        values = -self.rewarded(questions, draw.indices)
        self.lookups += values.numel() * self.world.size
        self._last = (draw, values)
        loss = self.estimator.surrogate(draw, values).mean() - self.entropy * entropy + self.learners.loss(draw, values)
        return Step(loss, shown | {"train_reward": -values.mean()})

    def after(self) -> None:
        """Update what learns inside the estimator."""
        if self._last is not None:
            self.learners.update(*self._last)

    def rewarded(self, questions: Questions, paths: Tensor) -> Tensor:
        """What paths `[S, N, V]` of N questions are worth, `[S, N]`; a look-up each."""
        samples, count = paths.shape[:2]
        found = self.walk(questions.starts.repeat(samples), paths.flatten(0, 1))
        hits = self.graph.overlap(found, questions.answers, count, samples)
        sizes, wanted = found.sizes(samples * count), questions.answers.sizes(count).repeat(samples)
        f1 = 2 * hits / (sizes + wanted)
        return (f1 if self.reward == "f1" else (f1 == 1).float()).view(samples, count)

    def walk(self, starts: Tensor, paths: Tensor) -> Sets:
        """What paths `[N, V]` reach from `[N]` besides these: no question's answer is the entity it asks about."""
        reached = self.graph.walk(starts, self.graph.ended(paths) if self.stop == "ends" else paths)
        others = reached.entities != starts[reached.rows]
        return Sets(reached.rows[others], reached.entities[others])

    @torch.no_grad()
    def paths(self, part: int, questions: Questions) -> Tensor:
        """The likeliest path of each question of a part, `[N, V]`."""
        tokens = self.reader.columns[part]
        chunks = [self.model(tokens.take(form)) for form in questions.form.split(CHUNK)]
        return torch.cat(chunks).argmax(-1) if chunks else questions.paths

    @torch.no_grad()
    def found(self, part: int, questions: Questions) -> Tensor:
        """Whether the likeliest path of each question reaches all its answers and nothing else, bool `[N]`."""
        reached = self.walk(questions.starts, self.paths(part, questions))
        count = len(questions)
        hits, wanted = self.graph.overlap(reached, questions.answers, count), questions.answers.sizes(count)
        return (hits == wanted) & (reached.sizes(count) == wanted)

    def evaluate(self, most: int | None = None) -> dict[str, float]:
        """Shares of held-out questions whose answers are found, the mean over paths of one length, and over lengths."""
        measured: dict[str, float] = {}
        for number, (part, questions) in enumerate(self.held_out.items(), start=1):
            shares = self.shares(number, questions, most)
            hops = self._hops(questions)
            for hop in hops:
                own = [share for share, group in zip(shares, questions.groups, strict=True) if group.hops == hop]
                measured[f"{part}_{hop}"] = sum(own) / len(own)
            measured[part] = sum(measured[f"{part}_{hop}"] for hop in hops) / len(hops)
        return measured

    def shares(self, part: int, questions: Questions, most: int | None) -> list[float]:
        """Of each group, the share of questions whose answers are found; at most so many in all, spread over them."""
        own = questions.some(most)
        own = own[self.world.share(len(own))]
        asked = questions.take(own)
        return macro(self.found(part, asked), asked.group, len(questions.groups), self.world)

    def noted(self) -> dict[str, float | None]:
        """How much has been looked up."""
        return {"lookups": float(self.lookups)}

    def pictures(self, folder: Path) -> list[Path]:
        """What is found of the questions that each path answers."""
        from experiments.systems.skill.pictures import draw_shares  # takes matplotlib with it

        asked = enumerate(self.held_out.items(), start=1)
        shares = {part: self.shares(number, questions, None) for number, (part, questions) in asked}
        what = "share of questions whose answers are found"
        return draw_shares(folder / "paths.png", self.data.held_out, shares, what, self.title)

    def get_extra_state(self) -> dict[str, Tensor]:
        """For the checkpoint."""
        return self.reader.state()

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        """From the checkpoint."""
        self.reader.load(state)

    def _hops(self, questions: Questions) -> list[int]:
        return sorted({group.hops for group in questions.groups})
