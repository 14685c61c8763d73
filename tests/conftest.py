import gc
import os

import pytest
import torch

# Two workers share two cores; threads of one worker would only wait for those of the other. Who wants more, as
# `machines.py` does, says so.
if "OMP_NUM_THREADS" not in os.environ:
    torch.set_num_threads(1)

# Triton looks at this when it is imported, which torch.compile may do in any test of this process: without a GPU its
# kernels run by its interpreter.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"

# Nor does any test look for models on the Hugging Face hub, or wait for it; the hub's package reads this at its import.
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Modules and thousands of tests are there to stay: to look for garbage among them takes long, then and after."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(autouse=True)
def _seed():
    # `torch.manual_seed` puts off the seeds of devices that have not been used, with the stack that it was called from,
    # which takes as long as a short test.
    if torch.cuda.is_available():
        torch.manual_seed(0)
    else:
        torch.default_generator.manual_seed(0)
