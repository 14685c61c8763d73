"""What the commands have in common: every refusal is one sentence on stderr and exit code 2."""

from __future__ import annotations

import sys
from typing import NoReturn


def refuse(sentence: str) -> NoReturn:
    """Say it and exit."""
    print(sentence, file=sys.stderr)
    sys.exit(2)


def of_hydra(error: Exception) -> str:
    """What Hydra says, without the search path and the types at the end, which are of no use to the user."""
    text = str(error).split("\nConfig search path")[0].split("\n    full_key")[0]
    return " ".join(text.split())
