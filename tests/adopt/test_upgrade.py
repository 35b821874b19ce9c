"""From the version that copied its files to this one, by one command: made with that very version."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from copilot_testenv.adopt import copies, stamps
from copilot_testenv.adopt.history import History
from copilot_testenv.adopt.origin import Origin
from copilot_testenv.adopt.project import look
from copilot_testenv.adopt.renewal import Renewal
from copilot_testenv.core.errors import Refused
from copilot_testenv.core.process import RealShell
from tests.adopt.project import adopt, adopted, commit, files, git, manifest, start_project, three_containers
from tests.clone import ROOT

_COPYING = "26f48ac36d7d46aba866f1cb4df1e66abea1420d"  # the last version that copied
_STARTS = {"startproject": start_project, "three containers": three_containers}


@pytest.fixture(scope="module")
def copying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A clone of that version."""
    known = subprocess.run(["git", "-C", str(ROOT), "cat-file", "-e", f"{_COPYING}^{{commit}}"], check=False)
    if known.returncode:
        pytest.skip("this clone has not the whole history, which the version before is taken from")
    folder = tmp_path_factory.mktemp("copying")
    git(ROOT, "clone", "--quiet", "--shared", "--no-checkout", str(ROOT), str(folder))
    git(folder, "checkout", "--quiet", _COPYING)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module", params=_STARTS.values(), ids=list(_STARTS))
def template(request: pytest.FixtureRequest, copying: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that has adopted that version, and committed it."""
    folder: Path = request.param(tmp_path_factory.mktemp("copied"))
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(
        [sys.executable, "-m", "invoke", "adopt", "--into", str(folder), "--yes"],
        cwd=copying, env=environ, check=True, capture_output=True,
    )  # fmt: skip
    commit(folder)
    assert "scripts/menu.py" in files(folder)
    return folder


@pytest.fixture
def copied(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "shop"))


@pytest.mark.nightly_from(1)
def test_unedited_it_is_as_if_this_version_had_been_adopted_first(
    copied: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    adopted(copied)
    for name, content in files(copied).items():
        assert b"scripts.stage_copy" not in content, name
        assert b"scripts/" not in content or name == "requirements-testenv.txt", name
    start = next(each for name, each in _STARTS.items() if name in request.node.name)
    fresh = files(adopted(start(tmp_path / "fresh")))
    found = files(copied)
    assert found.keys() == fresh.keys()
    for name in found.keys() - {".gitignore", "mysite/settings.py"}:
        assert found[name] == fresh[name], name
    one, other = (stamps.find(each["mysite/settings.py"].decode()) for each in (found, fresh))
    assert one
    assert other
    assert one.body == other.body
    assert adopt(copied).said[-1].startswith("Nothing to do")
    adopt(copied, check=True)


@pytest.mark.nightly_from(1)
def test_settings_behind_the_copied_block_are_the_owners_and_stay(copied: Path) -> None:
    settings = copied / "mysite/settings.py"
    settings.write_text(settings.read_text() + "MINE = 1\n")
    commit(copied)
    adopted(copied)
    text = settings.read_text()
    assert text.endswith("# end of copilot-testenv\nMINE = 1\n")
    assert "scripts" not in text
    assert not (copied / "scripts").exists()


@pytest.mark.nightly_from(1)
def test_what_the_owner_edited_is_kept_and_named_with_what_it_needs(copied: Path) -> None:
    settings, pages = copied / "mysite/settings.py", copied / "scripts/page.py"
    settings.write_text(settings.read_text().replace("STAGE_COPY = {", "MINE = 1\nSTAGE_COPY = {"))
    pages.write_text(pages.read_text() + "# mine\n")
    (copied / "scripts/backup.sh").write_text("# theirs\n")
    commit(copied)
    edited = settings.read_text()
    report = adopt(copied)
    assert settings.read_text() == edited
    left = [line for line in report.said if line.startswith("Left as it is: ")]
    assert any("mysite/settings.py: you have edited" in line for line in left)
    assert any("scripts/: 2 of its files" in line and "scripts/backup.sh" in line for line in left)
    assert any("+MINE = 1" in text for text in report.printed)
    kept = {name for name in files(copied) if name.startswith("scripts/")}
    assert {"scripts/page.py", "scripts/backup.sh"} <= kept
    if "scripts/stage_copy" in (copied / "Dockerfile").read_text():
        assert any("Dockerfile: it must change together with mysite/settings.py" in line for line in left)
    done = subprocess.run(
        [sys.executable, "-c", "import mysite.settings as s; print(s.MINE)"],
        cwd=copied, env={}, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == "1\n", done.stderr
    commit(copied)
    adopted(copied, take="mysite/settings.py")
    assert "scripts" not in settings.read_text()
    assert {name for name in files(copied) if name.startswith("scripts/")} == {
        "scripts/page.py", "scripts/backup.sh",
    }  # fmt: skip
    adopt(copied, check=True)


@pytest.mark.nightly_from(1)
def test_an_edited_environment_is_kept_in_a_project_that_is_otherwise_new(copied: Path) -> None:
    file = copied / "copilot/web/manifest.yml"
    file.write_text(file.read_text().replace("deregistration_delay: 5s", "deregistration_delay: 9s"))
    commit(copied)
    adopted(copied)
    assert manifest(copied)["environments"]["test"]["http"]["deregistration_delay"] == "9s"
    assert not (copied / "scripts").exists()
    assert stamps.find((copied / "tasks.py").read_text())


def test_tasks_of_theirs_that_took_in_the_copied_ones_take_in_these(copying: Path, tmp_path: Path) -> None:
    folder = start_project(tmp_path / "shop", {"tasks.py": "from invoke import task\n"})
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(
        [sys.executable, "-m", "invoke", "adopt", "--into", str(folder), "--yes"],
        cwd=copying, env=environ, check=True, capture_output=True,
    )  # fmt: skip
    (folder / "tasks.py").write_text("from invoke import task\nfrom test_environments import *  # noqa\n")
    commit(folder)
    adopted(folder)
    assert not (folder / "test_environments.py").exists()
    text = (folder / "tasks.py").read_text()
    assert text.startswith("from invoke import task\n\n\n# copilot-testenv ")
    assert adopt(folder).said[-1].startswith("Nothing to do")


@pytest.mark.nightly_from(1)
def test_without_the_history_no_file_is_taken_for_the_owners(copied: Path, tmp_path: Path) -> None:
    shallow = tmp_path / "shallow"
    git(ROOT, "clone", "--quiet", "--depth=1", f"file://{ROOT}", str(shallow))
    shell = RealShell()
    renewal = Renewal(look(shell, copied, "", "test"), History(shell, copied))
    for clone in (shallow, None):
        with pytest.raises(Refused, match="git fetch --unshallow"):
            copies.require_history(renewal, Origin(shell, clone))
