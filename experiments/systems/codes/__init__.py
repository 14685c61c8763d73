"""Codes of documents for vector search, trained as they are served."""

from experiments.systems.codes.task import CodesTask

__all__ = ["CodesTask"]
