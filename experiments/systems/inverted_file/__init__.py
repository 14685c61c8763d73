"""The lists of an inverted file, trained by which of them queries probe."""

from experiments.systems.inverted_file.task import InvertedFileTask

__all__ = ["InvertedFileTask"]
