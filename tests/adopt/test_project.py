"""The project that adopts: what is found of it, and what is refused before anything is written."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from copilot_testenv.adopt import workflow
from copilot_testenv.core.errors import Refused, SettingsError, UsageError, UserError
from tests.adopt.project import (
    MANIFEST,
    adopt,
    adopted,
    commit,
    files,
    git,
    manifest,
    session,
    start_in_monorepo,
    start_project,
)
from tests.clone import ROOT

_MANIFEST = "copilot/web/manifest.yml"
_BUILD = "sed -i 's|  build: .*|  build:"
_SETTINGS = "printf 'variables: {DJANGO_SETTINGS_MODULE:"


def test_an_environment_that_only_the_project_is_to_have_is_written_there(project: Path) -> None:
    report = adopt(project, test_env="qa")
    environment = yaml.safe_load((project / "copilot/environments/qa/manifest.yml").read_text())
    assert environment["name"] == "qa"
    assert manifest(project)["environments"].keys() == {"qa"}
    text = (project / "mysite/settings.py").read_text()
    assert 'get("COPILOT_ENVIRONMENT_NAME") == "qa"' in text
    assert 'environment="qa"' in text
    assert 'environment = "qa"' in (project / "copilot-testenv.toml").read_text()
    marking = "  `.testenv/bin/invoke create-env --mark-disposable qa --confirm qa`"
    assert marking in report.said[-1].splitlines()


@pytest.mark.parametrize("said", ["qa", "test"], ids=["said again", "not said again"])
def test_the_environment_that_is_committed_is_renewed_whether_said_or_not(project: Path, said: str) -> None:
    adopted(project, test_env="qa")
    assert adopt(project, test_env=said).said[-1].startswith("Nothing to do")


def test_an_environment_that_the_project_has_committed_is_guarded_too(project: Path) -> None:
    (project / "copilot-testenv.toml").write_text('environment = "production"\n')
    commit(project)
    with pytest.raises(Refused, match="production"):
        adopt(project)


def test_an_environment_that_is_there_is_said_before_the_question(project: Path) -> None:
    report = adopt(project, plan=True)
    assert report.said[-2].startswith(
        "There is an environment `test` already: these tasks will replace what is deployed in it. If people"
    )
    assert f"`TEST_ENV=preview invoke adopt --into {project}`" in report.said[-2]
    assert "\n" not in report.said[-2]
    assert not any("already" in line for line in adopt(project, plan=True, test_env="qa").said)


def test_settings_that_manage_py_assigns_are_found(project: Path) -> None:
    file = project / "manage.py"
    text = re.sub(r"os\.environ\.setdefault\((.*), (.*)\)", r"os.environ[\1] = \2", file.read_text())
    assert 'os.environ["DJANGO_SETTINGS_MODULE"] =' in text.replace("'", '"')
    file.write_text(text)
    commit(project)
    adopt(project)
    assert "django_testenv" in (project / "mysite/settings.py").read_text()


def test_this_repository_is_refused(tmp_path: Path) -> None:
    for place in (ROOT, ROOT / "demo"):
        with pytest.raises(Refused, match="in this repository"):
            adopt(place)
    link = tmp_path / "link"
    link.symlink_to(ROOT)
    with pytest.raises(Refused, match="in this repository"):
        adopt(link)


def test_no_repository_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="is not a Git repository"):
        adopt(tmp_path)


def test_a_folder_of_a_repository_is_adopted_and_nothing_beside_it_changes(tmp_path: Path) -> None:
    folder = start_in_monorepo(tmp_path)
    before = files(tmp_path)
    adopted(folder)
    after = files(tmp_path)
    changed = {name for name in after if before.get(name) != after[name]}
    assert changed
    assert all(name.startswith("services/shop/") for name in changed)
    assert adopt(folder).said[-1].startswith("Nothing to do")
    adopt(folder, check=True)


def test_an_edited_block_below_the_top_of_a_repository_has_its_base_in_git(tmp_path: Path) -> None:
    folder = adopted(start_in_monorepo(tmp_path))
    file = folder / "tasks.py"
    old = file.read_text()
    file.write_text(f"{old}\n# mine\n")
    with pytest.raises(Refused, match=r"tasks\.py in .* not committed"):
        adopt(folder, take="tasks.py", test_env="qa")
    assert file.read_text() == f"{old}\n# mine\n"


def test_uncommitted_changes_are_refused_only_where_they_would_be_edited(project: Path) -> None:
    (project / "mysite/urls.py").write_text("# changed\n")
    adopt(project, plan=True)
    (project / "mysite/settings.py").write_text((project / "mysite/settings.py").read_text() + "# changed\n")
    before = files(project)
    with pytest.raises(Refused, match=r"mysite/settings\.py in .* not committed"):
        adopt(project)
    assert files(project) == before


def test_a_file_that_git_ignores_is_not_edited(project: Path) -> None:
    git(project, "rm", "--quiet", "--cached", "mysite/settings.py")
    (project / ".gitignore").write_text("settings.py\n")
    commit(project)
    before = files(project)
    with pytest.raises(Refused, match=r"^mysite/settings\.py in .* is not in Git \(it is ignored"):
        adopt(project)
    assert files(project) == before


@pytest.mark.parametrize(
    ("pattern", "other"),
    [
        ("vendor/", "vendor/a.js"),
        ("*.whl", "a.whl"),
        ("copilot-testenv.toml", ""),
        ("copilot/.workspace", ""),
        (".workspace\n/copilot/*/overrides", ""),
    ],
)
def test_what_git_would_ignore_gets_exceptions_and_the_rest_stays_ignored(
    tmp_path: Path, pattern: str, other: str
) -> None:
    project = start_project(tmp_path / "shop", {".gitignore": f"{pattern}\n"})
    before = set(files(project))
    adopt(project)
    if other:
        (project / other).write_text("")
    git(project, "add", "--all")
    in_git = set(git(project, "ls-files").splitlines())
    assert set(files(project)) - before - {other} <= in_git
    assert "copilot/.workspace" in in_git
    assert other not in in_git
    commit(project)
    assert adopt(project).said[-1] == "Nothing to do: all that can be added is there."


def test_a_team_that_ignores_copilot_altogether_commits_its_manifests_and_gets_an_exception(
    project: Path,
) -> None:
    git(project, "rm", "--quiet", "-r", "--cached", "copilot")
    (project / ".gitignore").write_text("copilot\n")
    commit(project)
    with pytest.raises(Refused, match=r"^copilot/web/manifest\.yml in .* \(`git add --force`\)"):
        adopt(project)
    git(project, "add", "--force", "copilot/web/manifest.yml")
    commit(project)
    adopt(project)
    git(project, "add", "--all")
    in_git = git(project, "ls-files", "copilot").splitlines()
    assert {"copilot/.workspace", "copilot/web/overrides/cfn.patches.yml"} < set(in_git)


def test_a_file_that_a_deeper_gitignore_hides_is_not_written(project: Path) -> None:
    (project / "copilot/web/.gitignore").write_text("*.yml\n")
    commit(project)
    before = files(project)
    with pytest.raises(Refused, match=r"^Git ignores .* only committed files are deployed"):
        adopt(project)
    assert files(project) == before


@pytest.mark.parametrize("name", ["vendor", "copilot/web/overrides", "mysite/settings.py", "tasks"])
def test_nothing_is_written_behind_a_link(project: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    place = project / name
    if place.exists():
        place.rename(outside / place.name)
        place.symlink_to(outside / place.name)
    else:
        place.symlink_to(outside)
    commit(project)
    before = files(outside)
    with pytest.raises(Refused, match="is a link, and links are not followed"):
        adopt(project)
    assert files(outside) == before


@pytest.mark.parametrize(
    ("spoil", "error", "why"),
    [
        ("rm copilot/.workspace", SettingsError, "with the line `application: NAME`"),
        ("rm copilot/.workspace copilot/web/manifest.yml", SettingsError, "is not a Copilot workspace"),
        ("rm manage.py", SettingsError, "has no manage.py"),
        ("rm -r copilot/web", SettingsError, "has no Load Balanced Web Service"),
        ("cp -r copilot/web copilot/api", UsageError, "--service with one of api, web"),
        ("printf 'a: [' > copilot/web/manifest.yml", SettingsError, "cannot be read"),
        ("printf '\\377' > copilot/web/manifest.yml", SettingsError, "cannot be read"),
        ("sed -i 's/  build: .*/  location: x/' copilot/web/manifest.yml", SettingsError, "builds no image"),
        ("sed -i 's/^image:/image: 3\\nx:/' copilot/web/manifest.yml", SettingsError, "builds no image"),
        ("printf 'sidecars: 3' >> copilot/web/manifest.yml", SettingsError, "`sidecars` is not a mapping"),
        ("rm mysite/settings.py", SettingsError, "mysite.settings are not at"),
        ("printf '\\377' > mysite/settings.py", SettingsError, "is not UTF-8"),
        ("echo 'x = (' >> mysite/settings.py", SettingsError, "cannot be read"),
        ("echo > manage.py", SettingsError, "names DJANGO_SETTINGS_MODULE"),
        ("echo 'x = [' > copilot-testenv.toml", SettingsError, "copilot-testenv.toml cannot be read"),
        (f"{_BUILD} {{dockerfile: /tmp/x/Dockerfile, context: .}}|' {_MANIFEST}", Refused, "not stay below"),
        (f"{_BUILD} ../Dockerfile|' {_MANIFEST}", Refused, "does not stay below"),
        (f"{_BUILD} \"a\\\\0b\"|' {_MANIFEST}", Refused, "'a\\x00b' does not stay below"),
        (f"{_BUILD} {'x' * 300}|' {_MANIFEST}", SettingsError, "cannot be read: File name too long"),
        (f"{_SETTINGS} .tmp.me.s}}' >> {_MANIFEST}", Refused, "'/tmp/me/s.py' does not stay below"),
        (f"{_SETTINGS} \"a\\\\0b\"}}' >> {_MANIFEST}", Refused, "'a\\x00b.py' does not stay below"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_project_is_one_line(
    project: Path, spoil: str, error: type[UserError], why: str
) -> None:
    subprocess.run(
        ["sh", "-c", f"printf '\\n' >> copilot/web/manifest.yml; {spoil}"], cwd=project, check=True
    )
    commit(project)
    before = files(project)
    with pytest.raises(error) as raised:
        adopt(project)
    assert why in str(raised.value)
    assert "\n" not in str(raised.value)
    assert files(project) == before


@pytest.mark.parametrize("into", ["", "  ", "/no/such/folder"])
def test_a_place_that_is_none_is_a_usage_error(into: str) -> None:
    here, _ = session()
    with pytest.raises(UsageError, match="--into"):
        workflow.adopt(here, workflow.Options(into, yes=True))


def test_an_unknown_service_is_named_with_those_there_are(project: Path) -> None:
    with pytest.raises(SettingsError, match="called 'api': it has web"):
        adopt(project, service="api")


def test_the_service_that_was_chosen_of_several_is_committed(tmp_path: Path) -> None:
    other = MANIFEST.replace("name: web", "name: api")
    folder = adopted(start_project(tmp_path / "shop", {"copilot/api/manifest.yml": other}), service="api")
    assert (folder / "copilot/web/manifest.yml").read_text() == MANIFEST
    assert adopt(folder).said[-1].startswith("Nothing to do")


def test_settings_that_the_project_has_in_its_pyproject_stay_there(tmp_path: Path) -> None:
    own = '[tool.copilot-testenv]\nservice = "web"\nttl = "5d"\n'
    folder = adopted(start_project(tmp_path / "shop", {"pyproject.toml": own}))
    assert not (folder / "copilot-testenv.toml").exists()
    assert (folder / "pyproject.toml").read_text() == own
    assert adopt(folder).said[-1].startswith("Nothing to do")


def test_requirements_that_powershell_wrote_are_read_as_pip_reads_them(project: Path) -> None:
    (project / "requirements.txt").write_text("Django\nredis\n", encoding="utf-16")
    commit(project)
    adopt(project)
    assert manifest(project)["environments"]["test"]["variables"]["REDIS_URL"] == "redis://localhost:6379/0"


def test_of_several_projects_the_one_in_whose_folder_the_image_starts_is_adopted(tmp_path: Path) -> None:
    folder = start_project(
        tmp_path / "shop", {"Dockerfile": "FROM python\nCOPY . /code\nWORKDIR /code/two\n"}
    )
    settings = (folder / "mysite/settings.py").read_text()
    for name in ("one", "two"):
        (folder / name / "mysite").mkdir(parents=True)
        (folder / name / "manage.py").write_text((folder / "manage.py").read_text())
        (folder / name / "mysite/settings.py").write_text(settings)
    (folder / "manage.py").unlink()
    commit(folder)
    adopt(folder)
    assert (folder / "one/mysite/settings.py").read_text() == settings
    assert (folder / "two/mysite/settings.py").read_text() != settings


def test_settings_of_a_package_that_the_image_installs_are_found_below_manage_py(tmp_path: Path) -> None:
    folder = start_project(tmp_path / "shop")
    (folder / "web/src").mkdir(parents=True)
    git(folder, "mv", "mysite", "web/src/mysite")
    (folder / "tests/unit/mysite").mkdir(parents=True)
    (folder / "tests/unit/mysite/settings.py").write_text("from mysite.settings import *\n")
    commit(folder)
    assert "Nothing to do" not in adopt(folder).said[-1]
    assert "django_testenv" in (folder / "web/src/mysite/settings.py").read_text()


def test_of_several_services_the_only_one_whose_image_runs_the_settings_is_adopted(tmp_path: Path) -> None:
    other = MANIFEST.replace("build: Dockerfile", "build: front/Dockerfile")
    more = {
        "Dockerfile": "FROM python\nCOPY . /srv\n",
        "copilot/front/manifest.yml": other,
        "front/Dockerfile": "FROM node\nCOPY . /srv\n",
    }
    folder = start_project(tmp_path / "shop", more)
    assert "for its service web in test" in adopt(folder, plan=True).said[0]
    (folder / "api").mkdir()
    (folder / "api/Dockerfile").write_text(more["Dockerfile"])  # of another context, without manage.py
    (folder / "copilot/api").mkdir()
    (folder / "copilot/api/manifest.yml").write_text(other.replace("front", "api"))
    commit(folder)
    report = adopt(folder, plan=True)
    assert "for its service web in test" in report.said[0]
    assert "api/Dockerfile" not in "\n".join(report.said)
    (folder / "copilot/front/manifest.yml").write_text(other.replace("front/Dockerfile", "Dockerfile"))
    commit(folder)
    with pytest.raises(UsageError, match=r"Which service.*api, front, web"):
        adopt(folder)


def test_what_is_written_names_no_document_that_only_a_clone_of_these_tasks_has(project: Path) -> None:
    adopt(project)
    written = [name for name in files(project) if not name.endswith((".whl", ".pyc"))]
    named = [
        f"{name}: {line}"
        for name in written
        for line in (project / name).read_text(errors="replace").splitlines()
        if re.search(r"\bdocs/[\w-]+(\.md|/)", line) and "://" not in line
    ]
    assert named == []
    templates = (ROOT / "scripts/copilot_testenv/adopt/templates").rglob("*")
    for text in (
        file.read_text() for file in templates if file.suffix in {".yml", ".toml", ""} and file.is_file()
    ):
        assert not re.search(r"\bdocs/[\w-]+\.md", text)
    assert "`copilot-testenv docs access.md`" in (project / "copilot/web/manifest.yml").read_text()
