"""Codes of documents as a task: frozen embeddings of pairs in, codes that queries find; judged as they are served."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import discretegrad as dg
from experiments.data.pairs import Pairs
from experiments.engine import Settings, Step, Task, World, finite
from experiments.errors import require_count
from experiments.parts.batches import Shuffled
from experiments.parts.code_draws import refuse_estimator
from experiments.parts.codes import Codes
from experiments.parts.embeddings import HASHED, Embedded, Frozen
from experiments.parts.quantisers import Form, fit
from experiments.parts.retrieval import Judged, first_answers, spread
from experiments.systems.codes.model import Aims, CodesModel, Lost
from experiments.systems.codes.objectives import question


class CodesTask(Task):
    """Train codes of documents by what queries find with them.

    Queries stay floating-point numbers. A document's code is drawn, and what it is worth is the softmax of queries over
    the codes of the batch: `discretegrad.objectives.contrastive`, each document's own terms.

    Args:
        pairs: the data.
        model: what codes consist of, and what they start from.
        estimator: of the gradient w.r.t. the codes' logits; `dg.LocalExpectation` is computed by tables.
        encoder, length: of texts: see `Frozen`.
        objective: distil: queries and documents find what they find by their embeddings; labels: every query finds its
            document; rank: as labels, by the reciprocal rank in the batch, which has no gradient in the points, so that
            only the logits follow it, and codebooks the softmax.
        sharpness: what cosines are multiplied by in the softmax.
        prefixes: the first so many variables are to be codes as well, and the mean over them is what is trained; None:
            all variables alone.
        price: of a nat of a document's code, at the length that an entropy coder gives it.
        asked: for local expectation, how many of a step's queries are drawn to be asked; None: all.
        beam: of the search for a residual code that is served.

    Raises:
        UserError: where the parts do not fit together.
    """

    def __init__(
        self,
        pairs: Pairs,
        model: Form,
        estimator: dg.Estimator,
        encoder: str = HASHED,
        length: int = 32,
        objective: str = "distil",
        sharpness: float = 20.0,
        prefixes: list[int] | None = None,
        price: float = 0.0,
        asked: int | None = None,
        beam: int = 1,
    ) -> None:
        super().__init__()
        model.check()
        refuse_estimator(model.structure, estimator)
        prefixes = [model.variables] if prefixes is None else sorted(prefixes)
        self.aims = Aims(objective, sharpness, prefixes, price, asked)
        self.pairs, self.form, self.estimator, self.beam = pairs, model, estimator, beam
        self.frozen = Frozen(encoder, length, pairs.cache)
        self.aims.check(model, estimator)
        require_count("task.beam", beam)
        self.frozen.check()
        self.learners = dg.nn.Learners(estimator)
        self._last: tuple[dg.Draw | None, Tensor] | None = None

    @property
    def measures(self) -> dict[str, str]:  # type: ignore[override]
        """The columns, with what is found by each prefix."""
        found = {f"mrr{end}": "mean reciprocal rank" for end in self._ends().values()}
        found |= {f"recall_at_10{end}": "share of queries" for end in self._ends().values()}
        own = {
            "entropy": "of the largest",
            "codewords": "in use, of a variable",
            "bits": "of a document, entropy-coded",
        }
        return {"train_loss": "nats per query"} | found | own

    @property
    def title(self) -> str:
        """Codes, estimator and data."""
        bits = self.form.variables * math.log2(self.form.categories)
        return f"{self.form.structure} codes of {bits:g} bits, {type(self.estimator).__name__}, {self.pairs.name}"

    def begin(self, settings: Settings, world: World) -> None:
        """Also embeds the texts, if the cache has no embeddings of them."""
        self.world = world
        self.order = Shuffled(len(self.pairs.train), settings.batch, settings.seed, world)
        self.judged = Judged.of(self.pairs.held_out, self.pairs.others)
        self.train_pairs, self.held_out = self.frozen.embed_pairs(self.pairs, self.judged, settings.progress, world)
        self.queries, self.documents = self.held_out.queries, self.held_out.documents
        learned = self.train_pairs.documents
        codes = Codes(self.form.structure, fit(self.form, learned, settings.seed), learned.cpu(), self.form.entropy)
        self.model = CodesModel(codes.to(world.device), self.estimator, self.aims, learned)
        self.start = (copy.deepcopy(codes),)
        """Codes before they are trained; in a tuple, so that they are not this module's own."""

    def batch(self, step: int) -> Embedded:
        """Pairs `[B]`."""
        return self.train_pairs.take(self.order(step))

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """What chooses codes, what they stand for, and what learns inside the estimator."""
        codes = self.model.codes
        return {
            "optimizer": [codes.heads, codes.biases],
            "codebook_optimizer": [codes.codebooks],
            "learner_optimizer": list(self.learners.parameters()),
        }

    def forward(self, batch: Embedded, generator: torch.Generator) -> Step:
        """The surrogate of the softmax over the batch's codes."""
        asked = question(self.model.codes, *batch, self.aims.objective, self.aims.sharpness)
        found: Lost = self.model(batch.documents, asked, generator)
        finite({"logits": found.drawn.logits, "values": found.values.detach()})
        self._last = (found.drawn.draw, found.values.detach())
        total = found.total
        if found.drawn.draw is not None:
            total = total + self.learners.loss(found.drawn.draw, found.values)
        return Step(total, {"train_loss": found.loss})

    def after(self) -> None:
        """Update what learns inside the estimator."""
        assert self._last is not None, "after a forward pass"
        draw, values = self._last
        if draw is not None:
            self.learners.update(draw, values)

    @torch.no_grad()
    def evaluate(self, most: int | None = None) -> dict[str, float]:
        """What held-out queries find among all held-out documents by their codes, as they are served."""
        codes, rows = self.model.codes, spread(len(self.queries), most, self.world.device)
        ids, asked = codes.encode(self.documents, self.beam), codes.project(self.queries[rows])
        measured: dict[str, float] = {}
        for prefix, end in self._ends().items():
            decoded = F.normalize(codes.decode(ids, prefix), dim=-1)
            found = first_answers(asked, decoded, lambda part: self.judged.relevant(rows[part]), self.world)
            measured |= {f"mrr{end}": found["mrr"], f"recall_at_10{end}": found["recall"]}
        return measured | self._statistics(ids)

    def pictures(self, folder: Path) -> list[Path]:
        """At which places queries find their document by codes, and which codewords are in use."""
        from experiments.systems.codes.pictures import draw  # takes matplotlib with it

        return draw(folder, self)

    def export(self, folder: Path) -> str:
        """Write encoder and codes as a model of sentence-transformers; how to load it."""
        from experiments.parts.coded_sentences import save_coded_sentences

        save_coded_sentences(folder, self.frozen, self.model.codes, self.beam)
        routes = ".encode_query(texts) and .encode_document(texts)"
        return f"SentenceTransformer({str(folder)!r}, trust_remote_code=True){routes}"

    def _ends(self) -> dict[int, str]:
        """Of the names of measures, by the prefix: nothing for whole codes."""
        shorter = [prefix for prefix in self.aims.prefixes if prefix < self.form.variables]
        return {self.form.variables: ""} | {prefix: f"_first_{prefix}" for prefix in shorter}

    def _statistics(self, ids: Tensor) -> dict[str, float]:
        """Entropy of the logits, codewords in use, and the length by the frequencies among training documents."""
        codes, learned = self.model.codes, self.train_pairs.documents
        logits = codes.greedy(codes.project(self.documents))[1]
        entropy = dg.objectives.entropy(logits, latent=codes.latent).mean() / codes.variables
        served = self.model.frequencies(ids).double()
        nats = -self.model.frequencies(codes.encode(learned, self.beam)).log()
        lengths = nats[torch.arange(codes.variables, device=ids.device), ids].sum(-1)
        return {
            "entropy": float(entropy) / math.log(codes.categories),
            "codewords": float((-served * served.log()).sum(-1).exp().mean()),
            "bits": float(lengths.mean()) / math.log(2),
        }
