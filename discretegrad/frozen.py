"""Values that cannot be changed: what estimators and their slots are."""

from __future__ import annotations

import dataclasses
from typing import Any, NoReturn, TypeVar, dataclass_transform

Class = TypeVar("Class", bound=type)


@dataclass_transform(frozen_default=True)
def frozen(cls: Class) -> Class:
    """A frozen dataclass that refuses every assignment, of its subclasses' own names too, with a sentence.

    `dataclass(frozen=True)` alone refuses the names of fields only in subclasses, so that assigning one of their
    arguments is accepted and does nothing.
    """
    made: Any = dataclasses.dataclass(frozen=True)(cls)
    made.__setattr__ = made.__delattr__ = _refuse
    return made


def _refuse(self: object, name: str, *value: object) -> NoReturn:
    shown = repr(value[0]) if value and isinstance(value[0], int | float | str | None) else "..."
    raise dataclasses.FrozenInstanceError(
        f"{type(self).__name__} cannot be changed, so {name} is not assigned to; make a new one with other arguments: "
        f"`estimator = estimator.replace({name}={shown})` for an estimator, a new call of the class for a part of one."
    )
