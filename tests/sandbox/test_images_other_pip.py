"""Installs that need another pip than the sandbox's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from copilot_sandbox.images import other_pip
from copilot_sandbox.images.pip_commands import inputs
from copilot_sandbox.images.tree import Tree, file_of


class Refused(Exception):
    """pip's last lines."""


class Pip:
    """Refuses with each reason once, then installs."""

    def __init__(self, *reasons: str) -> None:
        self.reasons = list(reasons)
        self.done: list[tuple[Sequence[str], Sequence[str]]] = []

    def __call__(self, pip: Sequence[str], arguments: Sequence[str], /) -> None:
        self.done.append((pip, arguments))
        if arguments == ("celery==5.1.1",) and self.reasons:
            raise Refused(self.reasons.pop(0))


def test_packages_with_old_metadata_are_installed_by_an_old_pip_that_is_pinned(tmp_path: Path) -> None:
    pip = Pip("celery 5.1.1 has invalid metadata. Please use pip<24.1 if you need to use this version.")
    other_pip.install(pip, ("celery==5.1.1",), tmp_path, Refused)
    own, fetched, old = pip.done
    assert (own[0], fetched[0], old) == (
        other_pip.OWN,
        other_pip.OWN,
        ((str(tmp_path / "old-pip/pip"),), ("celery==5.1.1",)),
    )
    assert "--require-hashes" in fetched[1]


def test_a_build_that_calls_pip_finds_it_in_the_environment(tmp_path: Path) -> None:
    pip = Pip(
        "DistutilsError: Command '['/venv/bin/python', '-m', 'pip', 'wheel', 'pytest-runner']' returned 1"
    )
    other_pip.install(pip, ("celery==5.1.1",), tmp_path, Refused)
    assert [words[-1] for _, words in pip.done] == ["celery==5.1.1", "pip<25", "celery==5.1.1"]


def test_another_reason_is_raised_and_no_remedy_is_tried_twice(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no such package"):
        other_pip.install(Pip("no such package"), ("celery==5.1.1",), tmp_path, Refused)
    old = "Please use pip<24.1"
    with pytest.raises(Refused, match="pip<24"):
        other_pip.install(Pip(old, old), ("celery==5.1.1",), tmp_path, Refused)


def test_an_install_of_a_wheel_reads_that_file_alone() -> None:
    tree = Tree()
    for path in ("/tmp/shop.whl", "/app/deployment.json"):  # noqa: S108 - paths of an image
        tree.put(path, file_of(b"1"))
    arguments = ("--no-deps", "/tmp/shop.whl")  # noqa: S108 - the same
    read = inputs(arguments, "/app", tree).entries
    assert [path for path, each in read.items() if each.kind == "file"] == ["/tmp/shop.whl"]  # noqa: S108
    assert inputs((".",), "/app", tree) is tree
    assert inputs(("/tmp/none.whl",), "/app", tree) is tree  # noqa: S108 - the same
