"""An adapted decoder as a task: classes, scores and rankings of texts and of pairs of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from experiments.data.judgements import Judgements
from experiments.engine import Settings, Step, Task, World
from experiments.parts.batches import Shuffled
from experiments.parts.reader import Reader
from experiments.parts.retrieval import spread
from experiments.systems.gemma_encoder.encoder import GemmaEncoder
from experiments.systems.gemma_encoder.judging import MEASURES, figures, in_words, losses, majority
from experiments.systems.gemma_encoder.streams import Stream, join

CHUNK = 128
"""Examples that are judged at a time."""
SHOWN = 20
"""Examples in the picture."""


class Batch(NamedTuple):
    """Of B examples of R readings."""

    stream: Stream
    """`[B R, L]`."""
    targets: Tensor
    """`[B]`."""


class EncoderTask(Task):
    """Train an adapted decoder for a task.

    Args:
        judgements: the task.
        model: makes it from `vocabulary`, `length` and `outputs`.
        vocabulary: tokens at most of the tokenizer that is trained; a decoder that is started from has its own.
        length: of a text in tokens, to which longer ones are cut off.

    Raises:
        UserError: where the parts do not fit together.
    """

    world: World

    def __init__(
        self, judgements: Judgements, model: Callable[..., GemmaEncoder], vocabulary: int = 8000, length: int = 32
    ) -> None:
        super().__init__()
        self.reader = Reader(vocabulary, length, None, sentinels=1, bare=True)
        self.judgements, self.kind = judgements, judgements.kind
        readings = judgements.train[0].readings
        self.readings, self.texts = len(readings), len(readings[0])
        outputs = max(1, len(judgements.classes))
        self.model = model(vocabulary=vocabulary, length=self.texts * (length + 1), outputs=outputs)

    @property
    def measures(self) -> dict[str, str]:  # type: ignore[override]
        """The columns."""
        return MEASURES[self.kind]

    @property
    def title(self) -> str:
        """Model and data."""
        how = "causal" if self.model.causal else "bidirectional"
        return f"A {how} encoder from {self.model.decoder.config.model_type}, {self.judgements.name}"

    def begin(self, settings: Settings, world: World) -> None:
        """Also trains the tokenizer, if there is none to go on with."""
        self.world, self.parts = world, (self.judgements.train, self.judgements.held_out)
        self.order = Shuffled(len(self.parts[0]), settings.batch, settings.seed, world)
        columns = [
            [reading[place] for example in part for reading in example.readings]
            for part in self.parts
            for place in range(self.texts)
        ]
        model, trained_on = self.model, [*dict.fromkeys(text for column in columns[: self.texts] for text in column)]
        cache, shown = self.judgements.cache, settings.progress
        self.reader.begin(columns, trained_on, model.tokenizer, cache, model.padding, [], world, shown)
        self.targets = [torch.tensor([example.target for example in part], device=world.device) for part in self.parts]

    def batch(self, step: int) -> Batch:
        """Training examples."""
        return self.examples(0, self.order(step))

    def examples(self, part: int, rows: Tensor) -> Batch:
        """Of the training part, 0, or the held-out one, 1."""
        own = (rows.unsqueeze(1) * self.readings + torch.arange(self.readings, device=rows.device)).flatten()
        columns = self.reader.columns[part * self.texts : (part + 1) * self.texts]
        model = self.model
        stream = join([column.take(own) for column in columns], model.begin, model.end, model.padding)
        return Batch(stream, self.targets[part][rows])

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """All in one."""
        return {"optimizer": list(self.model.parameters())}

    def said(self, stream: Stream, weights: Tensor | None = None) -> Tensor:
        """Scores `[B, C]`, `[B, 1]`, or of the readings `[B, R]`; see `GemmaEncoder.hidden`."""
        found: Tensor = self.model(stream, weights)
        return found.view(-1, self.readings) if self.kind == "ranking" else found

    def forward(self, batch: Batch, generator: torch.Generator) -> Step:
        """The mean loss of the examples."""
        loss = losses(self.kind, self.said(batch.stream), batch.targets).mean()
        return Step(loss, {"train_loss": loss.detach()})

    def evaluate(self, most: int | None = None) -> dict[str, float]:
        """Examples whose definitions were not trained on."""
        return figures(self.kind, *self.heard(most, self.answer)) | self.without_reading()

    def answer(self, stream: Stream) -> Tensor:
        """What is said when it is judged."""
        return self.said(stream)

    def without_reading(self) -> dict[str, float]:
        """What one has who does not read."""
        return {"majority": majority(*self.targets)} if self.kind == "classes" else {}

    @torch.no_grad()
    def heard(self, most: int | None, say: Callable[[Stream], Tensor]) -> tuple[Tensor, Tensor]:
        """What is said of so many held-out examples, and their targets, in all processes."""
        chosen = spread(len(self.targets[1]), most, self.world.device)
        own = chosen[self.world.share(len(chosen))]
        parts = [say(self.examples(1, rows).stream).cpu() for rows in own.split(CHUNK) if len(rows)]
        every: list[Any] = self.world.every(torch.cat(parts) if parts else None)
        said = torch.cat([part for part in every if part is not None]).to(self.world.device)
        return said, self.targets[1][chosen]

    def pictures(self, folder: Path) -> list[Path]:
        """Held-out texts, what is right, and what is said of them."""
        from experiments.parts.text_pictures import draw_table  # takes matplotlib with it

        said, targets = self.heard(SHOWN, self.answer)
        rows = spread(len(self.targets[1]), SHOWN, torch.device("cpu")).tolist()
        texts = [self._shown(self.judgements.held_out[row].readings, int(targets[n])) for n, row in enumerate(rows)]
        words = in_words(self.kind, said, targets, self.judgements.classes)
        labels = {"read": 0.74, "right": 0.13, "said": 0.13}
        return [draw_table(folder / "judgements.png", [*zip(texts, *words, strict=True)], labels, self.title)]

    def _shown(self, readings: tuple[tuple[str, ...], ...], right: int) -> str:
        return " / ".join(readings[right if self.kind == "ranking" else 0])

    def get_extra_state(self) -> dict[str, Tensor]:
        """For the checkpoint."""
        return self.reader.state()

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        """From the checkpoint."""
        self.reader.load(state)
