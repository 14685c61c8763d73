import copy
import functools

import pytest
from hydra._internal.core_plugins.file_config_source import FileConfigSource


@pytest.fixture(scope="session", autouse=True)
def _configurations_are_read_once():
    """Reading the same YAML for every run takes longer than most runs of these tests; nothing here changes them."""
    read = FileConfigSource.load_config

    @functools.cache
    def of(scheme, path, config_path):
        return read(FileConfigSource(scheme, f"{scheme}://{path}"), config_path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FileConfigSource, "load_config", lambda s, path: copy.deepcopy(of(s.provider, s.path, path)))
        yield
