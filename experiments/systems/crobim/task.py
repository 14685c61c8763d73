"""Referring segmentation, with windows at full resolution whose places are discrete latents."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import discretegrad as dg
from experiments.data.aerial.scenes import Referring
from experiments.engine import Settings, Step, Task, World, finite
from experiments.errors import UserError, require_count
from experiments.parts.batches import Shuffled
from experiments.parts.estimators import require_estimator
from experiments.parts.retrieval import spread
from experiments.systems.crobim.judging import OF_OTHERS, Masks, counted, judged, measures
from experiments.systems.crobim.model import CroBIM, Seen
from experiments.systems.crobim.scenes import Referrals, Stock

REWARDS = ("dice", "iou", "loss")
BATCH = 32
"""Images that are judged at a time."""


class CroBIMTask(Task):
    """Train masks from expressions, and where to look more closely.

    The cells z to look at are latents of the image and the expression, and the window about each is decoded at full
    resolution. f(z) is minus the Dice coefficient of the mask with the windows pasted into it; or minus the overlap of
    the mask at its threshold, which has no gradient in anything; or the loss. The weights of the network follow the
    loss, averaged over what was drawn. The likeliest cells are served.

    Args:
        scenes: the data.
        model: makes the network from `vocabulary`.
        estimator: of the gradient w.r.t. the cells' logits; without windows, or with `model.look=soft`, nothing is
            drawn.
        reward: dice, iou or loss.
        entropy: weight of the entropy of where to look, in the units of f, which keeps the policy from an early choice.
        length: words of an expression, at most.

    Raises:
        UserError: where the parts do not fit together.
    """

    def __init__(
        self,
        scenes: Referring,
        model: Callable[..., CroBIM],
        estimator: dg.Estimator,
        reward: str = "dice",
        entropy: float = 0.001,
        length: int = 20,
    ) -> None:
        super().__init__()
        if reward not in REWARDS:
            raise UserError(f"task.reward is one of {', '.join(REWARDS)}, not {reward!r}.")
        require_count("task.length", length)
        self.scenes, self.estimator, self.reward, self.entropy = scenes, estimator, reward, entropy
        known = {word: number for number, word in enumerate(scenes.words, start=2)}
        self.train_stock, self.test_stock = (Stock(part, known, length) for part in (scenes.train, scenes.test))
        self.other_stocks = {name: Stock(others, known, length) for name, others in scenes.others.items()}
        self.model = model(vocabulary=len(known))
        self.draws = self.model.glimpses > 0 and self.model.look == "drawn"
        self.model.refuse_size(*scenes.train[0].image.shape[1:])
        if self.draws:
            require_estimator(estimator, "windows", "categorical", looked_up=True, learns=False)

    @property
    def measures(self) -> dict[str, str]:  # type: ignore[override]
        """The columns of all sets of examples."""
        found = {"train_loss": "per image"}
        if self.model.glimpses:
            found |= {"look_entropy": "nats per window"}
        if self.draws:
            found |= {"train_reward": "per image"}
        own = measures(self.model.glimpses > 0)
        return found | own | {f"{other}_{name}": own[name] for other in self.other_stocks for name in OF_OTHERS}

    @property
    def title(self) -> str:
        """What looks, and at what."""
        by = ""
        if self.model.glimpses:
            how = type(self.estimator).__name__ if self.draws else "soft"
            by = f", {self.model.glimpses} of {self.model.cells**2} windows, {how}"
        return f"CroBIM{by}, on {self.scenes.name}"

    def begin(self, settings: Settings, world: World) -> None:
        self.world = world
        self.order = Shuffled(len(self.train_stock), settings.batch, settings.seed, world)

    def batch(self, step: int) -> Referrals:
        """Examples `[B]`."""
        return self.train_stock.take(self.order(step).tolist(), self.world.device)

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """The network, and what says where to look."""
        policy = [] if self.model.policy is None else [*self.model.policy.parameters()]
        own = {id(parameter) for parameter in policy}
        rest = [p for p in self.model.parameters() if id(p) not in own and p.requires_grad]
        return {"optimizer": rest, "policy_optimizer": policy}

    def forward(self, batch: Referrals, generator: torch.Generator) -> Step:
        """The loss of the whole image and, where there are windows, of the mask that they are pasted into."""
        seen = self.model.see(batch.images, batch.words)
        finite({"mask_logits": seen.logits})
        loss = losses(seen.logits, batch.masks)
        if seen.cells is None:
            return Step(loss.mean(), {"train_loss": loss.detach().mean()})
        entropy = dg.objectives.entropy(seen.cells).mean()
        shown = {"look_entropy": entropy.detach() / self.model.glimpses}
        if self.draws:
            closer, reward = self.estimated(seen, batch, generator)
            shown["train_reward"] = reward
        else:
            places = self.model.mean_places(seen)
            closer = losses(self.model.closely(seen, places[None])[0], batch.masks)
        shown["train_loss"] = closer.detach().mean()
        return Step(loss.mean() + closer.mean() - self.entropy * entropy, shown)

    def estimated(self, seen: Seen, batch: Referrals, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The surrogate `[B]`, whose value and gradient are the loss's, f's for the policy; and f's mean."""
        assert seen.cells is not None
        draw = self.estimator.sample(seen.cells, generator)
        places = self.model.places_of(draw.indices, batch.images)
        logits = self.model.closely(seen, places)
        values = losses(logits, batch.masks)
        rest = dataclasses.replace(draw, logits=draw.logits.detach())
        own = self.estimator.surrogate(draw, self.f(logits.detach(), values.detach(), batch.masks))
        return self.estimator.surrogate(rest, values) + own - own.detach(), own.detach().mean()

    def f(self, logits: Tensor, values: Tensor, masks: Tensor) -> Tensor:
        """What the policy minimises, `[S, B]`, of mask logits `[S, B, H, W]` and their losses `[S, B]`."""
        if self.reward == "loss":
            return values
        if self.reward == "dice":
            return -dice(logits, masks)
        both, either = counted(logits, masks)
        return -(both / either.clamp(min=1)).to(values.dtype)

    @torch.no_grad()
    def evaluate(self, most: int | None = None) -> dict[str, float]:
        """Overlaps on all sets of examples."""
        measured = judged(self.masks(self.test_stock, most), self.model.glimpses > 0)
        for other, stock in self.other_stocks.items():
            found = judged(self.masks(stock, most), closer=False)
            measured |= {f"{other}_{name}": found[name] for name in OF_OTHERS}
        return measured

    def masks(self, stock: Stock, most: int | None) -> Masks:
        """What is found on some examples, by all processes."""
        chosen = spread(len(stock), most, self.world.device)
        parts = [
            self._judge(stock.take(numbers.tolist(), self.world.device))
            for numbers in chosen[self.world.share(len(chosen))].split(BATCH)
            if len(numbers)
        ]
        whole = [each for own in self.world.every(parts) for each in own]
        return Masks(*(torch.cat(columns) for columns in zip(*whole, strict=True)))

    def _judge(self, batch: Referrals) -> Masks:
        seen = self.model.see(batch.images, batch.words)
        logits, hit = seen.logits, torch.zeros_like(batch.relational)
        if seen.cells is not None:
            places = self.model.likeliest(seen)
            logits = self.model.closely(seen, places[None])[0]
            apart = (places - batch.centres.unsqueeze(1)).abs().amax(-1)
            hit = (apart < self.model.crop / 2).any(1)
        both, either = counted(logits, batch.masks)
        share = batch.masks.double().mean((1, 2))
        return Masks(*(column.cpu() for column in (both, either, share, batch.relational, hit)))

    def pictures(self, folder: Path) -> list[Path]:
        """Masks and windows beside the truth."""
        from experiments.systems.crobim.pictures import draw  # takes matplotlib with it

        return draw(folder, self)


def dice(logits: Tensor, masks: Tensor) -> Tensor:
    """The Dice coefficient of probabilities, `[*batch]`, of logits `[*batch, H, W]` and bool masks `[B, H, W]`."""
    probabilities, truth = logits.sigmoid(), masks.to(logits.dtype)
    both = (probabilities * truth).sum((-2, -1))
    return (2 * both + 1) / (probabilities.sum((-2, -1)) + truth.sum((-2, -1)) + 1)


def losses(logits: Tensor, masks: Tensor) -> Tensor:
    """Cross-entropy of the pixels and 1 - Dice, `[*batch]`."""
    truth = masks.to(logits.dtype).expand_as(logits)
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean((-2, -1))
    return entropy + 1 - dice(logits, masks)
