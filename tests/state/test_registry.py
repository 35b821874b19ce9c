from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from copilot_testenv.core.errors import Failed
from copilot_testenv.state.registry import DeploymentRecord, FailedDeploy, Registry, RegistryContent, Sweep
from tests.fakes import Memory

ENTRY = DeploymentRecord("feature/x", isolated=True, url="http://x.localhost:1", database="test_x")


def test_what_is_recorded_is_read_until_it_is_forgotten() -> None:
    registry = Registry(Memory())
    assert registry.read() == RegistryContent()
    registry.record("web-x", ENTRY)
    registry.note_sweep(Sweep("2026-11-24T18:00:00Z", "ci"))
    assert registry.read() == RegistryContent({"web-x": ENTRY}, {}, Sweep("2026-11-24T18:00:00Z", "ci"))
    registry.forget("web-x")
    registry.forget("web-x")
    assert registry.read().deployments == {}


def test_a_failed_deploy_is_known_until_one_succeeds_the_slot_is_removed_or_a_week_has_passed() -> None:
    registry = Registry(Memory())
    now = datetime(2026, 11, 24, 18, tzinfo=UTC)
    failed = FailedDeploy("feature/y", "c" * 40, "ada", "2026-11-24T18:00:00Z", "no such table")
    registry.record("web", ENTRY)
    registry.record_failed("web", failed, now)
    registry.record("web", replace(ENTRY, data_copied_at="2026-11-24T19:00:00Z"))  # as copy-db does
    assert registry.read().failed == {"web": failed}
    registry.record_served("web", ENTRY)
    assert registry.read() == RegistryContent({"web": ENTRY})
    registry.record_failed("web-x", failed, now)
    registry.forget("web-x")
    assert registry.read().failed == {}
    registry.record_failed("web-x", failed, now)
    registry.record_failed("web-y", replace(failed, at="yesterday"), now)
    registry.record_failed("web", failed, now + timedelta(days=8))
    assert registry.read().failed == {"web": failed}


def test_a_registry_that_knew_no_failed_deploys_is_read_and_a_malformed_one_of_them_named() -> None:
    first = b'{"version": 1, "deployments": {}, "swept": null}'
    assert Registry(Memory(first, 1)).read() == RegistryContent()
    second = b'{"version": 2, "deployments": {}, "failed": {"web": {"branch": 3}}, "swept": null}'
    found = Registry(Memory(second, 1)).read()
    assert (found.failed, found.malformed) == ({}, ("'web'",))


def test_a_registry_that_knew_no_other_services_is_read_and_names_that_cannot_be_services_are_not() -> None:
    text = '{"branch": "main", "isolated": false, "url": null, "database": null, "data_copied_at": null%s}'
    body = '{"version": 3, "deployments": {"web": %s}, "failed": {}, "swept": null}'
    record = DeploymentRecord("main", isolated=False)
    for version in (2, 3):
        old = (body % (text % "")).replace("3", str(version), 1)
        assert Registry(Memory(old.encode(), 1)).read().deployments == {"web": record}
    store = Memory()
    Registry(store).record("web", replace(record, services=("worker", "beat")))
    assert Registry(store).read().deployments["web"].services == ("worker", "beat")
    for services in ('["../x"]', '"worker"', "[3]", str(["w"] * 51).replace("'", '"')):
        found = Registry(Memory((body % (text % f', "services": {services}')).encode(), 1)).read()
        assert (found.deployments, found.malformed) == ({}, ("'web'",))


def test_of_many_that_write_at_once_none_is_lost() -> None:
    store = Memory()
    threads = [
        threading.Thread(target=Registry(store).record, args=(f"web-{number}", ENTRY)) for number in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Registry(store).read().deployments) == 20


def test_nothing_is_written_where_nothing_changes() -> None:
    store = Memory()
    Registry(store).record("web-x", ENTRY)
    version = store.version
    Registry(store).record("web-x", ENTRY)
    Registry(store).forget("web-y")
    assert store.version == version


def test_a_store_that_never_takes_a_write_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("copilot_testenv.state.bucket_object.pause", lambda _: None)
    store = Memory()
    monkeypatch.setattr(store, "write", lambda *_: False)
    with pytest.raises(Failed, match="too many runs write"):
        Registry(store).record("web-x", ENTRY)


@pytest.mark.parametrize("body", [b"[]", b"no json", b'{"deployments": 3}', b"\xff"])
def test_an_object_that_is_no_registry_is_said_and_not_written_over(body: bytes) -> None:
    store = Memory(body, 1)
    with pytest.raises(Failed, match="not what these tasks write"):
        Registry(store).record("web-x", ENTRY)
    assert store.body == body
