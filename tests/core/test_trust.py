from __future__ import annotations

import pytest

from copilot_testenv.core import trust
from copilot_testenv.core.errors import UsageError
from copilot_testenv.core.settings import Settings, load


def test_no_change_is_trusted_unless_somebody_says_so(settings: Settings) -> None:
    assert settings.trusted == frozenset()


@pytest.mark.parametrize("text", ["all", "rules,everything", "Rules", "*", "rules;access"])
def test_a_change_that_is_unknown_is_no_trust(text: str) -> None:
    with pytest.raises(UsageError, match=r"--trust=.* has unknown names"):
        trust.parse(text, "--trust")


def test_the_setting_names_trusted_changes(settings: Settings) -> None:
    found = load(settings.root, {"TRUSTED_CHANGES": " rules, access,"}).trusted
    assert found == {"rules", "access"}


@pytest.mark.parametrize("change", trust.CHANGES)
def test_a_refusal_names_what_allows_the_change(change: str) -> None:
    refusal = trust.refused(change, "copilot/web/manifest.yml:3: it is so.")
    assert refusal.exit_code == 3
    assert f"--trust {change} " in str(refusal)
    assert "it is so. Nothing was changed." in str(refusal)
