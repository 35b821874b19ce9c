"""The schema for editors takes the manifests that `check` takes, and refuses the keys that it reports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from copilot_testenv.check import document, json_schema, keys
from copilot_testenv.check import project as projects
from copilot_testenv.core.errors import SettingsError
from copilot_testenv.core.settings import load
from tests.check.seeds import FOLDER, Seed, seeds
from tests.clone import ROOT

VALIDATOR = Draft7Validator(json_schema.of_manifests())
SEEDS = [seed for seed in seeds() if seed.path.endswith("manifest.yml")]


def manifests() -> Iterator[Path]:
    for folder in (ROOT, FOLDER, *(ROOT / "tests/shapes").glob("*")):
        yield from (file for file in folder.glob("copilot/**/manifest.yml") if file.is_file())


def unknown(found: Any) -> bool:
    """Return True if an error, or one below it, is about a key that is not known."""
    return any(error.validator == "additionalProperties" or unknown(error.context) for error in found)


def test_the_schema_is_one_and_takes_the_manifests_of_this_repository() -> None:
    Draft7Validator.check_schema(VALIDATOR.schema)
    found = list(manifests())
    assert len(found) > 10
    for file in found:
        read = document.read(file, file.parent)
        assert [error.message for error in VALIDATOR.iter_errors(read.data)] == [], file


def differing(chosen: list[Seed]) -> list[str]:
    """The seeds of which the schema and `check` do not say the same about keys."""
    project = projects.read(load(FOLDER, {}, checking=True))
    differ = []
    for seed in chosen:
        try:
            spoilt = document.of_text(seed.text, seed.path)
        except SettingsError:
            continue
        if spoilt.get("type") not in {*json_schema.schema.kinds(), "Environment"} | (
            {None} if "/pipelines/" in seed.path else set()
        ):
            continue
        kind = "pipelines" if "/pipelines/" in seed.path else "services"
        kind = "environments" if "/environments/" in seed.path else kind
        told = keys.unknown(type(project)(**{**vars(project), **NOTHING, kind: {"x": spoilt}}))
        found = list(VALIDATOR.iter_errors(spoilt.data))
        if (not found) if list(told) else unknown(found):
            differ.append(f"{seed.kind}: {seed.path}:{seed.line}")
    return differ


NOTHING: dict[str, Any] = {"services": {}, "environments": {}, "pipelines": {}}


def test_a_sample_of_misspelt_keys_is_refused_as_check_does() -> None:
    assert differing(SEEDS[::25]) == []


@pytest.mark.nightly
def test_all_misspelt_keys_are_refused_as_check_does() -> None:
    assert differing(SEEDS) == []


def test_an_editor_is_offered_the_types_and_the_words_of_a_list() -> None:
    text = str(VALIDATOR.schema)
    assert "Request-Driven Web Service" in text
    assert "['default', 'recreate']" in text
