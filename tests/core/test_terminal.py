from __future__ import annotations

import pytest

from copilot_testenv.core.terminal import Patience


def test_who_waits_is_told_now_and_then_and_not_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    told: list[str] = []
    patience = Patience(told.append, "the stack is being changed")
    for clock[0] in (101.0, 129.0, 130.0, 131.0, 159.0, 161.0):
        patience.tell()
    assert told == [
        "  still waiting: the stack is being changed (30 s)",
        "  still waiting: the stack is being changed (61 s)",
    ]
