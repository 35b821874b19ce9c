"""The embedded AWS answers as AWS was recorded to: facts/*.yml has the calls, answers and sources.

Each file's facts use names of their own, so all of them are asked of one server. A fact may have `reason`:
why it does not matter that the sandbox differs. `$any` is any value; other names with a dollar are those that
a step kept.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from string import Template
from typing import Any

import jmespath  # type: ignore[import-untyped]
import pytest
import yaml
from botocore.config import Config
from botocore.exceptions import ClientError

from copilot_sandbox.control_plane import ControlPlaneServer
from tests.sandbox import cloud

_SAFE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where libyaml was there
FACTS: list[dict[str, Any]] = [
    {**fact, "file": file.stem}
    for file in sorted(Path(__file__).with_name("facts").glob("*.yml"))
    for fact in yaml.load(file.read_text(), _SAFE)["facts"]  # noqa: S506 - both are safe loaders
]


class Recorder:
    """Asks the embedded AWS without the checks that botocore makes before a call."""

    def __init__(self, aws: dict[str, str]) -> None:
        config = Config(parameter_validation=False, s3={"addressing_style": "virtual"})
        self._client = cache(lambda service: cloud.client(aws, service, retries=0, config=config))

    def call(self, name: str, arguments: dict[str, Any]) -> Any:
        """Call an operation: `service.operation`. Raises ClientError."""
        service, _, operation = name.partition(".")
        texts = {
            key: json.dumps(value) if key == "TemplateBody" and isinstance(value, dict) else value
            for key, value in arguments.items()
        }
        return getattr(self._client(service), operation)(**texts)

    def prepare(self, steps: list[list[Any]]) -> dict[str, Any]:
        """Make what a fact needs, as far as it is missing, and return what its steps keep."""
        kept: dict[str, Any] = {}
        for name, arguments, *keeps in steps:
            try:
                answer = self.call(name, _filled(arguments, kept))
            except ClientError as error:
                if "xist" not in str(error):
                    raise
                continue
            kept |= {key: jmespath.search(path, answer) for keep in keeps for key, path in keep.items()}
            if name.startswith("cloudformation."):
                self._settle(kept.get("id") or arguments.get("StackName"))
        return kept

    def _settle(self, stack: str | None) -> None:
        """Wait for the end of a stack's operation."""
        for _ in range(100 if stack else 0):
            try:
                status = self.call("cloudformation.describe_stacks", {"StackName": stack})["Stacks"][0][
                    "StackStatus"
                ]
            except ClientError:
                return
            if not status.endswith("_IN_PROGRESS") or status.startswith("REVIEW"):
                return
            time.sleep(0.02)


def _filled(node: Any, kept: dict[str, Any]) -> Any:
    if isinstance(node, dict):
        return {key: _filled(value, kept) for key, value in node.items()}
    if isinstance(node, list):
        return [_filled(item, kept) for item in node]
    return Template(node).safe_substitute(kept) if isinstance(node, str) else node


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorder]:
    plane = ControlPlaneServer(0, tmp_path_factory.mktemp("recorded"), cloud.Agent(), lambda _: 8000)
    plane.start()
    try:
        yield Recorder(plane.environment())
    finally:
        plane.stop()


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: f"{fact['file']}-{fact['call'][0]}")
def test_the_embedded_aws_answers_as_aws_was_recorded_to(aws: Recorder, fact: dict[str, Any]) -> None:
    if "reason" in fact:
        pytest.skip(fact["reason"])
    kept = aws.prepare(fact.get("given", []))
    name, arguments = fact["call"]
    if "answer" in fact:
        answer = aws.call(name, _filled(arguments, kept))
        for path, wanted in fact["answer"].items():
            found = jmespath.search(path, answer)
            assert found == _filled(wanted, kept) or (wanted == "$any" and found is not None), (path, found)
        return
    with pytest.raises(ClientError) as refused:
        aws.call(name, _filled(arguments, kept))
    status, code, *message = fact["error"]
    response = refused.value.response
    error = response["Error"]
    assert (response["ResponseMetadata"]["HTTPStatusCode"], error["Code"]) == (status, code), error
    for text in _filled(message, kept):
        said = error.get("Message", "")
        assert said == text or (fact.get("begins") and said.startswith(text)), said
    for key, value in fact.get("with", {}).items():
        assert error.get(key) == value


def test_at_least_150_facts_have_a_source_and_almost_all_hold() -> None:
    sourced = [fact for fact in FACTS if "_" in fact["source"] or fact["source"].startswith("https://")]
    assert len(sourced) == len(FACTS) >= 150
    assert sum("reason" in fact for fact in FACTS) <= 0.03 * len(FACTS)
