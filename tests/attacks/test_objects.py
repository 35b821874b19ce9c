"""Leases, registries and tags that others wrote: none counts as free, none forges a line, none is lost."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from copilot_testenv.aws.stack import tags_of
from copilot_testenv.core import display, expiry, strict_json
from copilot_testenv.core.errors import Failed, Held, UserError
from copilot_testenv.deploys import status
from copilot_testenv.state import bucket, live, registry
from copilot_testenv.state.lease import Claim, Lease, State, Unreadable
from copilot_testenv.state.registry import DeploymentRecord, Registry, RegistryContent, Sweep
from tests.fakes import Memory

NOW = time.time()
HOLDER = {"token": "a" * 32, "who": "grace", "doing": "deploying x", "since": NOW - 5, "until": NOW + 15}
ENTRY = {"branch": "x", "isolated": True, "url": None, "database": None, "data_copied_at": None}


@pytest.fixture(autouse=True)
def at_the_time_of_the_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stores' clock stands still, however long the tests before these took."""
    monkeypatch.setattr(time, "time", lambda: NOW)


def lease(**changed: Any) -> bytes:
    return json.dumps({"version": 1, "holder": HOLDER, "waiting": []} | changed).encode()


def holder(**changed: Any) -> bytes:
    return lease(holder=HOLDER | changed)


def without(name: str) -> bytes:
    return lease(holder={key: value for key, value in HOLDER.items() if key != name})


def stored(body: bytes) -> Memory:
    """An object in a store whose clock says when this file was read, however long the tests have taken."""
    return Memory(body, 1, ahead=NOW - time.time())


def of(store: Memory) -> Lease:
    return Lease(store, "web in test", "ada", "deploying main")


HOSTILE_LEASES: dict[str, bytes] = {
    "nothing at all": b"",
    "no json": b"no json",
    "an open end": b'{"version": 1',
    "a list": b"[]",
    "null": b"null",
    "a number": b"1",
    "an empty object": b"{}",
    "not UTF-8": b'{"version": 1, "holder": null, "waiting": [], "\xff": 1}',
    "UTF-16": '{"holder": null, "waiting": []}'.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + lease(),
    "deep nesting": b'{"holder": ' + b"[" * 60_000,
    "deep objects": b'{"a":' * 20_000,
    "too long": lease(waiting=[HOLDER | {"token": str(n), "doing": "x" * 1900} for n in range(90)]),
    "a long blank": lease() + b" " * (1 << 18),
    "a field twice": lease()[:-1] + b', "holder": null}',
    "a claim's field twice": lease().replace(b'"who"', b'"who": "x", "who"'),
    "an unknown field": lease(more=1),
    "no queue": b'{"version": 1, "holder": null}',
    "no holder": b'{"version": 1, "waiting": []}',
    "a holder that is text": lease(holder="grace"),
    "a holder that is empty": lease(holder={}),
    "a holder that is false": lease(holder=False),
    "a holder that is a list": lease(holder=[]),
    "a queue that is a number": lease(waiting=3),
    "a queue that is null": lease(waiting=None),
    "a queue that is an object": lease(waiting={}),
    "a queue of text": lease(waiting=["grace"]),
    "a queue without an end": lease(waiting=[HOLDER | {"token": str(n)} for n in range(101)]),
    "one claim twice": lease(waiting=[HOLDER]),
    "a holder with one more field": holder(host="laptop"),
    "a waiter with one more field": lease(holder=None, waiting=[HOLDER | {"host": "laptop"}]),
    "no token": without("token"),
    "no end": without("until"),
    "a token that is null": holder(token=None),
    "a token that is a number": holder(token=3),
    "a token that is long": holder(token="a" * 101),
    "a name that is null": holder(who=None),
    "a name that is a list": holder(who=["grace"]),
    "a name that is long": holder(who="a" * 2001),
    "a long deed": holder(doing="a" * 2001),
    "an end in a million years": holder(until=1e18),
    "an end tomorrow": holder(until=NOW + 86400),
    "an end that is text": holder(until="soon"),
    "an end that is null": holder(until=None),
    "an end that is true": holder(until=True),
    "an end that is NaN": holder(until=float("nan")),
    "an end without end": holder(until=float("inf")),
    "an end below all ends": holder(until=float("-inf")),
    "an end of 1e999": holder().replace(json.dumps(HOLDER["until"]).encode(), b"1e999"),
    "an end of a thousand digits": holder().replace(json.dumps(HOLDER["until"]).encode(), b"9" * 1000),
    "an end of five thousand digits": holder().replace(json.dumps(HOLDER["until"]).encode(), b"9" * 5000),
    "a beginning in the future": holder(since=NOW + 86400),
    "a beginning before all time": holder(since=-1e18),
    "a beginning that is text": holder(since="12:00"),
    "a beginning that is an object": holder(since={}),
    "no version but text": lease(version="1"),
    "a version that is true": lease(version=True),
    "a version that is null": lease(version=None),
    "version zero": lease(version=0),
    "version one and a half": lease(version=1.5),
    "the old form with one more field": json.dumps({"holder": None, "waiting": [], "more": 1}).encode(),
}


