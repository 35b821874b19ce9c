"""One list of the leases shows which slots are held."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from copilot_testenv.core.settings import Settings
from copilot_testenv.session import Session
from copilot_testenv.state import bucket
from copilot_testenv.state.lease import Claim, Lease, Unreadable
from tests.fakes import FakeReport, FakeShell


class Leases:
    """An AWS with leases that were written some seconds ago."""

    def __init__(self, **ages: float) -> None:
        self.ages = {f"test-environments/leases/test/web-{name}.json": age for name, age in ages.items()}

    def application_bucket(self, app: str) -> str:
        return f"bucket-of-{app}"

    def object_ages(self, bucket: str, prefix: str) -> dict[str, float]:
        assert (bucket, prefix) == ("bucket-of-demo", "test-environments/leases/test/")
        return self.ages


def test_only_leases_that_were_written_lately_are_read(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, looked = Session(settings, FakeShell(), FakeReport(), {}), []

    def lease(own: Session, _: Any, doing: str) -> Any:
        service = own.settings.service

        class Looked(Lease):
            def holder(self) -> Claim | None:
                looked.append(service)
                if service == "web-bad":
                    raise Unreadable("the lease of web-bad is not what these tasks write")
                return Claim("t", "grace", doing, 0, 0) if service == "web-held" else None

        return Looked(object(), service, "ada", doing)  # type: ignore[arg-type]

    monkeypatch.setattr(bucket, "lease", lease)
    target: Any = type("Target", (), {"aws": Leases(held=3, bad=4, free=20, old=40)})
    slots = [settings.isolated_for(name) for name in ("held", "bad", "free", "old", "none")]
    assert bucket.held_slots(session, target, slots) == {"web-held", "web-bad"}
    assert looked == ["web-held", "web-bad", "web-free"]
    assert isinstance(session.report, FakeReport)
    assert session.report.said == ["web-bad stays: the lease of web-bad is not what these tasks write"]
    assert bucket.held_slots(replace(session), target, []) == set()
