"""Large objects come whole or not at all, and where rules are required somebody has to say which."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from django_testenv.stage_copy.options import Options
from django_testenv.stage_copy.problems import Misconfigured
from tests.runtime.stage_copy.copies import Attempt, run_command
from tests.runtime.stage_copy.transfers import make_target, only_error, require_untouched

if TYPE_CHECKING:
    from tests.runtime.stage_copy.copies import Copies

NAME = "with_large_objects"
THERE = "SELECT count(*) FROM pg_largeobject_metadata"


@pytest.fixture(scope="module")
def large(copies: Copies) -> Iterator[Copies]:
    copies.make_source(
        NAME,
        "SELECT lo_from_bytea(7001, 'scan of a passport')",
        "CREATE TABLE scan (id int, data oid)",
        "INSERT INTO scan VALUES (1, 7001)",
        "GRANT SELECT ON LARGE OBJECT 7001 TO reader",
    )
    yield copies
    copies.source_server.run(f"DROP DATABASE {NAME}")


@pytest.mark.parametrize(
    ("setting", "count", "said"),
    [
        ({"large_objects": "drop"}, 0, "1 large object: left behind"),
        ({"large_objects": "keep"}, 1, None),
        ({}, 1, "copied as they are, unmasked, because nothing says otherwise"),
    ],
)
def test_large_objects_are_kept_or_dropped_as_the_setting_says(
    large: Copies, setting: dict[str, object], count: int, said: str | None
) -> None:
    target = make_target(large)
    attempt = Attempt(large, NAME, target, setting)
    attempt.run()
    assert large.rows(large.target_server, target, THERE) == [(count,)]
    assert large.rows(large.target_server, target, "SELECT data::int FROM scan") == [(7001,)]
    assert [line for line in attempt.told.lines if "large object" in line] == [
        line for line in attempt.told.lines if said and said in line
    ]
    assert bool(said) == any("large object" in line for line in attempt.told.lines)


def test_where_rules_are_required_silence_about_large_objects_is_refused(
    large: Copies, capsys: pytest.CaptureFixture[str]
) -> None:
    target = make_target(large)
    assert run_command(large, NAME, target, {}, "--require-mask") == 3
    assert "staging has large objects, and no rule can mask them" in only_error(capsys)
    require_untouched(large, target)
    assert run_command(large, NAME, target, {"large_objects": "drop"}, "--require-mask") == 0


def test_another_word_for_large_objects_is_refused() -> None:
    with pytest.raises(Misconfigured, match='may be "keep"'):
        Options.read({"large_objects": "mask"}, key="made-up")
