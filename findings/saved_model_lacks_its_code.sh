#!/usr/bin/env bash
# sentence-transformers 6.2.0: save_pretrained of a model with a module of one's own writes a folder that cannot be loaded.
#
# The source is not written if the class was imported as any Python module is. If it came with a model's folder, it is, but
# into the module's subfolder, where loading does not look: it loads such code from beside modules.json. (A first module that
# is saved in that folder itself is found.) Nothing is said at saving; loading fails, with trust_remote_code=True as well.
source "$(dirname "$0")/with_torch.sh" sentence-transformers==6.2.0 transformers==5.24.0 torch==2.13.0 numpy==2.4.6
export HF_HUB_OFFLINE=1 HF_MODULES_CACHE="$FOLDER/modules"
mkdir code
cat > code/halved.py <<'PY'
from sentence_transformers.base.modules import Module


class Halved(Module):
    config_keys = []

    def forward(self, features, **_):
        features["sentence_embedding"] = features["sentence_embedding"] / 2
        return features

    def save(self, output_path, *_, **__):
        self.save_config(output_path)

    @classmethod
    def load(cls, *_, **__):
        return cls()
PY
cat > load.py <<'PY'
import sys

from sentence_transformers import SentenceTransformer

model = SentenceTransformer(sys.argv[1], device="cpu", trust_remote_code=True)
print(model.encode(["a b"]).tolist())
if len(sys.argv) > 2:
    model.save_pretrained(sys.argv[2])
PY
PYTHONPATH=code venv/bin/python - <<'PY'
import sentence_transformers
from halved import Halved
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import BoW

print(sentence_transformers.__version__)
SentenceTransformer(modules=[BoW(["a", "b"]), Halved()], device="cpu").save_pretrained("saved")
PY

lost() {
  find "$1" -name '*.py'
  if venv/bin/python load.py "$1" 2> said; then echo "mended: $1 is loaded"; exit 1; fi
  tail -n 1 said
  grep -q "No module named 'halved'" said
}
lost saved
cp code/halved.py saved/ && venv/bin/python load.py saved saved_again  # now it is loaded, and saved once more
lost saved_again
mv saved_again/1_Halved/halved.py saved_again/ && venv/bin/python load.py saved_again
