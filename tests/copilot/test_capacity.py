"""A manifest without Spot."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from copilot_testenv.copilot import capacity
from copilot_testenv.core.settings import Settings, load


@pytest.mark.parametrize(
    ("base", "own", "expected"),
    [
        (2, {"spot": 1}, 1),
        ({"spot": 3}, None, 3),
        ({"range": {"min": 1, "max": 9, "spot_from": 2}}, None, {"range": {"min": 1, "max": 9}}),
        (2, None, None),
        ({"spot": 3}, 1, None),
        ({"range": "1-9"}, None, None),
    ],
)
def test_spot_is_taken_out_and_the_number_of_tasks_stays(
    settings: Settings, base: Any, own: Any, expected: Any
) -> None:
    block = {"cpu": 256, **({} if own is None else {"count": own})}
    written = {"name": "web", "count": base, "environments": {"test": block, "production": {"count": 2}}}
    settings.manifest.write_text(yaml.safe_dump(written))
    assert capacity.without_spot(settings.root, settings) is (expected is not None)
    found = yaml.safe_load(settings.manifest.read_text())
    if expected is not None:
        written["environments"] = {"test": {**block, "count": expected}, "production": {"count": 2}}
    assert found == written


def test_the_setting_is_committed_or_of_a_person(settings: Settings) -> None:
    assert settings.capacity == "manifest"
    (settings.root / "copilot-testenv.toml").write_text('capacity = "spot-first"\n')
    assert load(settings.root, {}).capacity == "spot-first"
    assert load(settings.root, {"TEST_CAPACITY": "manifest"}).capacity == "manifest"
