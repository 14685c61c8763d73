"""Hard reading: which words an encoder may read, learned by what it then says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

import discretegrad as dg
from experiments.data.judgements import Judgements
from experiments.engine import Settings, Step, World, finite
from experiments.errors import UserError, require_count, require_number
from experiments.systems.gemma_encoder.encoder import GemmaEncoder
from experiments.systems.gemma_encoder.judging import MEASURES, figures, losses
from experiments.systems.gemma_encoder.selector import Selector, refuse
from experiments.systems.gemma_encoder.streams import Stream, read_only
from experiments.systems.gemma_encoder.task import Batch, EncoderTask


class ReadingTask(EncoderTask):
    """Train an encoder, and what chooses the words that it may read, by f = loss of the task + price x share of words.

    The encoder runs on what is kept, where every token has its old position; the others are absent. Estimators that
    need the gradient of f run it on whole texts under weights instead: see `GemmaEncoder.hidden`. The share's own mean
    is in closed form and needs no estimate. All are judged by what is left when words are taken away.

    Args:
        judgements, vocabulary, length: see `EncoderTask`; no ranking.
        model: see `EncoderTask`; the selector is a copy of its decoder.
        estimator: of the gradient w.r.t. the choice.
        form: gates, a Bernoulli variable for every word; or probes, each of which picks one word of the text.
        probes: V, of that form.
        share: of a text's words, that may be read. When it is judged, gates keep those that are likeliest, as many as
            are at most this share, and at least one; probes keep what each is likeliest to pick.
        price: of reading all words, at the start, in the loss's unit.
        price_step: what the price rises by in a step when all words are read and none should be: it goes up while
            more than `share` are read in the mean, and down, to 0 at least, while less are. 0: it stays.

    Raises:
        UserError: where the parts do not fit together.
    """

    price: Tensor

    def __init__(
        self,
        judgements: Judgements,
        model: Callable[..., GemmaEncoder],
        estimator: dg.Estimator,
        form: str = "gates",
        probes: int = 4,
        share: float = 0.3,
        price: float = 0.0,
        price_step: float = 0.02,
        vocabulary: int = 8000,
        length: int = 32,
    ) -> None:
        if judgements.kind == "ranking":
            raise UserError(
                "hard reading is for one text, or two, an example, not for rankings; use another data.task."
            )
        refuse(form, estimator)
        require_count("task.probes", probes)
        for name, value, least in (("share", share, 0), ("price", price, 0), ("price_step", price_step, 0)):
            require_number(f"task.{name}", value, least=least, below=1 if name == "share" else float("inf"))
        super().__init__(judgements, model, vocabulary, length)
        self.estimator, self.form, self.share, self.price_step = estimator, form, share, price_step
        self.learners = dg.nn.Learners(estimator)
        self.selector = Selector(self.model.another(), probes if form == "probes" else None)
        self.register_buffer("price", torch.tensor(float(price)))
        self._last: tuple[dg.Draw, Tensor, Tensor] | None = None

    @property
    def figure(self) -> str:
        """What the task is judged by."""
        return [*MEASURES[self.kind]][1]

    @property
    def measures(self) -> dict[str, str]:  # type: ignore[override]
        """The columns."""
        own, shares = MEASURES[self.kind], "share of words"
        ways = {f"{self.figure}_{way}": own[self.figure] for way in ("drawn", "all")}
        return own | ways | dict.fromkeys(("read", "kept", "kept_drawn"), shares) | {"price": "of all words"}

    @property
    def title(self) -> str:
        """Estimator and data."""
        return f"{self.form.capitalize()} by {type(self.estimator).__name__}, {self.judgements.name}"

    def begin(self, settings: Settings, world: World) -> None:
        super().begin(settings, world)
        self._last = None

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """The encoder and the selector, and what learns inside the estimator."""
        own = [*self.model.parameters(), *self.selector.parameters()]
        return {"optimizer": own, "learner_optimizer": list(self.learners.parameters())}

    def forward(self, batch: Batch, generator: torch.Generator) -> Step:
        """The mean of the objective."""
        objective, draw, values, read = self.objective(batch, generator)
        finite({"nats": values, "share of words": read})
        self._last = draw, values.detach(), read.detach().mean()
        loss = objective.mean() + self.learners.loss(draw, values)
        return Step(loss, {"train_loss": values.detach().mean(), "read": read.detach().mean()})

    def objective(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dg.Draw, Tensor, Tensor]:
        """Of each example, `[B]`, the surrogate of the task's loss and the price of what is read in the mean.

        Then the draw, the task's loss at the points, `[S, B]`, and the mean share of words that are read, `[B]`.
        """
        logits = self.selector(batch.stream)
        draw = self.sample(batch.stream, logits, generator)
        values = losses(self.kind, self.read(batch.stream, draw), batch.targets)
        read = self.mean_share(batch.stream, logits)
        return self.estimator.surrogate(draw, values) + self.price * read, draw, values, read

    def sample(self, stream: Stream, logits: Tensor, generator: torch.Generator) -> dg.Draw:
        """What is read, at S points."""
        return self.estimator.sample(logits, generator, mask=stream.words if self.form == "gates" else None)

    def read(self, stream: Stream, draw: dg.Draw) -> Tensor:
        """What is said at the points, `[S, B, C]`."""
        if self.estimator.needs_grad_f:
            weights = self.weights(stream, draw.points)
            said = self.said(stream.repeat(len(weights)), weights.flatten(0, 1))
        else:
            kept = self.kept(stream, draw.indices)
            said = self.said(read_only(stream.repeat(len(kept)), kept.flatten(0, 1)))
        return said.unflatten(0, (-1, len(stream.ids)))

    def kept(self, stream: Stream, indices: Tensor) -> Tensor:
        """Which words are, bool `[S, B, L]`, of ids `[S, B, L]` or `[S, B, V]`."""
        if self.form == "gates":
            return indices.bool()
        nothing = torch.zeros(len(indices), *stream.ids.shape, dtype=torch.bool, device=indices.device)
        return nothing.scatter(-1, indices, True)

    def weights(self, stream: Stream, points: Tensor) -> Tensor:
        """How much of every token is read, `[S, B, L]`: of a word that several probes pick, that any of them does."""
        own = points if self.form == "gates" else 1 - (1 - points).prod(2)
        return torch.where(stream.words, own, 1.0)

    def mean_share(self, stream: Stream, logits: Tensor) -> Tensor:
        """The mean of the share of words that are read, `[B]`, in closed form."""
        return self.probability(stream, logits).sum(1) / stream.words.sum(1)

    def probability(self, stream: Stream, logits: Tensor) -> Tensor:
        """Of being read, for every word, `[B, L]`; 0 for what is no word."""
        own = logits.sigmoid() if self.form == "gates" else 1 - (1 - logits.softmax(-1)).prod(1)
        return torch.where(stream.words, own, 0.0)

    def after(self) -> None:
        """Update what learns inside the estimator, and the price."""
        if self._last is not None:
            draw, values, read = self._last
            self.learners.update(draw, values)
            self.price.copy_((self.price + self.price_step * (read - self.share)).clamp(min=0))

    def noted(self) -> dict[str, float | None]:
        """The price."""
        return {"price": float(self.price)}

    def served(self, stream: Stream, logits: Tensor) -> Tensor:
        """The words that are read when it is judged, bool `[B, L]`; see `share`."""
        if self.form == "probes":
            return self.kept(stream, logits.argmax(-1).unsqueeze(0))[0]
        budget = (self.share * stream.words.sum(1, keepdim=True)).long().clamp(min=1)
        order = logits.masked_fill(~stream.words, -torch.inf).argsort(dim=1, descending=True, stable=True)
        return (order.argsort(dim=1) < budget) & stream.words

    def answer(self, stream: Stream) -> Tensor:
        """What is said of what is served."""
        return self.said(read_only(stream, self.served(stream, self.selector(stream))))

    @torch.no_grad()
    def evaluate(self, most: int | None = None) -> dict[str, float]:
        """Of what is read when words are taken away; as it was trained, perhaps under weights; and of all words."""
        generator = self.world.apart(torch.Generator(self.world.device).manual_seed(0))
        counts = torch.zeros(3, dtype=torch.float64, device=self.world.device)

        def served(stream: Stream) -> Tensor:
            kept = self.served(stream, self.selector(stream))
            counts[:2] += torch.stack([(kept.sum(1) / stream.words.sum(1)).sum(), torch.tensor(float(len(kept)))])
            return self.said(read_only(stream, kept))

        def drawn(stream: Stream) -> Tensor:
            draw = self.sample(stream, self.selector(stream), generator)
            weights = torch.where(stream.words, self.weights(stream, draw.points)[0], 0.0)
            counts[2] += (weights.sum(1) / stream.words.sum(1)).sum()
            return self.read(stream, draw)[0]

        ways = {"": served, "_drawn": drawn, "_all": self.said}
        found = {f"{self.figure}{way}": figures(self.kind, *self.heard(most, say)) for way, say in ways.items()}
        [counts] = self.world.sum([counts])
        own = {name: figure[self.figure] for name, figure in found.items()} | self.without_reading()
        return own | {"kept": float(counts[0] / counts[1]), "kept_drawn": float(counts[2] / counts[1])}

    def pictures(self, folder: Path) -> list[Path]:
        """Which words are read of held-out texts."""
        from experiments.systems.gemma_encoder.pictures import draw_reading  # takes matplotlib with it

        return [*super().pictures(folder), draw_reading(folder, self)]