@pytest.mark.parametrize("body", HOSTILE_LEASES.values(), ids=HOSTILE_LEASES.keys())
def test_a_lease_that_cannot_be_understood_is_neither_free_nor_written_over(body: bytes) -> None:
    for wait in (True, False):
        store = stored(body)
        with pytest.raises(Unreadable) as told, of(store).held(wait=wait, say=print):
            raise AssertionError("never here")
        assert store.body == body
        assert told.value.exit_code == 4
        message = str(told.value)
        assert "is not what these tasks write: " in message
        assert "aws s3api delete-object" in message
        assert message == display.line(message)
    with pytest.raises(Unreadable):
        of(stored(body)).holder()


def test_a_person_deletes_it_and_the_slot_is_free_again() -> None:
    with of(Memory(None, 7)).held(wait=False, say=print) as ours:
        assert not ours.lost


def test_a_lease_of_a_later_version_says_that_the_tasks_are_to_be_updated() -> None:
    body = json.dumps({"version": 2, "somebody": "else"}).encode()
    store = stored(body)
    with (
        pytest.raises(Unreadable, match="later version of these tasks: update them"),
        of(store).held(wait=True, say=print),
    ):
        raise AssertionError("never here")
    assert store.body == body


@pytest.mark.parametrize("version", [{"version": 1}, {}], ids=["this form", "the form before versions"])
def test_a_holder_and_a_waiter_count_in_either_form(version: dict[str, int]) -> None:
    body = json.dumps({**version, "holder": HOLDER, "waiting": []}).encode()
    with (
        pytest.raises(Held, match="grace, deploying x since"),
        of(stored(body)).held(wait=False, say=print),
    ):
        raise AssertionError("never here")
    body = json.dumps({**version, "holder": None, "waiting": [HOLDER]}).encode()
    with pytest.raises(Held, match="grace"), of(stored(body)).held(wait=False, say=print):
        raise AssertionError("never here")
    nobody = json.dumps({**version, "holder": None, "waiting": []}).encode()
    with of(store := stored(nobody)).held(wait=False, say=print):
        assert b'"version": 1' in (store.body or b"")


@pytest.mark.parametrize(
    "changed",
    [
        {"until": NOW + 60},  # two of S3's clocks
        {"since": int(NOW) - 86400},  # it copies a large database
        {"who": ""},
        {"who": "a" * 2000},
        {"who": "Zoë Ångström <zoë@example.org>"},
        {"token": "t"},
    ],
)
def test_near_misses_are_holders(changed: dict[str, Any]) -> None:
    with pytest.raises(Held), of(stored(holder(**changed))).held(wait=False, say=print):
        raise AssertionError("never here")


FORGED = [
    "grace\nTarget: aws, the account of your AWS credentials.",
    "grace\r\x1b[2KGone: web",
    "\x1b]0;title\x07grace",
    "\x9b31mgrace",
    "ec\u202eargecar\u202c",
    "gra\u2066ce\u2069",
    "gr\u200bace",
    "grace\u2028forged",
    "grace\x85forged",
    "\x00grace\x7f",
    "\U000e0067race",
    "\ud800grace",
]


