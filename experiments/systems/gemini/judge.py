"""A classifier of images, which judges those that captions draw: trained once for each data set, on other images."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.data.images import Images, binarise
from experiments.engine import World
from experiments.errors import UserError
from experiments.files import write_whole
from experiments.locks import locked

BATCH, RATE = 128, 2e-3
TURN, GROW, MOVE = 0.15, 0.1, 0.14
"""Of what is trained on, at most: turned in radians, grown by a share, moved by a share of half the side."""


class Judge(nn.Module):
    """Binary images `[N, H * W]` in, logits of their classes out.

    Args:
        shape: `(H, W)`.
        classes: how many.
    """

    accuracy: Tensor

    def __init__(self, shape: tuple[int, int], classes: int) -> None:
        super().__init__()
        self.shape = shape
        left = math.prod((side + 3) // 4 for side in shape)
        self.network = nn.Sequential(
            *(nn.Conv2d(1, 32, 5, stride=2, padding=2), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU()),
            *(nn.Flatten(), nn.Dropout(0.3), nn.Linear(64 * left, 128), nn.ReLU(), nn.Linear(128, classes)),
        )
        self.register_buffer("accuracy", torch.zeros((), dtype=torch.float64))

    def forward(self, images: Tensor) -> Tensor:
        """`[N, classes]`."""
        return self.network(images.reshape(-1, 1, *self.shape))

    @torch.no_grad()
    def right(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """bool `[N]`: whether grey images, whose pixels are drawn, are taken for what they should be."""
        binary = binarise(images, generator)
        return torch.cat([self(part).argmax(1) for part in binary.split(500)]) == labels


def trained_judge(images: Images, steps: int, cache: str, world: World) -> Judge:
    """The judge of a data set, from the cache or trained on the training images, in evaluation mode.

    Args:
        images: with labels, on the device.
        steps: of the training.
        cache: a folder, which is made.
        world: the processes, which get the same.

    Raises:
        UserError: where the cache cannot be written.
    """
    assert images.labels is not None
    content = hashlib.sha256(images.train.cpu().numpy().tobytes() + images.test.cpu().numpy().tobytes())
    recipe = (images.name, images.shape, content.hexdigest(), steps, BATCH, RATE, TURN, GROW, MOVE)
    place = Path(cache).expanduser() / "judges" / f"{hashlib.sha256(repr(recipe).encode()).hexdigest()[:32]}.pt"
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        judge = Judge(images.shape, len(images.labels.classes)).to(world.device)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with locked(place.parent, busy=lambda: None):
                if not place.exists():
                    _train(judge, images, steps)
                    write_whole(place, lambda file: torch.save(judge.state_dict(), file))
            judge.load_state_dict(torch.load(place, map_location=world.device, weights_only=True))
        except OSError as error:
            raise UserError(f"{place} cannot be written ({error}); name another folder with task.cache.") from error
    world.follow([*judge.parameters(), *judge.buffers()])
    return judge.eval().requires_grad_(False)


def _train(judge: Judge, images: Images, steps: int) -> None:
    assert images.labels is not None
    device = images.train.device
    generator = torch.Generator(device).manual_seed(0)
    labels = images.labels.train.to(device)
    optimizer = torch.optim.Adam(judge.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    judge.train()
    for _ in range(steps):
        index = torch.randint(len(labels), (min(BATCH, len(labels)),), generator=generator, device=device)
        binary = binarise(_varied(images.train[index], images.shape, generator), generator)
        optimizer.zero_grad()
        F.cross_entropy(judge(binary), labels[index]).backward()
        optimizer.step()
        schedule.step()
    judge.eval()
    test = torch.Generator(device).manual_seed(1)
    judge.accuracy.fill_(judge.right(images.test, images.labels.test.to(device), test).double().mean())


def _varied(images: Tensor, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Grey images, each turned, grown and moved a little."""
    noise = 2 * torch.rand(4, len(images), generator=generator, device=images.device) - 1
    angle, scale = TURN * noise[0], 1 + GROW * noise[1]
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    rows = (torch.stack((cosine, -sine, MOVE * noise[2]), 1), torch.stack((sine, cosine, MOVE * noise[3]), 1))
    grid = F.affine_grid(torch.stack(rows, 1), [len(images), 1, *shape], align_corners=False)
    moved = F.grid_sample(images.reshape(-1, 1, *shape), grid, align_corners=False)
    return moved.flatten(1).clamp(0, 1)
