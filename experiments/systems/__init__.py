"""One folder a system: its modules, its `Task`, and a README with the paper, what departs from it, and results.

Systems never import one another.
"""
