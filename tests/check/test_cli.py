from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from copilot_testenv import cli
from tests.clone import ROOT


def test_the_command_needs_no_tasks_and_says_what_is_wrong_with_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "copilot/web").mkdir(parents=True)
    (tmp_path / "copilot/web/manifest.yml").write_text("name: web\ntype: Backend Servic\n")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["check", "--json"]) == 2
    said = capsys.readouterr()
    assert '"line": 2' in said.out
    assert "1 error" in said.err


def test_a_flag_that_does_not_exist_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["check", "--frmat", "sarif"])
    assert "usage: copilot-testenv" in capsys.readouterr().err


def test_the_hook_of_pre_commit_calls_the_command() -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert hook["entry"] == "copilot-testenv check"
    assert 'copilot-testenv = "copilot_testenv.cli:main"' in (ROOT / "pyproject.toml").read_text()
