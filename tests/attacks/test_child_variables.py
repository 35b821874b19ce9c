"""Each kind of child process sees the variables of its allow-list and no other, whatever the user has set."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from copilot_sandbox import boot, lifecycle
from copilot_sandbox import child_variables as sandbox_variables
from copilot_sandbox import errors as sandbox_errors
from copilot_sandbox.images import build as builder
from copilot_sandbox.images import build_variables
from copilot_sandbox.images.store import ImageStore
from copilot_sandbox.postgres import PostgresServer
from copilot_sandbox.state import OWNER
from copilot_sandbox.workspace import Workspace
from copilot_testenv.check import files
from copilot_testenv.check import project as projects
from copilot_testenv.copilot import template_lint
from copilot_testenv.copilot.commands import Copilot
from copilot_testenv.core import child_variables, git
from copilot_testenv.core.process import Command, RealShell, Result
from copilot_testenv.core.settings import Settings, load
from copilot_testenv.deploys import preflight
from copilot_testenv.session import Session
from django_testenv.stage_copy import database
from tests.fakes import FakeReport

PLANTED = {
    "GITHUB_TOKEN": "ghp",
    "GITLAB_TOKEN": "glpat",
    "BITBUCKET_ACCESS_TOKEN": "atb",
    "NPM_TOKEN": "npm",
    "TWINE_PASSWORD": "pypi",
    "SSH_AUTH_SOCK": "/tmp/agent",  # noqa: S108 - only a text here
    "PROD_DATABASE_URL": "postgres://u:p@production/db",
    "DATABASE_URL": "postgres://u:p@production/db",
    "PGPASSWORD": "pg",
    "SECRET_KEY": "django",
    "AWS_ACCESS_KEY_ID": "AKIA",
    "AWS_SECRET_ACCESS_KEY": "aws",
    "AWS_SESSION_TOKEN": "session",
    "AWS_PROFILE": "production",
    "COPILOT_SECRET": "copilot",
    "DOCKER_AUTH_CONFIG": "{}",
    "GIT_CONFIG_COUNT": "0",
    "HTTPS_PROXY": "http://ada:secret@proxy.example:3128",
    "PIP_INDEX_URL": "https://ada:secret@pypi.example/simple",
    "PYTHONPATH": "/tmp/mine",  # noqa: S108 - only a text here
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "oidc",
    "LD_PRELOAD_OF_MINE": "x",
}
PLAIN = {"PATH": os.environ["PATH"], "HOME": "/home/ada", "LANG": "C.UTF-8", "LC_TIME": "C", "TERM": "xterm"}
AWS = {name for name in PLANTED if name.startswith("AWS_")}
GIT = {"SSH_AUTH_SOCK", "GIT_CONFIG_COUNT", "HTTPS_PROXY"}
DOCKER = {"DOCKER_AUTH_CONFIG", "SSH_AUTH_SOCK"}


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        monkeypatch.delenv(name)
    for name, value in {**PLAIN, **PLANTED}.items():
        monkeypatch.setenv(name, value)


def seen_by(command: Command) -> dict[str, str]:
    """What a child that is started as this command sees, said by `env` in its place."""
    said = RealShell().run(replace(command, argv=("env", "--null"), cwd=None))
    assert said.ok, said.stderr
    return dict(line.partition("=")[::2] for line in said.stdout.split("\0") if line)


class Noting(RealShell):
    """Starts nothing, and remembers what was to be started."""

    def __init__(self) -> None:
        self.ran: list[Command] = []

    def run(self, command: Command) -> Result:
        self.ran.append(command)
        return Result(0, "[]")


def test_there_are_twenty_planted_variables_at_least() -> None:
    assert len(PLANTED) >= 20


@pytest.mark.usefixtures("planted")
def test_a_command_sees_the_base_and_nothing_else() -> None:
    assert seen_by(Command(("x",))) == PLAIN
    assert seen_by(Command(("x",), env={"A": "1", "HOME": None})) == {
        name: value for name, value in {**PLAIN, "A": "1"}.items() if name != "HOME"
    }


@pytest.mark.usefixtures("planted")
def test_no_program_is_looked_for_in_the_folder_that_a_child_works_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", ".::bin:/usr/bin:node_modules/.bin:/bin")
    assert seen_by(Command(("x",)))["PATH"] == "/usr/bin:/bin"
    assert child_variables.path("/first") == "/first:/usr/bin:/bin"


@pytest.mark.usefixtures("planted")
def test_postgress_programs_in_the_image_see_none_of_the_projects_variables() -> None:
    assert database.base_environment() == {name: value for name, value in PLAIN.items() if name != "TERM"}


@pytest.mark.usefixtures("planted")
def test_git_sees_what_a_fetch_needs() -> None:
    own = {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    assert seen_by(git.command(Path.cwd(), "fetch")) == {
        **PLAIN, **own, **{name: PLANTED[name] for name in GIT}
    }  # fmt: skip


@pytest.mark.usefixtures("planted")
def test_copilot_sees_aws_docker_and_what_the_manifest_may_name(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELEASE", "7")
    some = replace(settings, manifest_variables=("RELEASE",))
    kept = AWS | DOCKER | {"HTTPS_PROXY"}
    own = {"GIT_DIR": os.devnull, "RELEASE": "7"}
    assert seen_by(Copilot(some, {}, settings.root).version()) == {
        **PLAIN, **own, **{name: PLANTED[name] for name in kept}
    }  # fmt: skip


@pytest.mark.usefixtures("planted")
def test_the_sandboxs_copilot_sees_the_sandboxs_aws_only(settings: Settings, tmp_path: Path) -> None:
    plane = {"AWS_ACCESS_KEY_ID": "sandbox", "HTTPS_PROXY": "http://127.0.0.1:1"}
    variables = lifecycle._child_variables(tmp_path, plane)
    seen = seen_by(Copilot(settings, variables, settings.root).version())
    assert seen.pop("PATH") == f"{tmp_path}{os.pathsep}{PLAIN['PATH']}"
    assert seen == {
        **{name: value for name, value in PLAIN.items() if name != "PATH"},
        **plane,
        "GIT_DIR": os.devnull,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        build_variables.WITHHELD: "HTTPS_PROXY,PIP_INDEX_URL",
    }


@pytest.mark.usefixtures("planted")
def test_docker_sees_its_own_settings(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    shell = Noting()
    monkeypatch.setattr(preflight.shutil, "which", lambda name: name)
    preflight._check_docker(Session(settings, shell, FakeReport(), {}))
    (command,) = shell.ran
    assert command.argv[:2] == ("docker", "info")
    assert seen_by(command) == {**PLAIN, **{name: PLANTED[name] for name in DOCKER}}


@pytest.mark.usefixtures("planted")
def test_hadolint_sees_the_base_only(workspace: Path) -> None:
    (workspace / "Dockerfile").write_text("FROM python:3.12\n")
    manifest = workspace / "copilot/web/manifest.yml"
    manifest.write_text(manifest.read_text() + "image: {build: Dockerfile}\n")
    shell = Noting()
    project = projects.read(load(workspace, {}), shell=shell)
    shell.ran.clear()
    assert list(files.dockerfiles(project)) == []
    assert [seen_by(command) for command in shell.ran] == [PLAIN]


@pytest.mark.usefixtures("planted")
def test_cfn_lint_keeps_the_base_only() -> None:
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            "import json, os, copilot_testenv.copilot.template_lint as lint\nlint._remove_variables()\n"  # noqa: ISC004 - one program
            "print(json.dumps(dict(os.environ)))",
        ],
        cwd=Path(template_lint.__file__).parents[2],
        env={**PLAIN, **{name: value for name, value in PLANTED.items() if name != "PYTHONPATH"}},
        check=True,
        capture_output=True,
        text=True,
    )
    assert json.loads(said.stdout) == PLAIN


@pytest.mark.usefixtures("planted")
def test_the_sandboxs_server_sees_its_own_settings(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SANDBOX_STAGE_MB", "5")
    program, seen = tmp_path / "python", tmp_path / "seen"
    program.write_text(f"#!/bin/sh\nenv --null > {seen}\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(lifecycle.sys, "executable", str(program))
    with pytest.raises(sandbox_errors.Failed, match="could not be started"):
        lifecycle.enter(settings.root, print, lambda: nullcontext(Workspace(settings.root, "demo")))
    found = dict(line.partition("=")[::2] for line in seen.read_text().split("\0") if line)
    found = {name: value for name, value in found.items() if name not in {"PWD", "_", "SHLVL", "OLDPWD"}}
    kept = {"PYTHONPATH": boot.SOURCES, "SANDBOX_STAGE_MB": "5", OWNER: str(settings.root / ".sandbox")}
    assert found == {
        **PLAIN, **kept, "HTTPS_PROXY": PLANTED["HTTPS_PROXY"], "PIP_INDEX_URL": PLANTED["PIP_INDEX_URL"]
    }  # fmt: skip


@pytest.mark.usefixtures("planted")
def test_postgres_sees_next_to_nothing(tmp_path: Path) -> None:
    server = PostgresServer(tmp_path / ".sandbox", env={OWNER: "mine"})
    command = Command(("x",), env=dict.fromkeys(PLAIN))
    assert seen_by(replace(command, env={**command.env, **server._as_user()["env"]})) == {
        "PATH": os.defpath, "LC_ALL": "C", OWNER: "mine"
    }  # fmt: skip


# What pip itself tells the processes that it starts.
OF_PIP = frozenset({"PIP_PYTHON", "PIP_BUILD_TRACKER", "PYTHONNOUSERSITE", "PYTHONPATH"})
# A build back end of the branch: it packs what it sees into the package that it builds.
BACK_END = """
import json, os, zipfile
def build_wheel(folder, *args, **kwargs):
    name = "evil-1-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        wheel.writestr("evil.json", json.dumps(dict(os.environ)))
        wheel.writestr("evil-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: evil\\nVersion: 1\\n")
        wheel.writestr("evil-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        wheel.writestr("evil-1.dist-info/RECORD", "")
    return name
"""
EVIL = {
    "evil/pyproject.toml": "[build-system]\nrequires = []\nbuild-backend = 'back_end'\n"
    "backend-path = ['.']\n",
    "evil/back_end.py": BACK_END,
}


def seen_by_back_end(
    tmp_path: Path, dockerfile: str, more: Mapping[str, str] | None = None
) -> dict[str, str]:
    context = tmp_path / "context"
    for path, text in {**EVIL, **(more or {}), "Dockerfile": dockerfile}.items():
        (context / path).parent.mkdir(parents=True, exist_ok=True)
        (context / path).write_text(text)
    digest = builder.build(context, context / "Dockerfile", tmp_path / ".sandbox", say=print)
    image = ImageStore(tmp_path / ".sandbox").load(digest)
    assert image is not None
    assert image.venv is not None
    (file,) = image.venv.rglob("evil.json")
    found: dict[str, str] = json.loads(file.read_text())
    return found


@pytest.mark.usefixtures("planted")
def test_a_build_back_end_of_the_branch_sees_nothing_of_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("SSL_CERT_FILE", "/etc/ssl/cert.pem")
    found = seen_by_back_end(
        tmp_path,
        "FROM python:3.12\nENV PIP_LOG=/tmp/log PIP_CONFIG_FILE=/root/pip.conf PIP_NO_DEPS=1 MINE=1\n"
        "COPY evil /evil\nRUN pip install /evil\n",
    )
    home = found.pop("HOME")
    assert home != PLAIN["HOME"]
    assert not Path(home).exists()  # it was thrown away
    assert found.pop("PIP_CACHE_DIR") == str(tmp_path / ".sandbox/pip")
    ours = {name: value for name, value in found.items() if not name.startswith(("_", "PEP517_"))}
    ours.pop("PATH")  # pip puts the folder of the build's requirements in front
    assert ours == {
        "LANG": PLAIN["LANG"],
        "LC_TIME": PLAIN["LC_TIME"],
        "SSL_CERT_FILE": "/etc/ssl/cert.pem",
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_USER": "0",
        "PIP_NO_INPUT": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        **{name: ours[name] for name in ours if name in OF_PIP},
    }
    assert ours.get("PYTHONPATH") != PLANTED["PYTHONPATH"]
    assert not any("secret" in value for value in found.values())


@pytest.mark.usefixtures("planted")
def test_pips_configuration_is_handed_on_without_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".config/pip").mkdir(parents=True)
    (tmp_path / ".config/pip/pip.conf").write_text(
        "[global]\nindex-url = https://pypi.example/simple\nno-index = true\n"
        "extra-index-url =\n  https://a.example/simple\n  https://ada:secret@b.example/simple\n"
        "[install]\nlog = /etc/log\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PIP_INDEX_URL")
    monkeypatch.delenv("HTTPS_PROXY")
    handed_on = build_variables.forwarded()
    assert handed_on == {
        "PIP_INDEX_URL": "https://pypi.example/simple",
        "PIP_NO_INDEX": "true",
        build_variables.WITHHELD: "PIP_EXTRA_INDEX_URL",
    }
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM python:3.12\nRUN pip install no-such-package-at-all\n")
    with pytest.raises(Exception, match=r"PIP_EXTRA_INDEX_URL.*Use an index") as failed:
        builder.build(context, context / "Dockerfile", tmp_path / ".sandbox", say=print)
    assert "secret" not in str(failed.value)


@pytest.mark.parametrize(
    ("value", "has"),
    [
        ("https://pypi.example/simple", False),
        ("file:///opt/pypi/simple file:///opt/a@b/simple", False),
        ("/opt/wheels", False),
        ("https://pypi.example/simple,https://b.example", False),
        ("https://ada:p@pypi.example/simple", True),
        ("https://ada@pypi.example/simple", True),
        ("https://a.example https://ada:p@b.example", True),
        ("ada:p@proxy.example:3128", True),
        ("http://[::1@x", True),
        ("HTTPS://ADA:P@PYPI.EXAMPLE", True),
        ("https://ada:p%40q@x", True),
        ("https:/ada:p@x", True),
    ],
)
def test_what_has_credentials_is_known(value: str, has: bool) -> None:  # noqa: FBT001 - a case's answer
    assert sandbox_variables.has_credentials(value) is has


@pytest.mark.usefixtures("planted")
def test_a_module_beside_the_requirements_is_not_taken_for_one_of_pips(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    evil = f"open({str(seen)!r}, 'w').write('ran')\n"
    found = seen_by_back_end(
        tmp_path,
        "FROM python:3.12\nWORKDIR /app\nCOPY . .\nRUN pip install ./evil\n",
        {"pip/__init__.py": "", "pip/__main__.py": evil, "logging.py": evil, "sitecustomize.py": evil},
    )
    assert found
    assert not seen.exists()


def test_a_build_argument_takes_no_value_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from copilot_sandbox.images import docker, registry  # noqa: PLC0415 - as the program does

    monkeypatch.setenv("GITHUB_TOKEN", "ghp")
    (tmp_path / "Dockerfile").write_text("FROM python:3.12\nARG GITHUB_TOKEN\nENV SEEN=x${GITHUB_TOKEN}\n")
    state = tmp_path / ".sandbox"
    words = [
        "build",
        "-t",
        "a:b",
        "--build-arg",
        "GITHUB_TOKEN",
        str(tmp_path),
        "-f",
        str(tmp_path / "Dockerfile"),
    ]
    assert docker.main([str(state), *words]) == 0
    digest = registry.tagged(state, "a:b")
    assert digest is not None
    image = ImageStore(state).load(digest)
    assert image is not None
    assert image.env["SEEN"] == "x"
