"""What studies have in common."""

from __future__ import annotations

import pytest

from experiments.studies.trials import parsed, study


def test_the_folder_to_write_to_is_made_before_any_run(tmp_path, monkeypatch):
    out = tmp_path / "new" / "docs"
    monkeypatch.setattr("sys.argv", ["one", "runs", f"--out={out}", "run.steps=3"])
    options, arguments = parsed(study("one", ("runs",), None, "one"))
    assert options.out.is_dir()
    assert arguments == ["run.steps=3"]


def test_a_file_in_its_place_is_refused(tmp_path, monkeypatch, capsys):
    (tmp_path / "docs").touch()
    monkeypatch.setattr("sys.argv", ["one", "runs", f"--out={tmp_path / 'docs'}"])
    with pytest.raises(SystemExit, match="2"):
        parsed(study("one", ("runs",), None, "one"))
    assert "docs can be no folder" in capsys.readouterr().err
