#!/usr/bin/env bash
# tokenizers 0.23.3: a WordPiece tokenizer trained twice on the same text is not the same.
#
# So is byte-pair encoding with a prefix for tokens that continue a word ("##a"), and without one it is the same every time.
# Most likely such tokens get their ids in the order in which a hash map hands words out, and ids decide between equal merges.
set -euo pipefail
FOLDER=$(mktemp -d)
trap 'rm -rf "$FOLDER"' EXIT
cd "$FOLDER"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet tokenizers==0.23.3
HF_HUB_OFFLINE=1 venv/bin/python - <<'PY'
import tokenizers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

print(tokenizers.__version__)
text = [f"{a}{b}{c}" for a in "bcdfgh" for b in "aeiou" for c in "klmnrst"] * 3


def vocabularies(model, trainer):
    found = set()
    for _ in range(10):
        tokenizer = Tokenizer(model(unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer.train_from_iterator(text, trainer(vocab_size=100, show_progress=False, special_tokens=["[UNK]"]))
        found.add(tuple(sorted(tokenizer.get_vocab())))
    return len(found)


words, pairs = vocabularies(models.WordPiece, trainers.WordPieceTrainer), vocabularies(models.BPE, trainers.BpeTrainer)
print(f"of 10 trainings, different vocabularies: WordPiece {words}, byte-pair encoding {pairs}")
assert words > 1, "mended"
assert pairs == 1
PY
