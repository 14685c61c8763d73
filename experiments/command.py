"""What the commands have in common: every refusal is one sentence on stderr and exit code 2."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

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


def again(*start: str) -> str:
    """The command that goes on with what this one began.

    Args:
        start: its words before the arguments.
    """
    arguments = [argument for argument in sys.argv[1:] if not argument.startswith("resume=")]
    return shlex.join([*start, *arguments, "resume=auto"])  # auto, not true: in a sweep not every run has begun


def flat(values: Any, name: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys."""
    if not isinstance(values, Mapping):
        return {name: values}
    parts = {f"{name}.{key}" if name else str(key): inner for key, inner in values.items()}
    return {key: leaf for part, inner in parts.items() for key, leaf in flat(inner, part).items()}


def placeless(values: Mapping[str, Any]) -> dict[str, Any]:
    """Flat values without those that say where files lie, whose hashes say what they are."""
    return {name: value for name, value in values.items() if name.rpartition(".")[2] not in ("url", "root", "cache")}


def of_hydra(error: Exception) -> str:
    """What Hydra says, without the search path and the types at the end, which are of no use to the user."""
    text = str(error).split("\nConfig search path")[0].split("\n    full_key")[0]
    hint = "; sweeps by launcher= need the extra sweep: pip install 'discretegrad[sweep]'"
    return " ".join(text.split()) + (hint if "Could not find 'hydra/launcher/" in text else "")
