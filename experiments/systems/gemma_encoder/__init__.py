"""A decoder turned into an encoder, and which tokens it may read: Gemma Encoder (arXiv 2503.02656)."""

from experiments.systems.gemma_encoder.decoder import Decoder
from experiments.systems.gemma_encoder.encoder import GemmaEncoder
from experiments.systems.gemma_encoder.pretraining import DecoderTask
from experiments.systems.gemma_encoder.reading import ReadingTask
from experiments.systems.gemma_encoder.task import EncoderTask

__all__ = ["Decoder", "DecoderTask", "EncoderTask", "GemmaEncoder", "ReadingTask"]
