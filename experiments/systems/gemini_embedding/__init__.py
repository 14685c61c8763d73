"""Gemini Embedding (arXiv 2503.07891): one encoder of texts for many tasks."""

from experiments.systems.gemini_embedding.codes import CodesTask
from experiments.systems.gemini_embedding.model import GeminiEmbedding
from experiments.systems.gemini_embedding.task import GeminiEmbeddingTask

__all__ = ["CodesTask", "GeminiEmbedding", "GeminiEmbeddingTask"]
