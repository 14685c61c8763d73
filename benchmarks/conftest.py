"""Threads for all suites, and a record of what the run measured with."""

import pytest
import torch

from benchmarks.results import provenance
from benchmarks.sizes import set_threads

collect_ignore_glob = ["peers/with_*.py"]  # --doctest-modules would import packages that need not be there


@pytest.fixture(autouse=True)
def _alike():
    torch.manual_seed(0)
    set_threads()


def pytest_benchmark_update_json(config, benchmarks, output_json):
    set_threads()
    output_json["provenance"] = provenance()
