"""SKILL: Moiseev, Dong, Alfonseca, Jaggi 2022 (arXiv 2205.08184), and paths of relations as discrete latents."""

from experiments.systems.skill.answering import AnsweringTask
from experiments.systems.skill.policy import PathPolicy
from experiments.systems.skill.pretraining import PretrainingTask
from experiments.systems.skill.task import PathTask

__all__ = ["AnsweringTask", "PathPolicy", "PathTask", "PretrainingTask"]
