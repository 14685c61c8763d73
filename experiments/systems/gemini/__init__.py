"""Images as discrete tokens in one stream with words, in the manner of Gemini (arXiv 2312.11805)."""

from experiments.systems.gemini.model import Gemini
from experiments.systems.gemini.task import GeminiTask

__all__ = ["Gemini", "GeminiTask"]
