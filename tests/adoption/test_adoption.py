from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from scripts import healthz
from scripts.adoption import changes, shipped, workflow
from scripts.adoption.changes import Change
from scripts.errors import Failed, Refused, SettingsError, UsageError, UserError
from tests.adoption.project import (
    MANIFEST,
    THREE,
    bench,
    commit,
    git,
    start_project,
    three_containers,
)
from tests.clone import ROOT
from tests.fakes import FakeReport

_MANIFEST = "copilot/web/manifest.yml"
_BUILD = "sed -i 's|  build: .*|  build:"
_SETTINGS = "printf 'variables: {DJANGO_SETTINGS_MODULE:"


def adopt(
    folder: Path, *, yes: bool = True, plan: bool = False, service: str = "", test_env: str = "test"
) -> FakeReport:
    here, report = bench(test_env=test_env)
    workflow.adopt(here, into=str(folder), service=service, yes=yes, plan=plan)
    return report


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and ".git/" not in str(file) and "__pycache__" not in str(file)
    }


def manifest(folder: Path) -> dict[str, object]:
    found: dict[str, object] = yaml.safe_load((folder / "copilot/web/manifest.yml").read_text())
    return found


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return start_project(tmp_path / "shop")


@pytest.fixture
def three(tmp_path: Path) -> Path:
    return three_containers(tmp_path / "three")


def test_a_fresh_project_gets_all_and_a_second_run_changes_nothing(project: Path) -> None:
    before = files(project)
    report = adopt(project)
    after = files(project)
    assert {"tasks.py", "noxfile.py", "requirements-deploy.txt", "requirements-sandbox.txt", ".env.example",
            "Dockerfile", ".dockerignore", ".gitignore", "scripts/menu.py", "scripts/stage_copy/apps.py",
            "copilot/web/overrides/cfn.patches.yml", "copilot/environments/overrides/cfn.patches.yml",
            } <= set(after) - set(before)  # fmt: skip
    assert not any(name.startswith(("tests/", "demo/")) for name in after)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"copilot/web/manifest.yml", "mysite/settings.py"}
    for name in changed:  # all that was there stands where it stood
        assert after[name].startswith(before[name])
    assert "Written: " in report.said[-1]

    commit(project)
    again = adopt(project)
    assert again.said[-1] == "Nothing to do: all that can be added is there."
    assert again.printed == []
    assert files(project) == after


def test_the_plan_and_a_no_change_nothing(project: Path) -> None:
    before = files(project)
    report = adopt(project, yes=False, plan=True)
    assert any("+++ b/mysite/settings.py" in text for text in report.printed)
    assert any("  tasks.py\n" in text and "  scripts/ (" in text for text in report.printed)
    with pytest.raises(Refused, match="Nothing was changed"):
        adopt(project, yes=False)
    assert files(project) == before


def test_an_environment_that_only_the_project_is_to_have_is_written_there(project: Path) -> None:
    report = adopt(project, test_env="qa")
    environment = yaml.safe_load((project / "copilot/environments/qa/manifest.yml").read_text())
    assert environment["name"] == "qa"
    environments = manifest(project)["environments"]
    assert isinstance(environments, dict)
    assert environments.keys() == {"qa"}
    assert '"environments": ["qa"]' in (project / "mysite/settings.py").read_text()
    lines = report.said[-1].splitlines()
    mark = lines.index("  TEST_ENV=qa .venv/bin/invoke create-env --mark-disposable qa --confirm qa")
    assert lines[mark + 1].startswith("  TEST_ENV=qa .venv/bin/invoke deploy-test")


def test_an_environment_that_is_there_is_said_before_the_question(project: Path) -> None:
    report = adopt(project, plan=True)
    assert report.said[-2].startswith(
        "There is an environment `test` already: these tasks will replace what is deployed in it. If people"
    )
    assert "\n" not in report.said[-2]
    assert not any("already" in line for line in adopt(project, plan=True, test_env="qa").said)


