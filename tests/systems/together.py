"""Two processes of a run within one: what both compute, with the graph of either reaching into the other's."""

from __future__ import annotations

import functools
import threading
from concurrent.futures import ThreadPoolExecutor

import torch

from experiments.engine import World


class Both:
    """Two threads by turns: one goes on until it exchanges something, then the other does.

    So the global generator, which they share, has for each of them the state in which it has left it.
    """

    def __init__(self):
        self.worlds, self.condition = [Together(rank, self) for rank in range(2)], threading.Condition()

    def __call__(self, work):
        """What `work` returns in either, called with its world."""
        self.posted, self.turn = ([], []), 0
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(self.one, [work, work], self.worlds))

    def one(self, work, world):
        self.wait_for(world.rank)
        try:
            return work(world)
        finally:
            self.pass_on(world.rank)

    def exchange(self, rank, own):
        """Both threads' objects, in the order of ranks."""
        self.posted[rank].append(own)
        place, state = len(self.posted[rank]) - 1, torch.get_rng_state()
        self.pass_on(rank)
        self.wait_for(rank)
        torch.set_rng_state(state)
        return [posted[place] for posted in self.posted]

    def wait_for(self, rank):
        with self.condition:
            assert self.condition.wait_for(lambda: self.turn == rank, timeout=600)

    def pass_on(self, rank):
        with self.condition:
            self.turn = 1 - rank
            self.condition.notify_all()


class Together(World):
    """One of the two."""

    def __init__(self, rank, both):
        super().__init__(rank, 2)
        object.__setattr__(self, "both", both)

    def sum(self, tensors):
        each = self.both.exchange(self.rank, list(tensors))
        return [one.detach() + other.detach() for one, other in zip(*each, strict=True)]

    def gather(self, rows):
        """With the other's graph: whoever differentiates both losses' mean needs no gradient passed back."""
        return torch.cat(self.both.exchange(self.rank, rows))

    def every(self, own):
        return self.both.exchange(self.rank, own)

    def follow(self, tensors):
        own = [tensor.detach() for tensor in tensors]
        for tensor, first in zip(own, self.both.exchange(self.rank, own)[0], strict=True):
            tensor.copy_(first)


def gradients_of(task):
    """Of every parameter, whole; None where there is none."""
    return {n: None if p.grad is None else p.grad.to_dense().clone() for n, p in task.named_parameters()}


def average_step(both, runs, step):
    """A step of both models by the mean of their losses; the gradients, which are those of both models summed."""
    for run in runs:
        for optimizer in run.learning.optimizers.values():
            optimizer.zero_grad()
    found = both(lambda world: runs[world.rank].learning.forward(step).loss)
    (sum(found) / 2).backward()
    for pair in zip(*(run.task.parameters() for run in runs), strict=True):
        gradients = [p.grad for p in pair if p.grad is not None]
        for p in pair if gradients else ():
            p.grad = functools.reduce(torch.add, gradients)  # of sparse ones too, which add to no number
    for run in runs:
        if run.learning.settings.clip is not None:
            torch.nn.utils.clip_grad_norm_(run.task.parameters(), run.learning.settings.clip)
    summed = gradients_of(runs[0].task)
    for run in runs:
        for optimizer in run.learning.optimizers.values():
            optimizer.step()
        for schedule in run.learning.schedules:
            schedule.step()
        run.task.after()
    for pair in zip(*(run.task.buffers() for run in runs), strict=True):
        mean = sum(pair) / 2
        for buffer in pair:
            buffer.copy_(mean)
    return summed
