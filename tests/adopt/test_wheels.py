"""Where the wheels come from, and the requirement that pins them."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from copilot_testenv.adopt import origin
from copilot_testenv.adopt.origin import Origin
from copilot_testenv.core.errors import Failed, Refused, UsageError
from copilot_testenv.core.process import RealShell, Result
from tests.adopt.project import VERSION, WHEELS, adopt
from tests.clone import ROOT
from tests.fakes import FakeShell

_REAL = Origin.wheels  # before a fixture replaces it


def test_the_wheels_are_built_once_for_each_state_of_the_clone(real_wheels: dict[str, bytes]) -> None:
    assert set(real_wheels) == set(WHEELS)
    shell = FakeShell()
    assert Origin(shell, ROOT).wheels() == real_wheels
    assert shell.ran == []


def test_pip_takes_what_the_requirement_pins_from_the_vendor_folder(
    project: Path, real_wheels: dict[str, bytes], tmp_path: Path
) -> None:
    adopt(project)
    assert {file.name for file in (project / "vendor").iterdir()} == set(real_wheels)
    text = (project / "requirements-testenv.txt").read_text()
    ours, begin, _ = text.partition("# The embedded AWS")
    ours = ours if begin else text
    pins = re.findall(r"^(copilot-\w+==\S+) \\\n    --hash=sha256:(\w+)\n", ours, re.MULTILINE)
    assert [name for name, _ in pins] == [f"copilot-testenv=={VERSION}", f"copilot-sandbox=={VERSION}"]
    (project / "only-ours.txt").write_text(
        "--find-links vendor\n" + "".join(f"{name} --hash=sha256:{digest}\n" for name, digest in pins)
    )
    words = (
        "download",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--require-hashes",
        "--dest",
        str(tmp_path / "to"),
    )
    subprocess.run([sys.executable, "-m", "pip", *words, "-r", "only-ours.txt"], cwd=project, check=True)
    assert len(list((tmp_path / "to").iterdir())) == 2


def test_every_pin_of_the_requirement_has_a_hash(project: Path) -> None:
    adopt(project)
    text = (project / "requirements-testenv.txt").read_text().replace("\\\n", "")
    pins = [line for line in text.splitlines() if line and line.lstrip()[0] not in "#-"]
    assert len(pins) > 50
    assert all(re.match(r"[\w.\[\],-]+==\S+ .*--hash=sha256:", pin) for pin in pins)
    for name in ("copilot_testenv", "copilot_sandbox"):
        assert hashlib.sha256(f"a wheel of {name}".encode()).hexdigest() in text


def test_the_wheel_of_the_image_has_nothing_of_the_tasks(
    real_wheels: dict[str, bytes], tmp_path: Path
) -> None:
    name = next(name for name in real_wheels if name.startswith("django_testenv"))
    (tmp_path / name).write_bytes(real_wheels[name])
    with zipfile.ZipFile(tmp_path / name) as opened:
        assert {each.split("/")[0] for each in opened.namelist()} == {
            "django_testenv", f"django_testenv-{VERSION}.dist-info",
        }  # fmt: skip


def test_the_wheel_of_the_tasks_has_the_documents_and_the_installed_command_prints_them(
    real_wheels: dict[str, bytes], tmp_path: Path
) -> None:
    name = next(name for name in real_wheels if name.startswith("copilot_testenv"))
    (tmp_path / name).write_bytes(real_wheels[name])
    with zipfile.ZipFile(tmp_path / name) as opened:
        opened.extractall(tmp_path / "installed")
    folder = tmp_path / "installed" / "copilot_testenv" / "docs"
    there = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    in_clone = {str(file.relative_to(ROOT / "docs")) for file in (ROOT / "docs").rglob("*.[mj]*")}
    assert there == in_clone
    words = (sys.executable, "-m", "copilot_testenv.cli", "docs", "stack.md#tests-database")
    environment = {"PYTHONPATH": str(tmp_path / "installed")}
    shown = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout.startswith("## Test")
    assert len(real_wheels[name]) < 800_000  # it lies in the project's repository


def pip_of(address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(Origin, "wheels", _REAL)
    shell = FakeShell()
    assert Origin(shell, None, address).wheels() == {}
    (line,) = shell.lines
    return line


def test_an_index_is_asked_for_this_version_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    line = pip_of("https://pypi.example.com/simple", monkeypatch)
    assert "pip download" in line
    assert "--no-deps" in line
    assert "--index-url https://pypi.example.com/simple" in line
    assert f"copilot-testenv=={VERSION} copilot-sandbox=={VERSION} django-testenv=={VERSION}" in line


def test_a_git_address_is_built_from(monkeypatch: pytest.MonkeyPatch) -> None:
    line = pip_of("git+https://git.example.com/x@v1", monkeypatch)
    assert "pip wheel" in line
    assert "git+https://git.example.com/x@v1#subdirectory=scripts/runtime" in line


@pytest.mark.parametrize("address", ["pypi", "--index-url=https://x", "ssh://x", "../wheels"])
def test_another_address_is_a_usage_error(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Origin, "wheels", _REAL)
    with pytest.raises(UsageError, match=r"--from .*: write the address of an index"):
        Origin(FakeShell(), None, address).wheels()


def test_installed_tasks_have_no_wheels_to_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Origin, "wheels", _REAL)
    with pytest.raises(Refused, match="name an index or a Git address with --from"):
        Origin(FakeShell(), None).wheels()


def test_a_build_that_fails_keeps_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Origin, "wheels", _REAL)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(Failed, match="Making the wheels failed"):
        Origin(FakeShell({"pip": Result(1, "", "no network")}), ROOT).wheels()
    assert list((tmp_path / "copilot-testenv/wheels").iterdir()) == []


def test_two_runs_that_build_at_once_keep_one_state(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    origin._store(WHEELS, folder)
    origin._store(WHEELS, folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == WHEELS
    assert list(folder.parent.iterdir()) == [folder]


def test_a_distribution_without_a_wheel_stops_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = dict(list(WHEELS.items())[:2])
    monkeypatch.setattr(Origin, "wheels", lambda _: two)
    with pytest.raises(Refused, match="There is no wheel of django-testenv"):
        adopt(project)


def test_what_is_installed_has_the_files_that_adopt_brings(
    real_wheels: dict[str, bytes], tmp_path: Path
) -> None:
    name = next(name for name in real_wheels if name.startswith("copilot_testenv"))
    (tmp_path / name).write_bytes(real_wheels[name])
    here = replace(Origin(RealShell(), ROOT), clone=ROOT)
    with zipfile.ZipFile(tmp_path / name) as opened:
        shipped = [each for each in opened.namelist() if each.startswith("copilot_testenv/shipped/")]
        assert len(shipped) == 5
        for each in shipped:
            assert opened.read(each).decode() == here.text(each.removeprefix("copilot_testenv/shipped/"))
