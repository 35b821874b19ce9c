"""After any kill the next command succeeds or says what to do, and nothing is left that nobody owns.

A few kills here, one of each kind of process (test_turns.py kills `invoke`); `nox -s kills` does many.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests import kills

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kills.Arena]:
    made = kills.arena(tmp_path_factory.mktemp("kills"))
    yield made
    made.clone.stop()
    assert made.orphans() == []


@pytest.mark.parametrize(
    ("work", "victim"),
    [
        ("idle", "redis"),
        ("idle", "container"),
        ("idle", "postmaster"),
        ("copy", "backend"),
        ("deploy", "copilot"),
        ("teardown", "server"),
    ],
)
def test_after_a_kill_the_next_command_succeeds_or_says_what_to_do(
    arena: kills.Arena, work: str, victim: str
) -> None:
    outcome = arena.kill(work, victim, random.Random(f"{work} {victim}"))  # noqa: S311 - no secret
    assert not outcome.wrong, f"{kills.HEAD}\n{outcome}\n{outcome.words}"