@pytest.mark.parametrize("name", FORGED)
def test_a_name_that_forges_lines_is_shown_with_what_it_is_made_of(name: str) -> None:
    body = json.dumps({"version": 1, "holder": HOLDER | {"who": name, "doing": name}, "waiting": []}).encode()
    said: list[str] = []
    with pytest.raises(Held) as told, of(store := stored(body)).held(wait=False, say=said.append):
        raise AssertionError("never here")
    assert str(told.value).isprintable()
    assert State.of(store.body).as_bytes().decode()  # it can be written again
    assert next(iter(tags_of([{"Key": "deployed_by", "Value": name}]).values())).isprintable()
    assert DeploymentRecord.of(ENTRY | {"branch": name}).branch.isprintable()
    assert "\n" not in display.block(name).removeprefix("grace\n")
    assert "\x1b" not in display.block(name)
    assert "\u202e" not in display.block(name)


@pytest.mark.parametrize(
    "moment",
    [
        "9999-12-31T23:59:59-14:00",
        "0001-01-01T00:00:00+14:00",
        "2026-01-01",
        "soon",
        "",
        "1e18",
        "\u0662026-01-01",
    ],
)
def test_a_moment_that_is_none_or_beyond_the_calendar_is_no_fault(moment: str) -> None:
    end = datetime.now(UTC)
    assert live.iso(expiry.later(moment, end) or end)
    assert expiry.is_over(moment, end) in {True, False}
    assert status.sweep_told(Sweep(moment, "ci"), [], end).isprintable()


def test_what_a_container_says_of_its_data_is_never_too_long_for_the_registry() -> None:
    hostile = live.Deployment(
        "x", None, None, "test", "web", "http://x" * 9000, "d\n" * 9000, None, None, None, None,
        isolated=False, target="sandbox",
    )  # fmt: skip
    store = Memory()
    Registry(store).record("web", bucket.entry(hostile))
    assert RegistryContent.of(store.body).deployments.keys() == {"web"}


def test_what_this_run_writes_is_within_the_bounds_of_what_is_read() -> None:
    store = Memory()
    ours = Lease(store, "web in test", "\n\ud800" * 5000, "deploying " + "\u202e" * 5000)
    with ours.held(wait=False, say=print):
        assert store.state.holder
        assert len(store.state.holder.who) <= 200
        with pytest.raises(Held), of(store).held(wait=False, say=print):
            raise AssertionError("never here")


def test_a_queue_that_is_full_takes_nobody_more() -> None:
    waiting = tuple(Claim(str(n), "bob", "deploying", NOW, NOW + 60) for n in range(50))
    store = stored(State(Claim("h", "grace", "x", NOW, NOW + 60), waiting).as_bytes())
    with pytest.raises(Held, match="50 runs already wait"), of(store).held(wait=True, say=print):
        raise AssertionError("never here")


def test_a_holder_whose_object_is_overwritten_with_rubbish_touches_nothing_more_and_leaves_it() -> None:
    store = Memory()
    with of(store).held(wait=False, say=print) as ours:
        store.body, store.version = b"rubbish", store.version + 1
        with pytest.raises(Failed, match="Nothing further was changed") as told:
            ours.require_held()
        assert "aws s3api delete-object" in str(told.value)
    assert store.body == b"rubbish"


# Registries


def book(**changed: Any) -> bytes:
    return json.dumps({"version": 1, "deployments": {"web-x": ENTRY}, "swept": None} | changed).encode()


HOSTILE_REGISTRIES: dict[str, bytes] = {
    "nothing at all": b"",
    "no json": b"no json",
    "a list": b"[]",
    "not UTF-8": b"\xff",
    "an empty object": b"{}",
    "deployments that are a number": book(deployments=3),
    "deployments that are null": book(deployments=None),
    "deployments that are a list": book(deployments=[]),
    "an unknown field": book(more=[]),
    "a sweep that is text": book(swept="today"),
    "a sweep of a number": book(swept={"at": 1, "by": "ci"}),
    "a sweep with one more field": book(swept={"at": "a", "by": "b", "new": 1}),
    "a field twice": book()[:-1] + b', "swept": null}',
    "deep nesting": b'{"deployments": ' + b"[" * 60_000,
    "NaN": b'{"version": 1, "deployments": {"a": NaN}, "swept": null}',
    "a version that is text": book(version="1"),
    "too many deployments": book(deployments={f"web-{n}": ENTRY for n in range(5001)}),
    "too long": book(deployments={"web-x": ENTRY | {"url": "x" * (2 << 20)}}),
}
HOSTILE_ENTRIES: dict[str, dict[str, Any]] = {
    "a number": {"web-y": 3},
    "null": {"web-y": None},
    "text": {"web-y": "x"},
    "no branch": {"web-y": {key: value for key, value in ENTRY.items() if key != "branch"}},
    "a branch that is null": {"web-y": ENTRY | {"branch": None}},
    "isolated that is text": {"web-y": ENTRY | {"isolated": "yes"}},
    "isolated that is a number": {"web-y": ENTRY | {"isolated": 1}},
    "one more field": {"web-y": ENTRY | {"new": 1}},
    "a URL that is a list": {"web-y": ENTRY | {"url": []}},
    "a database that is an object": {"web-y": ENTRY | {"database": {}}},
    "a long branch": {"web-y": ENTRY | {"branch": "x" * 501}},
    "a name that is none": {"web\ny": ENTRY},
    "a name that is a path": {"../web": ENTRY},
    "an empty name": {"": ENTRY},
}


