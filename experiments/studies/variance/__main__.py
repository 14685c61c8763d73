"""The command: `python -m experiments.studies.variance report=disarm`; see conf/variance.yaml."""

from __future__ import annotations

import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import hydra
import torch
from omegaconf import DictConfig, OmegaConf

from experiments.command import refuse, run_job
from experiments.errors import UserError, require_count, require_number
from experiments.studies.variance import page
from experiments.studies.variance.claims import crossovers, decide
from experiments.studies.variance.measuring import Found, gather, measure, prepare
from experiments.studies.variance.report import Report, dealt, listed, read


def run(config: DictConfig, command: str = "python -m experiments.studies.variance") -> Path:
    """Check, measure, decide, write; the HTML's path, or of a shard the folder of what it has measured.

    Raises:
        UserError: before anything is measured, but for what a checkpoint turns out to be.
    """
    settings = _settings(config)
    out, merged = Path(config.out), [Path(folder) for folder in listed(config.merge or ())]
    container = _container(config)
    report = read(container, out)
    page.check_figures(report)
    cells = dealt(report.cells, config.shard)
    torch.set_num_threads(config.threads)
    if merged:
        if config.shard is not None:
            raise UserError("merge measures nothing, and a shard nothing else; leave out shard or merge.")
        known = {name: settings[name] for name in ("confidence", "precision", "replicates", "rounds")}
        found = gather({folder: read(container, folder) for folder in merged}, **known)
        if found.unfinished:
            print(found.notice, file=sys.stderr)
        _folder(out)
    else:
        _folder(out / "cells")
        prepare(report, cells, out)
        found = measure(cells, out, config.progress, **settings)
        if config.shard is not None:
            return out / "cells"
    return _written(report, found, config, settings["confidence"], command, out)


def _written(report: Report, found: Found, config: DictConfig, confidence: float, command: str, out: Path) -> Path:
    verdicts = decide(report, found.rows, confidence)
    crossing = crossovers(found.rows, report.crossover, confidence) if report.crossover else []
    text = OmegaConf.to_yaml(config, resolve=True)
    written = page.write(report, found, verdicts, crossing, text, command, confidence, out)
    for number, verdict in enumerate(verdicts, 1):
        print(f"  {number}. {verdict.claim.says}: {verdict.word} ({verdict.span})")
    return written


def _settings(config: DictConfig) -> dict[str, Any]:
    """Of `analysis.compare`."""
    settings: dict[str, Any] = OmegaConf.to_container(config.measure, resolve=True)  # type: ignore[assignment]
    require_number("measure.precision", settings["precision"], 1e-6, 1.0)
    require_number("measure.confidence", settings["confidence"], 0.5, 1.0)
    require_count("measure.replicates", settings["replicates"], 64)
    require_count("measure.rounds", settings["rounds"], 0)
    require_count("measure.seed", settings["seed"], 0)
    require_count("threads", config.threads)
    if config.quick:
        settings["precision"] = max(settings["precision"], 0.1)
    return settings


def _container(config: DictConfig) -> dict[str, Any]:
    """Of the report."""
    chosen = config.report
    if config.quick:
        chosen = OmegaConf.merge(chosen, chosen.get("quick") or {})
    container: dict[str, Any] = OmegaConf.to_container(chosen, resolve=True)  # type: ignore[assignment]
    return container


def _folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path} cannot be a folder of the report ({error}); name another with out=FOLDER.") from error


@hydra.main(version_base="1.3", config_path="../../../conf", config_name="variance")
def _job(config: DictConfig) -> None:
    try:
        print(run(config, _command()))
    except UserError as error:  # here, because Hydra has a line of its own to say about what leaves a job
        refuse(str(error))


def main() -> None:
    """The command: every refusal is one sentence and exit code 2, a stop says how to go on."""
    run_job(_job, _stopped)


def _stopped(stop: KeyboardInterrupt) -> tuple[str, int]:
    return f"stopped; what was measured is kept, go on with\n  {_command()}", signal.SIGINT


def _command() -> str:
    return shlex.join(["python", "-m", "experiments.studies.variance", *sys.argv[1:]])


if __name__ == "__main__":
    main()
