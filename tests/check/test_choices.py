from __future__ import annotations

from pathlib import Path

import pytest

from copilot_testenv.check import choices
from copilot_testenv.check.finding import Finding
from copilot_testenv.core.errors import SettingsError

MAIL = Finding("copilot/web/manifest.yml", 3, "mail", "warning", "mail may leave", "write it")
LIMIT = Finding("copilot/web/manifest.yml", 9, "limit", "error", "no such port", "write another")


@pytest.mark.parametrize(("severity", "left"), [("off", []), ("error", ["error"]), ("warning", ["warning"])])
def test_a_team_chooses_a_rules_severity(tmp_path: Path, severity: str, left: list[str]) -> None:
    (tmp_path / "copilot-testenv.toml").write_text(f'severities = {{ limit = "{severity}" }}\n')
    found, note = choices.apply(tmp_path, [LIMIT])
    assert [one.severity for one in found] == left
    assert not note


@pytest.mark.parametrize("text", ['severities = "off"', 'severities = { mail = "never" }'])
def test_a_severity_that_does_not_exist_is_a_settings_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "copilot-testenv.toml").write_text(text)
    with pytest.raises(SettingsError, match=r"copilot-testenv\.toml: .*severit"):
        choices.apply(tmp_path, [MAIL])


def test_a_finding_of_the_baseline_is_held_back_at_any_line_and_a_new_one_is_not(tmp_path: Path) -> None:
    assert choices.write_baseline(tmp_path, [MAIL]) == 1
    moved = Finding(MAIL.path, 30, MAIL.rule, MAIL.severity, MAIL.what, MAIL.instead)
    assert choices.apply(tmp_path, [moved, LIMIT])[0] == [LIMIT]
    assert choices.apply(tmp_path, [moved, moved])[0] == [moved]
    assert "1 of it is mended" in choices.apply(tmp_path, [LIMIT])[1]


@pytest.mark.parametrize("text", ["{", "[1]", '[{"path": 1}]'])
def test_a_spoilt_baseline_is_a_settings_error_with_its_cure(tmp_path: Path, text: str) -> None:
    (tmp_path / choices.BASELINE).write_text(text)
    with pytest.raises(SettingsError, match=r"`invoke check --baseline` writes it anew"):
        choices.apply(tmp_path, [MAIL])
