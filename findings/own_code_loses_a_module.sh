#!/usr/bin/env bash
# transformers 5.24.0: a model folder that brings its own code is loaded from a copy, which gets the modules beside it that
# are imported as `from .sizes import SIZE`, but not those imported as `from . import sizes`: the same module then fails with
# an ImportError, though Python itself imports it from the folder.
source "$(dirname "$0")/with_torch.sh" transformers==5.24.0 numpy==2.4.6
export HF_HUB_OFFLINE=1 HF_MODULES_CACHE="$FOLDER/modules"
venv/bin/python - <<'PY'
import pathlib
import tempfile

import transformers
from transformers import AutoConfig

CONFIG = """from transformers import PretrainedConfig

{line}


class PlainConfig(PretrainedConfig):
    model_type = "plain"

    def __init__(self, size={size}, **others):
        super().__init__(**others)
        self.size = size
"""

print(transformers.__version__)
found = {}
for name, line, size in (
    ("from .sizes import SIZE", "from .sizes import SIZE", "SIZE"),
    ("from . import sizes", "from . import sizes", "sizes.SIZE"),
):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)
        (path / "configuration_plain.py").write_text(CONFIG.format(line=line, size=size))
        (path / "sizes.py").write_text("SIZE = 3\n")
        (path / "config.json").write_text('{"model_type": "plain", "auto_map": {"AutoConfig": "configuration_plain.PlainConfig"}}')
        try:
            found[name] = AutoConfig.from_pretrained(folder, trust_remote_code=True).size
        except Exception as error:
            found[name] = f"{type(error).__name__}: {str(error)[:150]}"
    print(f"{name!r}: {found[name]}")
assert found["from .sizes import SIZE"] == 3
assert str(found["from . import sizes"]).startswith("ImportError"), "mended"
PY
