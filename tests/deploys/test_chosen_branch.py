"""Which branch `deploy-test` takes, and what it says of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from copilot_testenv.core.errors import UsageError
from copilot_testenv.core.process import Result
from copilot_testenv.core.settings import Settings
from copilot_testenv.deploys.chosen_branch import chosen
from copilot_testenv.session import Session
from tests.fakes import FakeReport, FakeShell


def in_checkout(settings: Settings, branch: str, changes: str = "") -> Session:
    head = Result(0, f"{branch}\n") if branch else Result(1)
    shell = FakeShell({"symbolic-ref": head, "status --porcelain": Result(0, changes)})
    return Session(replace(settings), shell, FakeReport(), {})


def test_without_a_branch_it_is_the_checked_out_one_and_that_is_said(settings: Settings) -> None:
    name, said = chosen(in_checkout(settings, "feature/x"), None)
    assert name == "feature/x"
    assert said == ["No --branch was given: feature/x, which is checked out, is deployed."]


@pytest.mark.parametrize("given", [None, ""])
def test_without_any_branch_it_is_a_usage_error(settings: Settings, given: str | None) -> None:
    with pytest.raises(UsageError, match="Which branch"):
        chosen(in_checkout(settings, "" if given is None else "feature/x"), given)


def test_uncommitted_changes_of_the_branch_are_said(settings: Settings) -> None:
    session = in_checkout(settings, "feature/x", " M a\0?? b\0")
    assert chosen(session, "feature/x")[1] == [
        "Uncommitted changes in 2 files are not deployed: only commits are."
    ]
    assert chosen(session, "main") == ("main", [])
