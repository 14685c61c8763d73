"""Knowledge prompts: all runs that are compared, and what a step costs with more entities."""
