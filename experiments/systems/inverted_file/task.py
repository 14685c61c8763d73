"""Which list of an inverted file a document is in, trained by which lists queries probe."""

from __future__ import annotations

import math
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import discretegrad as dg
from experiments.data.pairs import Pairs
from experiments.engine import Settings, Step, Task, World
from experiments.errors import UserError, require_count, require_number
from experiments.parts.batches import Shuffled
from experiments.parts.codes import scale_for
from experiments.parts.embeddings import HASHED, Embedded, Frozen
from experiments.parts.estimators import require_estimator
from experiments.parts.retrieval import Judged, spread


class InvertedFileTask(Task):
    """Assign documents to the lists of an inverted file, of which every query searches the few nearest ones.

    The lists are those of k-means, and stay; a document is put into one of them by logits that are linear in its
    embedding, at the start the nearest. It costs what share of all queries probes its list, and is worth 1 where its
    own query does. Whether a list is probed has no gradient, but of one variable all values are at hand: `dg.Exact`
    has the gradient without noise. No document changes what another is worth.

    Args:
        pairs: the data.
        estimator: of the gradient w.r.t. the logits.
        encoder, length: of texts: see `Frozen`.
        lists: L.
        probes: how many lists a query searches.
        price: of a document that is searched, by a query that finds its own.
        entropy: of the logits at the start, as a share of the largest one.

    Raises:
        UserError: where the parts do not fit together.
    """

    centroids: Tensor
    measures: ClassVar = {"train_objective": "per query", "found": "share of queries", "scanned": "share of documents"}

    def __init__(
        self,
        pairs: Pairs,
        estimator: dg.Estimator,
        encoder: str = HASHED,
        length: int = 32,
        lists: int = 64,
        probes: int = 4,
        price: float = 5.0,
        entropy: float = 0.3,
    ) -> None:
        super().__init__()
        require_count("task.lists", lists, least=2)
        require_count("task.probes", probes)
        require_number("task.price", price, least=0, below=math.inf)
        require_number("task.entropy", entropy, least=0.001, below=1)
        if probes >= lists:
            raise UserError(f"task.probes={probes} of task.lists={lists} are all; give fewer.")
        if lists > len(pairs.train):
            raise UserError(f"task.lists={lists} is more than the {len(pairs.train)} training documents.")
        require_estimator(estimator, "lists", "categorical")
        if estimator.learners:
            raise UserError(f"{type(estimator).__name__} learns, and nothing here trains it; use another, as exact.")
        self.frozen = Frozen(encoder, length, pairs.cache)
        self.frozen.check()
        self.pairs, self.estimator, self.lists, self.probes = pairs, estimator, lists, probes
        self.price, self.entropy = price, entropy

    @property
    def title(self) -> str:
        """Lists, estimator and data."""
        return f"{self.probes} of {self.lists} lists, {type(self.estimator).__name__}, {self.pairs.name}"

    def begin(self, settings: Settings, world: World) -> None:
        """Also embeds the texts, if the cache has no embeddings of them, and finds the lists."""
        from sklearn.cluster import KMeans

        self.world = world
        self.order = Shuffled(len(self.pairs.train), settings.batch, settings.seed, world)
        self.judged = Judged.of(self.pairs.held_out, self.pairs.others)
        self.train_pairs, self.held_out = self.frozen.embed_pairs(self.pairs, self.judged, settings.progress, world)
        learned = self.train_pairs.documents
        found = KMeans(self.lists, n_init=1, random_state=settings.seed).fit(learned.cpu().numpy())
        centroids = torch.from_numpy(found.cluster_centers_).to(learned)
        self.register_buffer("centroids", F.normalize(centroids, dim=-1))
        biases = -centroids.square().sum(-1) / 2
        scale = scale_for((learned @ centroids.T + biases).unsqueeze(1), self.entropy, "categorical")
        self.heads, self.biases = nn.Parameter(scale * centroids), nn.Parameter(scale * biases)

    def batch(self, step: int) -> Embedded:
        """Pairs `[B]`."""
        return self.train_pairs.take(self.order(step))

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """What puts documents into lists."""
        return {"optimizer": [self.heads, self.biases]}

    def forward(self, batch: Embedded, generator: torch.Generator) -> Step:
        """Minus the share of queries that find their document, and what is searched for it."""
        costs = self.costs(batch.queries)
        draw = self.estimator.sample((batch.documents @ self.heads.T + self.biases).unsqueeze(1), generator)
        if self.estimator.takes_ids:
            values = costs[torch.arange(len(costs), device=costs.device), draw.indices.squeeze(-1)]
        else:
            values = (draw.points.squeeze(-2) * costs).sum(-1)
        surrogate = self.estimator.surrogate(draw, values).mean()
        return Step(surrogate, {"train_objective": surrogate.detach()})

    def costs(self, queries: Tensor) -> Tensor:
        """Of every list for the document of every query, `[B, L]`."""
        probed = self.probed(queries).to(queries.dtype)
        return self.price * probed.mean(0) - probed

    def probed(self, queries: Tensor) -> Tensor:
        """Which lists queries search, bool `[Q, L]`."""
        nearest = (queries @ self.centroids.T).topk(self.probes, dim=1).indices
        return torch.zeros(len(queries), self.lists, device=queries.device).scatter(1, nearest, 1.0).bool()

    @torch.no_grad()
    def evaluate(self, most: int | None = None) -> dict[str, float]:
        """The share of held-out queries that search the list of a document of theirs, and of documents searched."""
        queries, assigned = self.held_out.queries, self.assigned(self.held_out.documents)
        asked = spread(len(queries), most, self.world.device)
        asked = asked[self.world.share(len(asked))]
        probed = torch.zeros(len(queries), self.lists, dtype=torch.bool, device=self.world.device)
        probed[asked] = self.probed(queries[asked])
        query, answer = self.judged.pairs.to(self.world.device).T
        sizes = torch.bincount(assigned, minlength=self.lists).double() / len(assigned)
        totals = {
            "found": query[probed[query, assigned[answer]]].unique().numel(),
            "scanned": float((probed.double() @ sizes).sum()),
        }
        return {name: self.world.mean(total, len(asked)) for name, total in totals.items()}

    def assigned(self, documents: Tensor) -> Tensor:
        """The most likely list of every document, `[N]`."""
        return (documents @ self.heads.T + self.biases).argmax(-1)

    def pictures(self, folder: Path) -> list[Path]:
        """The lists' sizes."""
        from experiments.systems.inverted_file.pictures import draw  # takes matplotlib with it

        return draw(folder, self)
