"""Mistakes of many kinds, made in a workspace that has none: each is found, at its line."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pytest

from copilot_testenv.check import project as projects
from copilot_testenv.check import renderer, silence, workflow
from copilot_testenv.check.finding import Finding
from copilot_testenv.core.process import Command, RealShell
from copilot_testenv.core.settings import load
from copilot_testenv.session import Session
from tests.check.related_seeds import RELATED
from tests.check.seeds import FOLDER, Seed, seeds
from tests.fakes import FakeReport

LEAST = 0.95  # of the mistakes, and of the lines
# Nothing but the sample is judged at each push; addons, patches and what Copilot refuses are judged as they
# are rendered.
BY_COPILOT = {kind for kind, *_ in RELATED}
WRITTEN = (seed for seed in seeds() if seed.path.endswith("manifest.yml") and seed.kind not in BY_COPILOT)
SAMPLE = [next(found) for _, found in groupby(WRITTEN, lambda seed: seed.kind)][::6]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
    for words in (("init", "-q"), ("add", "-A")):
        RealShell().run(Command(("git", *words), cwd=tmp_path, env={"GIT_CONFIG_GLOBAL": os.devnull}))
    return tmp_path


def judged(root: Path, owner: str | None = "", *, render: bool) -> list[Finding]:
    """The findings, but for those on runtimes; `owner` is the folder whose stacks are rendered, if any is."""
    session = Session(load(root, {}, checking=True), RealShell(), FakeReport(), {})
    project = projects.read(session.settings, shell=session.shell)
    found = set(workflow.judge(project, workflow.WRITTEN))
    if render:
        chosen = {name: each for name, each in project.services.items() if owner in {name, ""}}
        project = replace(project, services=chosen)
        with renderer.opened(session, project) as copilot:
            projects.render(project, copilot)
        found |= set(workflow.judge(project, workflow.RENDERED))
    return [one for one in silence.finish(root, found) if one.rule != "runtime"]


def made(root: Path, seed: Seed, *, render: bool) -> list[Finding]:
    """The findings with this mistake."""
    before = (root / seed.path).read_text()
    (root / seed.path).write_text(seed.text)
    try:
        return judged(root, seed.owner, render=render)
    finally:
        (root / seed.path).write_text(before)


def right(seed: Seed, found: list[Finding]) -> Iterator[Finding]:
    return (one for one in found if one.path == seed.path and one.line in seed.lines)


def test_the_workspace_without_mistakes_has_no_finding(workspace: Path) -> None:
    assert judged(workspace, render=False) == []


@pytest.mark.nightly
def test_copilot_and_cfn_lint_find_nothing_in_the_workspace_without_mistakes(workspace: Path) -> None:
    assert judged(workspace, render=True) == []


def test_a_sample_of_mistakes_is_found_without_copilot(workspace: Path) -> None:
    missed = [seed.kind for seed in SAMPLE if not list(right(seed, made(workspace, seed, render=False)))]
    assert len(missed) <= len(SAMPLE) // 5, missed


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_mistakes_of_all_kinds_are_found_at_their_lines(workspace: Path) -> None:
    missed, elsewhere, count = [], [], 0
    for seed in seeds():
        count += 1
        if list(right(seed, made(workspace, seed, render=False))):
            continue
        found = made(workspace, seed, render=True)
        if not found:
            missed.append(f"{seed.kind}: {seed.path}:{seed.line}")
        elif not list(right(seed, found)):
            elsewhere.append(f"{seed.kind}: {seed.path}:{seed.line} is {found[0]}")
    assert len(missed) <= count * (1 - LEAST), missed
    assert len(elsewhere) <= count * (1 - LEAST), elsewhere
