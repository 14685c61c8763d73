# Sourced by the findings: a new virtual environment in a temporary folder, with pinned packages, and without discretegrad.
set -euo pipefail
FOLDER=$(mktemp -d)
trap 'rm -rf "$FOLDER"' EXIT
cd "$FOLDER"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet "$@"