def test_the_settings_are_as_they_were_until_variables_say_otherwise(project: Path) -> None:
    adopt(project)
    code = (
        "from mysite import settings as s; print(s.DEBUG, s.ALLOWED_HOSTS, s.DATABASES['default']['NAME'], "
        "s.DATABASES['default']['ENGINE'], 'stage' in s.DATABASES, s.SECRET_KEY[:8], s.MIDDLEWARE[:3])"
    )

    def run(**env: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=project, env=env, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    plain = run()
    assert plain.startswith("True [] ")  # as Django wants it for localhost
    assert "sqlite3 False django-i" in plain
    url = "postgres://u:p@localhost/test"
    deployed = run(
        DEBUG="0", ALLOWED_HOSTS="*", SECRET_KEY="k" * 9, DATABASE_URL=url, DATABASE_SUFFIX="_x",
        STAGE_DATABASE_URL=url, COPILOT_ENVIRONMENT_NAME="test",
    )  # fmt: skip
    assert deployed == (
        "False ['*'] test_x django.db.backends.postgresql True kkkkkkkk "
        "['scripts.test_access.middleware.AccessMiddleware', 'scripts.healthz.Healthz', "
        "'whitenoise.middleware.WhiteNoiseMiddleware']"
    )


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", "smtp.EmailBackend localhost 1025 False "), ("mail.example.com", "console.EmailBackend")],
)
def test_mail_goes_to_a_sidecar_or_to_the_log_and_never_out(tmp_path: Path, host: str, expected: str) -> None:
    own = "EMAIL_HOST, EMAIL_PORT = 'mail.example.com', 587\nEMAIL_USE_TLS, EMAIL_HOST_USER = True, 'shop'\n"
    folder = start_project(tmp_path / "shop", more_settings=own)
    adopt(folder)
    code = (
        "import django; django.setup(); from django.conf import settings as s; print(s.EMAIL_BACKEND, "
        "s.EMAIL_HOST, s.EMAIL_PORT, s.EMAIL_USE_TLS, s.EMAIL_HOST_USER + '.')"
    )
    console = "django.core.mail.backends.console.EmailBackend"
    env = {
        "DJANGO_SETTINGS_MODULE": "mysite.settings", "COPILOT_ENVIRONMENT_NAME": "test",
        "EMAIL_HOST": host, "EMAIL_PORT": "1025", "EMAIL_BACKEND": console,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=env, check=True, capture_output=True, text=True
    )
    assert done.stdout.startswith(f"django.core.mail.backends.{expected}")


