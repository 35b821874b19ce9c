"""The tags of a deploy: what an unchanged redeploy keeps."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from copilot_testenv.aws.stack import Stack
from copilot_testenv.core.git import Branch
from copilot_testenv.core.settings import Settings
from copilot_testenv.deploys.stack_tags import StackTags
from copilot_testenv.state.live import iso

FRIDAY = datetime(2026, 11, 27, 18, tzinfo=UTC)
COMMIT, NEXT = "a" * 40, "b" * 40


def tags(settings: Settings, commit: str = COMMIT, expires: datetime = FRIDAY) -> StackTags:
    return StackTags(settings, Branch("main", commit), expires, "", is_forced=False)


@pytest.mark.parametrize("extended_to", ["2026-12-24T18:00:00Z", "never"])
def test_an_extension_moves_the_expiry_and_not_the_plan_until_another_commit_is_deployed(
    settings: Settings, extended_to: str
) -> None:
    first = tags(settings).of(None, "ada")
    assert first["planned_until"] == first["expires_at"] == iso(FRIDAY)
    live = Stack("demo-test-web", "UPDATE_COMPLETE", {**first, "expires_at": extended_to}, FRIDAY)
    later = FRIDAY + timedelta(days=7)
    same = tags(settings, expires=later).of(live, "grace")
    kept = "deployed_by", "deployed_at", "planned_until"
    assert [same[name] for name in kept] == [first[name] for name in kept]
    assert same["expires_at"] == extended_to
    new = tags(settings, NEXT, later).of(live, "grace")
    assert new["planned_until"] == new["expires_at"] == extended_to
    forced = replace(tags(settings, expires=later), is_forced=True).of(live, "grace")
    assert forced["planned_until"] == extended_to
