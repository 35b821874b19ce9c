"""The same tasks with an engine and with processes: the same exit codes, JSON documents and log lines."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests import engine_images, light
from tests.clone import Clone
from tests.engine_images import NO_ENGINE

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.nightly,
    pytest.mark.timeout(900),  # two sandboxes, one after the other
    NO_ENGINE,
]

# What two runs of the same never have in common.
_VOLATILE = (
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( ?[+-]\d\d:?\d\d|Z)?"), "TIME"),
    (re.compile(r"\blocalhost:\d+"), "localhost:PORT"),
    (re.compile(r"\b[\d.]+ USD in \d+ h"), "COST"),
    (re.compile(r"s3://[^\s\"']+"), "OBJECT"),
    (re.compile(r"\b[0-9a-f]{7,64}\b"), "HEX"),  # commits and tasks
    (re.compile(r"-[A-Z0-9]{12,13}\b"), "-SUFFIX"),  # of CloudFormation's names
    (re.compile(r"\b\d+(\.\d+)? ?(s|ms|seconds)\b"), "DURATION"),
    (re.compile(r"\[\d+\]|pid \d+|pid: \d+"), "PID"),
)
_FIGURES = {"age", "bytes", "duration", "seconds", "size"}  # parts of keys


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What each task answered, by the way in which containers run."""
    engine_images.make()
    return {kind: _do_all(tmp_path_factory.mktemp(kind), kind) for kind in ("processes", "engine")}


def _do_all(folder: Path, kind: str) -> dict[str, Any]:
    clone = Clone(folder, is_light=True)
    clone.containers, clone.environments, clone.stage_megabytes = kind, "", 1
    if kind == "engine":
        (folder / "Dockerfile").write_text(engine_images.DOCKERFILE)
        clone.commit("An image without apt")
    broken = light.MANAGE.replace(
        'elif sys.argv[1] == "migrate":', 'elif sys.argv[1] == "migrate":\n    sys.exit(7)\nelif False:'
    )
    assert broken != light.MANAGE
    clone.branch("broken", {"manage.py": broken})
    clone.branch("gone", {"demo/wsgi.py": "raise SystemExit(9)\n"})
    try:
        answers = {}
        for name, words in (
            ("first", ("deploy-test", "--branch", "main", "--json")),
            ("again", ("deploy-test", "--branch", "main", "--json")),
            ("status", ("status", "--json")),
            ("logs", ("logs", "--container", "startup")),
            ("copy", ("copy-db", "--yes", "--json")),
            ("broken", ("deploy-test", "--branch", "broken", "--json")),
            ("gone", ("deploy-test", "--branch", "gone", "--json")),
            ("isolated", ("deploy-test", "--branch", "main", "--isolated", "--json")),
            ("teardown", ("teardown", "--all", "--yes", "--json")),
        ):
            ran = clone.invoke(*words)
            answers[name] = (ran.code, _steady(ran.out, folder))
        return answers
    finally:
        clone.stop()


def _steady(text: str, folder: Path) -> Any:
    """Return a document or lines without what two runs never have in common."""
    for pattern, word in _VOLATILE:
        text = pattern.sub(word, text)
    text = text.replace(str(folder), "FOLDER")
    try:
        return _without_figures(json.loads(text))
    except ValueError:
        return sorted(set(text.splitlines()))


def _without_figures(found: Any) -> Any:
    if isinstance(found, dict):
        return {
            key: "FIGURE" if _FIGURES.intersection(key.split("_")) else _without_figures(value)
            for key, value in found.items()
        }
    if isinstance(found, list):  # in an order of its own: what goes is sorted by names that differ
        return sorted(map(_without_figures, found), key=json.dumps)
    return found


@pytest.mark.parametrize(
    "task", ["first", "again", "status", "logs", "copy", "broken", "gone", "isolated", "teardown"]
)
def test_a_task_answers_the_same_in_both_modes(done: dict[str, dict[str, Any]], task: str) -> None:
    code, answer = done["engine"][task]
    assert (code, answer) == done["processes"][task]
    assert code == (4 if task in {"broken", "gone"} else 0)
