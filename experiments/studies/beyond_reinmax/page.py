"""Theirs and ours as tables and a figure, in docs/findings.md, of whatever rows there are."""
def write(): pass
