"""What the commands have in common: every refusal is one sentence on stderr and exit code 2."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import NoReturn

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException


def refuse(sentence: str) -> NoReturn:
    """Say it and exit."""
    print(sentence, file=sys.stderr)
    sys.exit(2)


def run_job(job: Callable[[], None], stopped: Callable[[KeyboardInterrupt], tuple[str, int]]) -> None:
    """Run a job of Hydra's as a command.

    Args:
        job: what `hydra.main` made.
        stopped: what to say when the user has stopped it, which is how to go on; and the signal's number.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # or Hydra prints tracebacks and exits by itself
    try:
        job()
    except (HydraException, OmegaConfBaseException) as error:
        _say(of_hydra(error))
        sys.exit(2)
    except KeyboardInterrupt as stop:
        said, number = stopped(stop)
        _say(said)
        sys.exit(128 + number)


def _say(sentence: str) -> None:
    """Once, where `torchrun` has started several processes, all of which know it."""
    if os.environ.get("RANK", "0") == "0":
        print(sentence, file=sys.stderr)


def of_hydra(error: Exception) -> str:
    """What Hydra says, without the search path and the types at the end, which are of no use to the user."""
    text = str(error).split("\nConfig search path")[0].split("\n    full_key")[0]
    hint = "; sweeps by launcher= need the extra sweep: pip install 'discretegrad[sweep]'"
    return " ".join(text.split()) + (hint if "Could not find 'hydra/launcher/" in text else "")
