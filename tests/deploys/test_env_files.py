"""The variables of `env_file` in a one-off task, found in Git by the digest in the object's name."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from copilot_testenv.copilot.commands import OneOff
from copilot_testenv.core.errors import SettingsError
from copilot_testenv.core.process import RealShell
from copilot_testenv.core.settings import load
from copilot_testenv.deploys import env_files
from copilot_testenv.session import Session
from tests.adopt.project import commit, git
from tests.fakes import FakeReport

TASK = OneOff("repo@sha256:1", ("sh", "-c", "x"), "256", "512", "", {}, {})


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """A repository with two versions of a file, the first of them deployed and no longer checked out."""
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    (tmp_path / "copilot").mkdir()
    (tmp_path / "copilot/.workspace").write_text("application: demo\n")
    (tmp_path / "copilot/environments/test").mkdir(parents=True)
    (tmp_path / "copilot/environments/test/manifest.yml").write_text("name: test\ntype: Environment\n")
    (tmp_path / "app").mkdir()
    for content in (b"HOSTS=a\r\nMODE=b", b"HOSTS=later\n"):
        (tmp_path / "app/.aws.env").write_bytes(content)
        commit(tmp_path)
    return Session(load(tmp_path, {}), RealShell(), FakeReport(), {})


def task_with(content: bytes) -> OneOff:
    arn = f"arn:aws:s3:::bucket/manual/env-files/.aws.env/{sha256(content).hexdigest()}.env"
    return replace(TASK, environment_files=(arn,))


@pytest.mark.parametrize("content", [b"HOSTS=a\r\nMODE=b", b"HOSTS=later\n"])
def test_the_version_that_was_deployed_is_given_while_the_task_runs(session: Session, content: bytes) -> None:
    with env_files.given(session, task_with(content)) as task:
        file = Path(task.env_file)
        assert file.read_bytes().strip() == content.strip()
        assert (file.suffix, file.stat().st_mode & 0o077) == (".env", 0)
    assert not file.exists()


def test_a_version_that_no_commit_has_is_named(session: Session) -> None:
    with (
        pytest.raises(SettingsError, match=r"\.aws\.env.*git fetch"),
        env_files.given(session, task_with(b"X=1")),
    ):
        pass


def test_a_task_without_such_a_file_stays_as_it_is(session: Session) -> None:
    with env_files.given(session, TASK) as task:
        assert task is TASK