def test_the_health_check_is_answered_whatever_the_host(project: Path) -> None:
    adopt(project)
    code = (
        "import django; django.setup()\n"
        "from django.test import Client\n"
        "answer = Client(headers={'host': '10.0.0.7:8000'}, raise_request_exception=False)\n"
        "print(answer.get('/healthz').status_code, answer.get('/').status_code)"
    )
    env = {"DJANGO_SETTINGS_MODULE": "mysite.settings", "DEBUG": "0", "ALLOWED_HOSTS": "shop.example.com"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project, env=env, check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == ["200", "400"]


def test_three_containers_keep_what_they_have_and_only_test_is_added_to(three: Path) -> None:
    before = manifest(three)
    adopt(three)
    text = (three / "copilot/web/manifest.yml").read_text()
    assert text.endswith("\n# The end.\n")
    lines = iter(text.splitlines())
    assert all(line in lines for line in THREE["copilot/web/manifest.yml"].splitlines())  # in that order
    after = manifest(three)
    blocks = after["environments"]
    assert isinstance(blocks, dict)
    block = blocks.pop("test")
    assert after == before
    assert block["image"]["depends_on"] == {"startup": "success"}
    assert block["sidecars"].keys() == {"startup"}
    startup = block["sidecars"]["startup"]
    assert startup["command"][2].startswith("python manage.py copy_stage_db && python manage.py migrate")
    assert startup["secrets"].keys() == block["secrets"].keys() == {"DATABASE_URL", "STAGE_DATABASE_URL"}
    assert block["http"]["healthcheck"] == {"path": "/healthz", "grace_period": "3600s"}
    dockerfile = (three / "Dockerfile").read_text()
    assert dockerfile.index("COPY scripts/stage_copy /srv/scripts/stage_copy") < dockerfile.index("USER")
    assert "psycopg[binary]==" in dockerfile  # psycopg2 is another
    settings = (three / "mysite/settings.py").read_text()
    assert "WhiteNoise" not in settings
    assert '"scripts.healthz.Healthz",' in settings
    assert '"open_paths": ["/healthz"]' in settings  # its own health check is a page of it


@pytest.mark.parametrize(
    ("own", "codes"),
    [
        ("healthcheck: /", {}),
        ("healthcheck: {path: /, success_codes: '302', interval: 10s}", {"success_codes": "200"}),
    ],
)
def test_a_health_check_that_is_a_page_opens_none_of_the_project(
    tmp_path: Path, own: str, codes: dict[str, str]
) -> None:
    folder = start_project(tmp_path / "shop", manifest=MANIFEST.replace("# healthcheck: '/'", own))
    before = manifest(folder)["http"]
    adopt(folder)
    found = manifest(folder)
    assert found["http"] == before
    environments = found["environments"]
    assert isinstance(environments, dict)
    check = environments["test"]["http"]["healthcheck"]
    assert check == {"path": "/healthz", **codes, "grace_period": "3600s"}
    settings = (folder / "mysite/settings.py").read_text()
    assert 'TEST_ACCESS = {"open_paths": ["/healthz"]}' in settings


def test_the_path_that_is_asked_for_is_the_one_that_the_middleware_answers() -> None:
    assert healthz.PATH == shipped.HEALTH_PATH


def test_a_project_with_redis_gets_it_as_a_sidecar(tmp_path: Path) -> None:
    folder = start_project(tmp_path / "shop", {"requirements.txt": "Django\nredis\n"})
    adopt(folder)
    environments = manifest(folder)["environments"]
    assert isinstance(environments, dict)
    block = environments["test"]
    assert block["sidecars"]["redis"]["port"] == 6379
    assert block["image"]["depends_on"] == {"redis": "start", "startup": "success"}
    assert block["variables"]["REDIS_HOST"] == "localhost"
    assert block["sidecars"]["startup"]["variables"] == block["variables"]


def test_a_service_of_another_name_and_its_variables_go_to_the_startup_sidecar(tmp_path: Path) -> None:
    text = (
        MANIFEST.replace("name: web", "name: api") + "\nvariables:\n  LOG_LEVEL: info\nenv_file: some.env\n"
    )
    folder = start_project(
        tmp_path / "shop", {"copilot/api/manifest.yml": text}, manifest="type: Worker Service\n"
    )
    adopt(folder)
    found = yaml.safe_load((folder / "copilot/api/manifest.yml").read_text())
    startup = found["environments"]["test"]["sidecars"]["startup"]
    assert startup["variables"]["LOG_LEVEL"] == "info"
    assert startup["env_file"] == "some.env"


@pytest.mark.parametrize(
    "tail",
    [
        "environments:\n",
        "environments:\n    production:\n        count: 2   # two\n\n# The end.\n",
        "environments:\n  production:\n    command: |\n      a\n      b\ncount: 2\n",
        "environments: {}\n",
    ],
    ids=["empty", "four spaces", "in the middle", "empty flow"],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_manifest_keeps_every_other_line(tmp_path: Path, tail: str, end: str) -> None:
    text = (
        f"name: web\ntype: Load Balanced Web Service\nimage: {{build: Dockerfile, port: 80}}\n{tail}".replace(
            "\n", end
        )
    )
    folder = start_project(tmp_path / "shop", manifest=text)
    report = adopt(folder)
    after = (folder / "copilot/web/manifest.yml").read_bytes().decode()
    if tail.splitlines()[0] != "environments:" or tail.count("\n") == 1:
        assert after == text
        assert any("cannot be added to. It is to have:\n    environments:\n" in line for line in report.said)
        return
    lines = iter(after.split(end))
    assert all(line in lines for line in text.split(end))
    assert after.count("\n") == after.count(end)
    assert "copy_stage_db" in str(yaml.safe_load(after)["environments"]["test"])


def test_a_block_of_the_projects_own_is_left_and_said(tmp_path: Path) -> None:
    text = MANIFEST + "\nenvironments:\n  test:\n    count: 1\n"
    folder = start_project(tmp_path / "shop", manifest=text)
    report = adopt(folder)
    assert (folder / "copilot/web/manifest.yml").read_text() == text
    assert any(
        "`environments.test` of its own. Add to it what it lacks of:\n" in line for line in report.said
    )


def test_what_stands_there_already_is_never_overwritten(tmp_path: Path) -> None:
    own = {
        "tasks.py": "from invoke import task\n",
        "noxfile.py": "import nox\n",
        ".env.example": "MINE=1\n",
        "requirements.txt": "Django\n",
        "scripts/__init__.py": "",
        "scripts/stack.py": "# mine\n",
        ".dockerignore": "*\n!mysite",
        "copilot/web/overrides/cfn.patches.yml": "[]\n",
        "copilot/environments/overrides/cdk.json": "{}\n",
    }
    folder = start_project(tmp_path / "shop", own)
    report = adopt(folder)
    assert (folder / ".dockerignore").read_text().startswith("*\n!mysite\n# Test environments")
    for name in own.keys() - {".dockerignore"}:
        assert (folder / name).read_text() == own[name], name
    assert (folder / "test_environments.py").read_bytes() == (ROOT / "tasks.py").read_bytes()
    assert (folder / ".env.deploy.example").exists()
    left = "\n".join(line for line in report.said if line.startswith("Left as it is: "))
    patches = ("copilot/web/overrides/cfn.patches.yml", "copilot/environments/overrides")
    for name in ("tasks.py", "noxfile.py", ".env.example", "scripts/", *patches):
        assert f"Left as it is: {name}: " in left
    assert "from test_environments import *" in left
    commit(folder)
    assert adopt(folder).said[-1].startswith("Nothing to do")


@pytest.mark.parametrize(
    ("there", "instead"),
    [
        ("http:\n", "http: false\nx-http:\n"),
        ("http:\n", "x-http:\n"),
        ("cpu: 256 ", "environments:\n  production:\n    http: false\ncpu: 256 "),
    ],
    ids=["off in the base", "absent", "off in a block"],
)
def test_where_no_load_balancer_listens_the_service_gets_no_patches(
    tmp_path: Path, there: str, instead: str
) -> None:
    assert there in MANIFEST
    folder = start_project(tmp_path / "shop", manifest=MANIFEST.replace(there, instead))
    report = adopt(folder)
    path = "copilot/web/overrides/cfn.patches.yml"
    assert not (folder / path).exists()
    assert (folder / "copilot/environments/overrides/cfn.patches.yml").exists()
    left = [line for line in report.said if line.startswith(f"Left as it is: {path}: ")]
    assert len(left) == 1
    assert "RulePriorityFunction" in left[0]
    assert "`invoke check --fix` writes" in left[0]


def test_settings_that_manage_py_assigns_are_found(project: Path) -> None:
    file = project / "manage.py"
    text = re.sub(r"os\.environ\.setdefault\((.*), (.*)\)", r"os.environ[\1] = \2", file.read_text())
    assert 'os.environ["DJANGO_SETTINGS_MODULE"] =' in text.replace("'", '"')
    file.write_text(text)
    commit(project)
    adopt(project)
    assert "TEST_ACCESS" in (project / "mysite/settings.py").read_text()


def test_settings_that_read_a_database_url_keep_their_database(tmp_path: Path) -> None:
    folder = start_project(
        tmp_path / "shop",
        more_settings='import os\nDATABASES["default"]["X"] = os.getenv("DATABASE_URL")\n',
    )
    adopt(folder)
    text = (folder / "mysite/settings.py").read_text()
    assert 'DATABASES["default"] = database_url' not in text
    assert 'DATABASES["default"]["NAME"] +=' in text


def test_a_dockerfile_with_everything_copied_gets_only_what_it_lacks(tmp_path: Path) -> None:
    text = "FROM python:3.12-alpine\nWORKDIR /app\nCOPY . .\nRUN pip install 'psycopg[binary]' gunicorn"
    folder = start_project(tmp_path / "shop", {"Dockerfile": text})
    adopt(folder)
    after = (folder / "Dockerfile").read_text()
    assert after.startswith(text + "\n# Test environments")
    assert after.splitlines()[-1] == "RUN apk add --no-cache postgresql-client"


@pytest.mark.parametrize(
    ("there", "added"),
    [
        (None, ".env\n.sandbox/\n.worktrees/\n.venv/\n"),
        ("*.pyc\r\n/.venv\r\n# .env\r\n", ".env\r\n.sandbox/\r\n.worktrees/\r\n"),
        (".env\n.worktrees/\n.venv", "\n.sandbox/\n"),
        (".venv\n.worktrees\n.sandbox\n/.env", ""),
    ],
)
def test_git_is_told_to_ignore_what_is_nothing_to_commit(
    tmp_path: Path, there: str | None, added: str
) -> None:
    folder = start_project(tmp_path / "shop", {} if there is None else {".gitignore": there})
    report = adopt(folder)
    assert (folder / ".gitignore").read_bytes().decode() == (there or "") + added
    assert any("+++ b/.gitignore" in text for text in report.printed) == bool(added)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"requirements.txt": "Django\n"},
        {"requirements.txt": "Django\ngunicorn\npsycopg\nwhitenoise\n"},
        {"Dockerfile": "FROM python:3.12-slim\nCOPY mysite mysite\n"},
        {"Dockerfile": "FROM python:3.12-alpine\nCOPY mysite mysite\n"},
    ],
    ids=["nothing", "requirements", "all required", "Debian", "Alpine"],
)
def test_what_is_installed_is_one_layer(tmp_path: Path, given: dict[str, str]) -> None:
    folder = start_project(tmp_path / "shop", given)
    adopt(folder)
    text = (folder / "Dockerfile").read_text().replace("\\\n", "")
    instructions = [line.split()[0] for line in text.splitlines() if line and not line.startswith("#")]
    assert "RUN" in instructions
    assert ("RUN", "RUN") not in pairwise(instructions)


