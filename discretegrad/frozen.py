"""Values that cannot be changed, and the memory of what they were made from: what estimators and their slots are."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, NoReturn, Self, TypeVar, dataclass_transform

import torch

Class = TypeVar("Class", bound=type)


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def frozen(cls: Class) -> Class:
    """A frozen dataclass that refuses every assignment, of its subclasses' own names too, with a sentence.

    `dataclass(frozen=True)` alone refuses the names of fields only in subclasses, so that assigning one of their
    arguments is accepted and does nothing. Tensors among the fields are equal where they are the same one: what is in
    them may change, and must not be looked at.
    """
    own = "__eq__" in vars(cls)
    made: Any = dataclasses.dataclass(frozen=True)(cls)
    names = tuple(field.name for field in dataclasses.fields(made))

    def equal(self: object, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(_equal(getattr(self, name), getattr(other, name)) for name in names)

    if not own:
        made.__eq__ = equal
    made.__setattr__ = made.__delattr__ = _refuse
    return made


def _equal(one: object, other: object) -> bool:
    tensors = isinstance(one, torch.Tensor) or isinstance(other, torch.Tensor)
    return one is other or (not tensors and one == other)


def _refuse(self: object, name: str, *value: object) -> NoReturn:
    shown = repr(value[0]) if value and isinstance(value[0], int | float | str | None) else "..."
    raise dataclasses.FrozenInstanceError(
        f"{type(self).__name__} cannot be changed, so {name} is not assigned to; make a new one with other arguments: "
        f"`estimator = estimator.replace({name}={shown})` for an estimator, a new call of the class for a part of one."
    )


class Made:
    """What remembers the arguments that its class was called with."""

    made_from: dict[str, Any]
    """By name, with the defaults of those that were not given."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Before `__init__`, so that classes need not know of it."""
        self = super().__new__(cls)
        if torch.compiler.is_compiling():  # which cannot follow, and lets no estimator outlive its trace
            return self
        try:
            bound = _signature(cls.__init__).bind(self, *args, **kwargs)
        except TypeError:  # `__init__` says it better; and copies come without arguments, but with their memory
            return self
        bound.apply_defaults()
        _, *arguments = bound.arguments.items()
        made_from = dict(arguments)
        for name, parameter in bound.signature.parameters.items():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                made_from.update(made_from.pop(name))
        object.__setattr__(self, "made_from", made_from)
        return self

    def made_alike(self, other: object) -> bool:
        """Whether the other is of the same class, and made from the same arguments."""
        return type(other) is type(self) and all(map(_same, self.made_from.values(), other.made_from.values()))


@functools.cache
def _signature(initialise: Callable[..., None]) -> inspect.Signature:
    return inspect.signature(initialise)


def _same(one: object, other: object) -> bool:
    plain = type(one) is type(other) and isinstance(one, int | float | str)
    return one is other or (plain and one == other)