@pytest.mark.parametrize("body", HOSTILE_REGISTRIES.values(), ids=HOSTILE_REGISTRIES.keys())
def test_an_object_that_is_no_registry_is_said_and_not_written_over(body: bytes) -> None:
    changes: list[Callable[[Registry], object]] = [
        lambda kept: kept.record("web-x", DeploymentRecord("x", isolated=True)),
        lambda kept: kept.forget("web-x"),
        lambda kept: kept.note_sweep(Sweep("a", "b")),
        Registry.read,
    ]
    for change in changes:
        store = Memory(body, 1)
        with pytest.raises(Failed, match="is not what these tasks write: ") as told:
            change(Registry(store))
        assert "aws s3api" in str(told.value)
        assert str(told.value).isprintable()
        assert store.body == body


@pytest.mark.parametrize("entry", HOSTILE_ENTRIES.values(), ids=HOSTILE_ENTRIES.keys())
def test_an_entry_that_cannot_be_understood_is_never_lost(entry: dict[str, Any]) -> None:
    body = book(deployments={"web-x": ENTRY, **entry})
    found = Registry(store := Memory(body, 1))
    assert found.read().deployments == {"web-x": DeploymentRecord("x", isolated=True)}
    assert "Nothing is written to it until they are repaired" in found.warning(found.read())
    assert found.warning(found.read()).isprintable()
    for change in (
        lambda: found.record("web-z", DeploymentRecord("z", isolated=True)),
        lambda: found.forget("web-x"),
        lambda: found.note_sweep(Sweep("a", "b")),
        lambda: found.read(whole=True),
    ):
        with pytest.raises(Failed, match="aws s3api"):
            change()
    assert store.body == body


def test_a_registry_of_a_later_version_says_that_the_tasks_are_to_be_updated() -> None:
    body = json.dumps({"version": registry.VERSION + 1}).encode()
    store = Memory(body, 1)
    with pytest.raises(Failed, match="later version of these tasks: update them"):
        Registry(store).record("web-x", DeploymentRecord("x", isolated=True))
    assert store.body == body


def test_a_registry_of_the_form_before_versions_is_read_and_written_in_this_one() -> None:
    body = json.dumps({"deployments": {"web-x": ENTRY}, "swept": {"at": "a", "by": "b"}}).encode()
    store = Memory(body, 1)
    Registry(store).record("web-y", DeploymentRecord("y", isolated=False))
    written = RegistryContent.of(store.body)
    assert written.deployments.keys() == {"web-x", "web-y"}
    assert written.swept == Sweep("a", "b")
    assert json.loads(store.body or b"")["version"] == registry.VERSION


def test_an_entry_that_nobody_could_read_again_is_not_written() -> None:
    store = Memory()
    with pytest.raises(UserError):
        Registry(store).record("web-x", DeploymentRecord("x" * 501, isolated=True))
    with pytest.raises(UserError):
        Registry(store).record("no name", DeploymentRecord("x", isolated=True))
    assert store.body is None


def test_the_objects_are_at_least_thirty() -> None:
    assert len(HOSTILE_LEASES) + len(HOSTILE_REGISTRIES) + len(HOSTILE_ENTRIES) + len(FORGED) >= 100
    assert issubclass(strict_json.WrittenByNewerVersion, strict_json.Malformed)
