"""Leave what a measurement uses as it was: random generators, and the modules that a function holds."""

from __future__ import annotations

import inspect
import random
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from types import CellType, ModuleType

import torch
from torch import Tensor, nn

LONGEST = 1000
"""Entries of a list, or a dictionary, that may hold modules; longer ones hold data."""


def default_generators(device: torch.device) -> list[torch.Generator]:
    """Those that numbers on a device come from: the CPU's, and the device's own."""
    if device.type != "cuda":
        return [torch.default_generator]
    torch.cuda.init()
    index = torch.cuda.current_device() if device.index is None else device.index
    return [torch.default_generator, torch.cuda.default_generators[index]]


@contextmanager
def restored(device: torch.device, *things: object) -> Iterator[None]:
    """Leave random generators as they were, and of modules buffers, parameters and modes.

    Args:
        device: whose default generator is put back, beside the CPU's, Python's `random` and numpy's global one.
        things: modules, generators, and functions that hold some; see `held`.
    """
    modules, generators = held(things)
    generators += default_generators(device)
    states = [generator.get_state() for generator in generators]
    of_python = random.getstate()
    numpy = sys.modules.get("numpy")
    of_numpy = None if numpy is None else numpy.random.get_state()
    tensors = {id(tensor): tensor for module in modules for tensor in (*module.buffers(), *module.parameters())}
    before = [(tensor, tensor.detach().clone()) for tensor in tensors.values() if not nn.parameter.is_lazy(tensor)]
    modes = [(part, part.training) for module in modules for part in module.modules()]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in before:
                if not torch.equal(tensor, value):
                    tensor.copy_(value)
        for part, training in modes:
            part.training = training
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
        random.setstate(of_python)
        if numpy is not None:
            numpy.random.set_state(of_numpy)


def held(things: Iterable[object]) -> tuple[list[nn.Module], list[torch.Generator]]:
    """The modules and the generators among things, and those that functions among them hold.

    A function holds what is in its closure and its defaults, the globals that it names, and what functions there hold,
    of globals those of the same file; a method its object; a partial its function and arguments. An object holds its
    attributes, but not theirs. Not found is what a function gets at otherwise, such as a global of another file.
    """
    modules: list[nn.Module] = []
    generators: list[torch.Generator] = []
    seen: dict[int, object] = {}  # which keeps them alive, and so their ids apart
    waiting = [(thing, True) for thing in things]
    while waiting:
        thing, whole = waiting.pop()
        if id(thing) in seen:
            continue
        seen[id(thing)] = thing
        if isinstance(thing, nn.Module):
            modules.append(thing)
        elif isinstance(thing, torch.Generator):
            generators.append(thing)
        elif isinstance(thing, dict | list | tuple):
            parts = list(thing.values() if isinstance(thing, dict) else thing) if len(thing) <= LONGEST else []
            waiting += [(part, whole) for part in parts]
        elif isinstance(thing, partial):
            waiting += [(part, whole) for part in (thing.func, thing.args, thing.keywords)]
        elif inspect.ismethod(thing):
            waiting += [(thing.__self__, True), (thing.__func__, True)]
        elif inspect.isfunction(thing):
            within = [part for cell in thing.__closure__ or () for part in _contents(cell)]
            waiting += [(part, True) for part in (thing.__defaults__, thing.__kwdefaults__, *within)]
            for part in (thing.__globals__.get(name) for name in thing.__code__.co_names):
                if not inspect.isfunction(part) or part.__globals__ is thing.__globals__:
                    waiting.append((part, True))
        elif whole and not isinstance(thing, Tensor | type | ModuleType) and hasattr(thing, "__dict__"):
            waiting += [(part, False) for part in vars(thing).values()]
    return modules, generators


def _contents(cell: CellType) -> list[object]:
    try:
        return [cell.cell_contents]
    except ValueError:  # a name that is not bound yet
        return []
