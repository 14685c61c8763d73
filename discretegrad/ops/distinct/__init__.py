"""Find equal joint points, so that each is evaluated once."""

from discretegrad.ops.distinct.reference import distinct

__all__ = [
    "distinct",
]
