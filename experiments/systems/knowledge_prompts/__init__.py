"""Knowledge Prompts: dos Santos, Dong, Cer, Nham, Shakeri, Ni, Sung 2022 (arXiv 2210.04726)."""

from experiments.systems.knowledge_prompts.codes import CodesTask
from experiments.systems.knowledge_prompts.linking import LinkingTask
from experiments.systems.knowledge_prompts.task import PromptsTask

__all__ = ["CodesTask", "LinkingTask", "PromptsTask"]