@pytest.mark.parametrize(
    ("dockerfile", "build", "why"),
    [
        ("# nothing\n", "Dockerfile", "it has no FROM"),
        ("FROM python\n", "{dockerfile: docker/Dockerfile}", "its build context is docker/"),
    ],
)
def test_a_dockerfile_that_cannot_be_added_to_is_named(
    tmp_path: Path, dockerfile: str, build: str, why: str
) -> None:
    text = MANIFEST.replace("build: Dockerfile", f"build: {build}")
    folder = start_project(
        tmp_path / "shop", {"Dockerfile": dockerfile, "docker/Dockerfile": dockerfile}, manifest=text
    )
    report = adopt(folder)
    assert any(why in line and "install the Postgres client" in line for line in report.said)


def test_this_repository_is_refused(tmp_path: Path) -> None:
    for place in (ROOT, ROOT / "demo"):
        with pytest.raises(Refused, match="in this repository"):
            adopt(place)
    link = tmp_path / "link"
    link.symlink_to(ROOT)
    with pytest.raises(Refused, match="in this repository"):
        adopt(link)


def test_no_repository_and_a_folder_within_one_are_refused(project: Path, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="is no Git repository"):
        adopt(tmp_path)
    with pytest.raises(Refused, match="a folder within the repository"):
        adopt(project / "mysite")


