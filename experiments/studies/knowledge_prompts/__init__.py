"""Knowledge prompts: all runs that are compared, and what a step costs with more entities.

    python -m experiments.studies.knowledge_prompts runs       # or prompts, codes, linking alone
    python -m experiments.studies.knowledge_prompts times      # a step with few and with many entities
    python -m experiments.studies.knowledge_prompts map        # the prompts of one run in the plane
    python -m experiments.studies.knowledge_prompts page

Runs go on where they were stopped, and finished ones are left as they are; each starts from those before it. What
follows as NAME=VALUE goes to `experiments.train`.
"""
