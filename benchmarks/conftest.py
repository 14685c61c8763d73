"""Threads for all suites, and a record of what the run measured with."""

import pytest
import torch

from benchmarks.results import provenance
from benchmarks.sizes import set_threads

collect_ignore_glob = ["peers/with_*.py"]  # --doctest-modules would import packages that need not be there

MEASURED = pytest.StashKey[dict]()


@pytest.fixture(autouse=True)
def _alike():
    torch.manual_seed(0)
    set_threads()


def pytest_sessionstart(session):
    set_threads()
    session.config.stash[MEASURED] = provenance()  # of the start: files may change while it runs


def pytest_benchmark_update_json(config, benchmarks, output_json):
    output_json["provenance"] = config.stash[MEASURED]
