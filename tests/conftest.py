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


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
