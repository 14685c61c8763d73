"""Language models that complete texts, by span corruption: Raffel et al. 2020 (arXiv 1910.10683)."""

from experiments.systems.language_model.task import LanguageModelTask

__all__ = ["LanguageModelTask"]
