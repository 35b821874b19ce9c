"""The comparison of both sides finds every difference, and only differences."""

from __future__ import annotations

from typing import Any

import pytest

from django_testenv.stage_copy import verify
from django_testenv.stage_copy.problems import Failed
from tests.runtime.stage_copy.copies import Copies

compare = verify.compare


@pytest.mark.parametrize("name", ["r", pytest.param("copied row", marks=pytest.mark.nightly)])
def test_a_value_that_differs_is_found_whatever_the_columns_are_called(
    copies: Copies, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    source = f"verified_{len(name)}"
    copies.make_source(
        source, f'CREATE TABLE person (id int, "{name}" text)', "INSERT INTO person VALUES (1, 'x')"
    )

    def compare_changed(*arguments: Any) -> None:
        copies.target_server.run("UPDATE person SET id = 2", database="verified")
        compare(*arguments)

    monkeypatch.setattr(verify, "compare", compare_changed)
    with pytest.raises(Failed, match=r"^the content of public\.person differs between source and copy$"):
        copies.fill(source, "verified", {"verify": True})
