"""A branch's own code gets nothing of the machine from a step of its build."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from copilot_sandbox.agent import confined
from copilot_sandbox.agent.confined import confined as in_confinement
from copilot_sandbox.images import pythons, venvs
from copilot_sandbox.images.tree import Tree, file_of
from tests.attacks.hostile_containers import PLANTED, walled

BACK_END = """
import os, sys
def look(*_, **__):
    got = []
    for path in %r:
        try:
            got.append(os.listdir(path) if os.path.isdir(path) else open(path).read())
        except OSError:
            pass
    for path in %r:
        try:
            open(path + "/planted", "w").close()
            got.append(path)
        except OSError:
            pass
    raise SystemExit("GOT " + repr(got))
build_wheel = get_requires_for_build_wheel = prepare_metadata_for_build_wheel = look
"""


@walled
def test_a_back_end_of_a_branchs_own_sees_and_writes_nothing_of_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh/id").write_text(PLANTED)
    monkeypatch.setenv("HOME", str(home))
    reads = [str(home / ".ssh/id"), str(home), "/etc/shadow", "/run", str(Path.cwd() / "README.md")]
    writes = [str(home), "/usr", "/etc", "/", str(Path.cwd())]
    project = '[build-system]\nrequires = []\nbuild-backend = "back"\nbackend-path = ["."]\n'
    tree = Tree()
    tree.put("/evil/pyproject.toml", file_of(project.encode(), 0o644))
    tree.put("/evil/back.py", file_of((BACK_END % (reads, writes)).encode(), 0o644))
    install = venvs.Install(("/evil",), "/", tree, {}, 3)
    with pytest.raises(venvs.InstallError) as caught:
        venvs.make_venv(tmp_path / "state/venvs/one", [install], pip_cache=tmp_path / "state/pip")
    # A step has a /tmp of its own: where the checkout lies in /tmp, a folder of its name may be there.
    allowed = [str(Path.cwd())] if Path(tempfile.gettempdir()) in Path.cwd().parents else []
    assert f"GOT {allowed}" in str(caught.value) or "GOT []" in str(caught.value)
    assert [each for each in writes if (Path(each) / "planted").exists()] == []


@walled
def test_a_dockerfiles_variable_shows_pip_no_more_of_the_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    users = {"PIP_FIND_LINKS": f"{tmp_path} https://pypi.example/simple /", "PIP_CONFIG_FILE": "/dev/null"}
    assert venvs._sources(users) == [tmp_path]
    shown: list[Path] = []

    @contextmanager
    def seen(words: list[str], *, readable: list[Path], writable: list[Path]) -> Iterator[list[str]]:
        shown.extend((*readable, *writable))
        yield words

    monkeypatch.setattr(venvs, "confined", seen)
    monkeypatch.setattr(venvs, "_run", lambda *_: None)
    install = venvs.Install(("x",), "/", Tree(), {"PIP_FIND_LINKS": "/root", "PIP_CERT": "/root/.ssh"}, 1)
    venvs._install(tmp_path / "s/venvs/one", install, users, tmp_path / "s/pip", pythons.own())
    assert tmp_path in shown
    assert not [each for each in shown if Path("/root") in (each, *each.parents)]
    assert venvs._own_folders(tmp_path / "s/pip", {"HOME": str(Path.home())}) == []


@walled
def test_a_step_ends_as_its_command_does_and_leaves_nobody(tmp_path: Path) -> None:
    code = "import os, sys, time\nif os.fork() == 0: time.sleep(60)\nsys.exit(7)"
    with in_confinement([sys.executable, "-c", code], readable=[], writable=[tmp_path]) as words:
        done = subprocess.run(words, cwd=tmp_path, check=False, timeout=30)
    assert done.returncode == 7


def test_where_there_are_no_namespaces_a_step_runs_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confined, "obstacle", lambda: "Operation not permitted")
    with in_confinement(["true"], readable=[], writable=[]) as words:
        assert words == ["true"]
