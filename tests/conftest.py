import pytest
import torch

# Two workers share two cores; threads of one worker would only wait for those of the other.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
