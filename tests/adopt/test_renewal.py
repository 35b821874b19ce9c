"""A newer `adopt`: unedited blocks are rendered anew, edited ones shown and left unless they are taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from copilot_testenv.adopt import django_settings, dockerfile, origin, service_manifest, stamps, thin
from copilot_testenv.core.errors import SettingsError
from tests.adopt.project import (
    RUNTIME,
    THREE,
    WHEELS,
    adopt,
    adopted,
    commit,
    files,
    start_project,
    three_containers,
)

_NEWER = {name.replace("0.2.0", "0.3.0"): content + b", newer" for name, content in WHEELS.items()}
_SETTINGS, _MANIFEST, _OWN = "mysite/settings.py", "copilot/web/manifest.yml", "copilot-testenv.toml"


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """What makes the tasks a later version; `undo()` of it is not needed."""
    return monkeypatch


def upgrade(patch: pytest.MonkeyPatch) -> None:
    """Have every body that `adopt` writes say something more, and the wheels be of a later version."""
    patch.setattr(origin.Origin, "wheels", lambda _: dict(_NEWER))
    patch.setattr(thin, "_TASKS", thin._TASKS + "# newer\n")
    patch.setattr(thin, "_ADDED", thin._ADDED + "# newer\n")
    for module, name in ((thin, "_settings"), (django_settings, "_body")):
        old = getattr(module, name)
        patch.setattr(module, name, lambda *a, old=old, **k: old(*a, **k) + "# newer\n")
    patch.setitem(service_manifest._WHY, "rolling: recreate", "newer")
    patch.setattr(dockerfile, "_INSTALL", "pip install --newer")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_unedited_blocks_are_rendered_anew_and_nothing_else_changes(
    tmp_path: Path, newer: pytest.MonkeyPatch, end: str
) -> None:
    own = {"tasks.py": "import invoke\n", "Dockerfile": THREE["Dockerfile"], "requirements.txt": "Django\n"}
    given = {name: text.replace("\n", end) for name, text in own.items()}
    folder = adopted(start_project(tmp_path / "shop", given))
    before = files(folder)
    upgrade(newer)
    with pytest.raises(SettingsError, match=r"Dockerfile, .*mysite/settings\.py, .*tasks\.py"):
        adopt(folder, check=True)
    adopted(folder)
    for name in ("tasks.py", "Dockerfile", _SETTINGS, _MANIFEST):
        old, new = before[name].decode(), files(folder)[name].decode()
        assert "newer" in new, name
        assert outside(old) == outside(new), name
        assert new.count("\r\n") in {0, new.count("\n")}, name
    assert not any("0.2.0" in name for name in files(folder))
    assert adopt(folder).said[-1].startswith("Nothing to do")
    adopt(folder, check=True)


def outside(text: str) -> tuple[str, str]:
    plain = text.replace("\r\n", "\n")
    found = stamps.find(plain)
    assert found
    return plain[: found.start], plain[found.end :]


@pytest.mark.nightly_from(3)
@pytest.mark.parametrize("name", ["tasks.py", "Dockerfile", _SETTINGS, _MANIFEST, _OWN])
@pytest.mark.parametrize("start", [start_project, three_containers], ids=["startproject", "three containers"])
def test_an_edited_block_is_left_with_both_differences_until_it_is_taken(
    tmp_path: Path, newer: pytest.MonkeyPatch, name: str, start: object
) -> None:
    assert callable(start)
    folder = adopted(start(tmp_path / "shop"))
    file = folder / name
    found = stamps.find(file.read_text())
    assert found
    first = found.body.splitlines()[0]
    mine = f"{first}\n{found.indent}# mine"
    file.write_text(file.read_text().replace(found.body, found.body.replace(first, mine, 1)))
    commit(folder)
    assert adopt(folder).said[-1].startswith("Nothing to do")  # an edit alone is nothing to be behind with
    edited = file.read_text()
    upgrade(newer)
    report = adopt(folder)
    assert file.read_text() == edited
    assert any(line.startswith(f"Left as it is: {name}: you have edited") for line in report.said)
    (shown,) = [text for text in report.printed if f"{name} (yours)" in text]
    yours, _, ours = shown.partition(f"+++ {name} (this version)")
    assert f"--- {name} (as it was written)" in yours
    assert "+# mine" in yours.replace(f"+{found.indent}", "+")
    assert "newer" in ours
    commit(folder)
    with pytest.raises(SettingsError, match=rf"Behind this version: 1 file: {name}\."):
        adopt(folder, check=True)
    adopted(folder, take=name)
    assert "# mine" not in file.read_text()
    assert "newer" in file.read_text()
    adopt(folder, check=True)


def test_a_block_whose_last_line_is_gone_is_left_even_where_it_is_to_be_taken(
    project: Path, newer: pytest.MonkeyPatch
) -> None:
    adopt(project)
    file = project / _SETTINGS
    file.write_text(file.read_text().replace("# end of copilot-testenv\n", "MINE = 1\n"))
    commit(project)
    upgrade(newer)
    report = adopt(project, take=_SETTINGS)
    assert "MINE = 1\n" in file.read_text()
    assert any("`# end of copilot-testenv` is missing" in line for line in report.said)


def test_wheels_of_another_version_go_and_those_of_others_stay(
    project: Path, newer: pytest.MonkeyPatch
) -> None:
    adopt(project)
    (project / "vendor/theirs-1.0-py3-none-any.whl").write_bytes(b"theirs")
    commit(project)
    upgrade(newer)
    adopt(project)
    there = {file.name for file in (project / "vendor").iterdir()}
    assert there == {*_NEWER, "theirs-1.0-py3-none-any.whl"}


def test_a_wheel_stays_while_an_edited_dockerfile_names_it(project: Path, newer: pytest.MonkeyPatch) -> None:
    adopt(project)
    file = project / "Dockerfile"
    file.write_text(file.read_text() + "# mine\n")
    commit(project)
    upgrade(newer)
    adopted(project)
    there = {f"vendor/{each.name}" for each in (project / "vendor").iterdir()}
    assert there == {RUNTIME, *(f"vendor/{name}" for name in _NEWER)}
    adopted(project, take="Dockerfile")
    assert not (project / RUNTIME).exists()


def test_the_tasks_wheels_stay_while_an_edited_requirement_names_them(
    project: Path, newer: pytest.MonkeyPatch
) -> None:
    adopt(project)
    file = project / thin.REQUIREMENTS
    file.write_text(file.read_text() + "mine==1\n")
    commit(project)
    upgrade(newer)
    adopt(project)
    there = {each.name for each in (project / "vendor").iterdir()}
    tasks = {name for name in WHEELS if not name.startswith("django")}
    assert there == tasks | {name for name in _NEWER if name.startswith("django")}
    assert file.read_text().endswith("mine==1\n")