def test_uncommitted_changes_are_refused_only_where_they_would_be_edited(project: Path) -> None:
    (project / "mysite/urls.py").write_text("# changed\n")
    adopt(project, plan=True)
    (project / "mysite/settings.py").write_text((project / "mysite/settings.py").read_text() + "# changed\n")
    before = files(project)
    with pytest.raises(Refused, match=r"mysite/settings\.py in .* not committed"):
        adopt(project)
    assert files(project) == before


@pytest.mark.parametrize("name", ["scripts", "copilot/web/overrides", "mysite/settings.py"])
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
    with pytest.raises(Refused, match="is a link, and nothing is written behind one"):
        adopt(project)
    assert files(outside) == before


@pytest.mark.parametrize(
    ("spoil", "error", "why"),
    [
        ("rm copilot/.workspace", SettingsError, "is no Copilot workspace"),
        ("rm manage.py", SettingsError, "has no manage.py"),
        ("rm -r copilot/web", SettingsError, "has no Load Balanced Web Service"),
        ("cp -r copilot/web copilot/api", UsageError, "--service with one of api, web"),
        ("printf 'a: [' > copilot/web/manifest.yml", SettingsError, "cannot be read"),
        ("printf '\\377' > copilot/web/manifest.yml", SettingsError, "cannot be read"),
        ("sed -i 's/  build: .*/  location: x/' copilot/web/manifest.yml", SettingsError, "builds no image"),
        ("sed -i 's/^image:/image: 3\\nx:/' copilot/web/manifest.yml", SettingsError, "builds no image"),
        ("printf 'sidecars: 3' >> copilot/web/manifest.yml", SettingsError, "`sidecars` is no mapping"),
        ("rm mysite/settings.py", SettingsError, "mysite.settings are not at"),
        ("printf '\\377' > mysite/settings.py", SettingsError, "is not UTF-8"),
        ("echo 'x = (' >> mysite/settings.py", SettingsError, "cannot be read"),
        ("echo > manage.py", SettingsError, "names DJANGO_SETTINGS_MODULE"),
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
    with pytest.raises(error) as raised:
        adopt(project)
    assert why in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("command", ["", "{a: b}", "[1, 2]"])
def test_a_startup_command_that_the_copy_cannot_go_before_is_named(three: Path, command: str) -> None:
    file = three / "copilot/web/manifest.yml"
    lines = [
        f"    command: {command}" if "command:" in line else line for line in file.read_text().splitlines()
    ]
    file.write_text("\n".join(lines) + "\n")
    commit(three)
    with pytest.raises(SettingsError, match="has no command that the copy could be put before"):
        adopt(three)


@pytest.mark.parametrize(
    ("command", "copied"),
    [
        ("python manage.py migrate", "python manage.py copy_stage_db && python manage.py migrate"),
        ("['python', 'my start.py']", "python manage.py copy_stage_db && python 'my start.py'"),
    ],
)
def test_the_copy_is_put_before_every_kind_of_command(three: Path, command: str, copied: str) -> None:
    file = three / "copilot/web/manifest.yml"
    lines = [
        f"    command: {command}" if "command:" in line else line for line in file.read_text().splitlines()
    ]
    file.write_text("\n".join(lines) + "\n")
    commit(three)
    adopt(three)
    environments = manifest(three)["environments"]
    assert isinstance(environments, dict)
    assert environments["test"]["sidecars"]["startup"]["command"] == ["sh", "-c", copied]


@pytest.mark.parametrize("into", ["", "  ", "/no/such/folder"])
def test_a_place_that_is_none_is_a_usage_error(into: str) -> None:
    here, _ = bench()
    with pytest.raises(UsageError, match="--into"):
        workflow.adopt(here, into=into, service="", yes=True, plan=False)


def test_an_unknown_service_is_named_with_those_there_are(project: Path) -> None:
    with pytest.raises(SettingsError, match="called 'api': it has web"):
        adopt(project, service="api")


def test_an_adopted_project_sends_to_where_the_tasks_come_from(project: Path, tmp_path: Path) -> None:
    adopt(project)
    commit(project)
    other = start_project(tmp_path / "other")
    done = subprocess.run(
        [sys.executable, "-m", "invoke", "adopt", "--into", str(other), "--yes"],
        cwd=project, check=False, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert "in a clone of their origin" in done.stderr
    assert git(other, "status", "--porcelain") == ""


@dataclass
class Meanwhile(FakeReport):
    """A person who does something else before the answer, which is yes."""

    before: Callable[[], object] = lambda: None

    def ask(self, question: str) -> bool:
        self.before()
        return super().ask(question)


def adopt_while(folder: Path, happens: Callable[[], object]) -> None:
    here, _ = bench()
    here = replace(here, report=Meanwhile(answer=True, before=happens))
    workflow.adopt(here, into=str(folder), service="", yes=False, plan=False)


@pytest.mark.parametrize("name", ["mysite/settings.py", "copilot/web/manifest.yml", "tasks.py"])
def test_what_is_edited_or_made_while_the_question_waits_is_kept(project: Path, name: str) -> None:
    file = project / name
    mine = (file.read_text() if file.exists() else "") + "# mine\n"
    with pytest.raises(Refused, match=rf"{name} was changed meanwhile, so it was left alone: run this again"):
        adopt_while(project, lambda: file.write_text(mine))
    assert file.read_text() == mine


def test_a_folder_that_becomes_a_link_while_the_question_waits_is_not_written_into(
    project: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"

    def move_out() -> None:
        (project / "mysite").rename(outside)
        (project / "mysite").symlink_to(outside)

    with pytest.raises(Refused, match="mysite leads elsewhere"):
        adopt_while(project, move_out)
    assert "TEST_ACCESS" not in (outside / "settings.py").read_text()


def test_an_edited_file_keeps_its_mode(project: Path) -> None:
    (project / "mysite/settings.py").chmod(0o755)
    commit(project)
    adopt(project)
    assert (project / "mysite/settings.py").stat().st_mode & 0o777 == 0o755


def test_a_file_that_git_ignores_is_not_edited(project: Path) -> None:
    git(project, "rm", "--quiet", "--cached", "mysite/settings.py")
    (project / ".gitignore").write_text("settings.py\n")
    commit(project)
    before = files(project)
    with pytest.raises(Refused, match=r"^mysite/settings\.py in .* is not in Git, which ignores it"):
        adopt(project)
    assert files(project) == before


def test_a_file_that_cannot_be_written_is_named_and_leaves_no_draft(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("no folder")
    with pytest.raises(Failed, match=r"a/b could not be written: .*run it again"):
        changes.write(tmp_path, [Change("a/b", None, b"x")])
    assert [file.name for file in tmp_path.iterdir()] == ["a"]
