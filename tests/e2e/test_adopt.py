"""Projects that are not ours: made by django-admin and Copilot, adopted, and served by the adopted tasks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from copilot_sandbox import lifecycle
from copilot_sandbox.agent import nginx
from copilot_sandbox.workspace import Workspace
from copilot_testenv.core.process import Command, RealShell, output_of
from tests.adopt.project import MANIFEST, install, start_in_monorepo, start_project, three_containers
from tests.clone import ROOT, Clone, get
from tests.e2e.looks import deployed

pytestmark = pytest.mark.e2e

# Copilot asks for no more than this before it writes a manifest.
DOCKER = """#!/bin/sh
echo '{"Os":"linux","Arch":"amd64","OSType":"linux","Architecture":"x86_64"}'
"""


class Adopted(Clone):
    """A project of somebody else's, with what the tests know to do with a clone of ours."""

    environments = ""  # as a person gets it: the test environment alone

    def __init__(self, folder: Path, installed: Path) -> None:
        self.folder = folder
        self.stage_megabytes = 1
        self.installed = installed  # where the wheels of the tasks are unpacked

    def environ(self, **more: str) -> dict[str, str]:
        """What a shell has in which the project's requirement is installed."""
        return super().environ(PYTHONPATH=str(self.installed), **more)

    def importing(self, **more: str) -> dict[str, str]:
        return self.environ(**more)

    def adopt(self) -> str:
        """What this repository's `invoke adopt` says."""
        done = subprocess.run(
            [sys.executable, "-m", "invoke", "adopt", "--into", str(self.folder), "--yes"],
            cwd=ROOT, env=super().environ(), check=True, capture_output=True, text=True,
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        install(self.folder, self.installed)
        return done.stderr


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Adopted]:
    """A fresh project, its manifests written by Copilot."""
    project = Adopted(start_project(tmp_path_factory.mktemp("shop")), tmp_path_factory.mktemp("installed"))
    shutil.rmtree(project.folder / "copilot/web")
    (project.folder / "Dockerfile").write_text("FROM python:3.12-slim\nEXPOSE 8000\n")
    let_copilot_write_manifests(project.folder)
    (project.folder / "Dockerfile").unlink()  # Copilot only wanted to see one
    project.commit("As Copilot writes it")
    yield project
    project.stop()


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Adopted]:
    """nginx, Django and startup, adopted."""
    project = Adopted(
        three_containers(tmp_path_factory.mktemp("three")), tmp_path_factory.mktemp("installed")
    )
    project.adopt()
    project.commit("Adopted")
    yield project
    project.stop()


@pytest.fixture(scope="module")
def below(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Adopted]:
    """A project that is a folder of its repository, adopted."""
    project = Adopted(
        start_in_monorepo(tmp_path_factory.mktemp("monorepo")), tmp_path_factory.mktemp("installed")
    )
    project.adopt()
    project.commit("Adopted")
    yield project
    project.stop()


def let_copilot_write_manifests(folder: Path) -> None:
    """`copilot svc init` and `copilot env init` on an embedded AWS of the moment."""
    shell = RealShell()
    with lifecycle.rendering(Workspace(folder, "mysite"), ["test"], "", alone=False) as (variables, failed):
        assert not failed
        programs = Path(str(variables["PATH"]).split(":")[0])
        programs.mkdir(exist_ok=True)
        (programs / "docker").write_text(DOCKER)
        (programs / "docker").chmod(0o755)
        copilot = str(Path(sys.executable).with_name("copilot"))
        words = ("svc", "init", "--name", "web", "--svc-type", "Load Balanced Web Service")
        command = Command((copilot, *words, "--dockerfile", "./Dockerfile"), env=variables, cwd=folder)
        output_of(shell, command, "copilot svc init")


def test_an_adopted_startproject_serves_a_branch(shop: Adopted) -> None:
    assert (shop.folder / "copilot/web/manifest.yml").read_text() == MANIFEST
    shop.adopt()
    shop.commit("Adopted")
    assert "Nothing to do" in shop.adopt()
    assert shop.git("status", "--porcelain") == ""
    shop.git("branch", "feature/x")

    url = deployed(shop.invoke("deploy-test", "--branch", "feature/x"))
    assert get(f"{url}/healthz") == (200, "ok\n")
    status, page = get(f"{url}/admin/login/")
    assert status == 200
    assert "csrfmiddlewaretoken" in page
    assert get(f"{url}/static/admin/css/base.css")[0] == 200  # collected at the start, served by whitenoise
    checked = shop.invoke("check")
    assert (checked.code, checked.out) == (0, ""), checked.out


@pytest.mark.nightly
def test_three_containers_are_served_without_nginx_and_that_is_said(three: Adopted) -> None:
    hidden = [folder for folder in os.environ["PATH"].split(":") if not (Path(folder) / "nginx").exists()]
    ran = three.invoke("deploy-test", "--branch", "main", PATH=":".join(hidden))
    url = deployed(ran)
    assert "nginx: there is no nginx on PATH: a relay stands in for it" in ran.err
    assert "csrfmiddlewaretoken" in get(f"{url}/admin/login/")[1]
    assert "a relay stands in" in three.invoke("logs", "--container", "nginx").out


@pytest.mark.nightly
@pytest.mark.skipif(nginx.program() is None, reason="no nginx on PATH: install it to see it run")
def test_three_containers_are_served_by_nginx(three: Adopted) -> None:
    three.invoke("sandbox", "--stop")  # as it runs, it knows of no nginx
    ran = three.invoke("deploy-test", "--branch", "main")
    url = deployed(ran)
    assert "stands in" not in ran.err
    assert get(f"{url}/static/admin/css/base.css")[0] == 200  # nginx's own part
    assert "csrfmiddlewaretoken" in get(f"{url}/admin/login/")[1]
    assert "GET /static/admin/css/base.css" in three.invoke("logs", "--container", "nginx").out


@pytest.mark.nightly
def test_a_project_below_the_top_of_its_repository_is_served(below: Adopted) -> None:
    below.git("checkout", "--quiet", "-b", "feature/x")
    urls = below.folder / "mysite/urls.py"
    urls.write_text(urls.read_text() + "# changed\n")
    below.commit("Work on it")
    below.git("checkout", "--quiet", "main")

    url = deployed(below.invoke("deploy-test", "--branch", "feature/x"))
    assert get(f"{url}/healthz") == (200, "ok\n")
    assert "csrfmiddlewaretoken" in get(f"{url}/admin/login/")[1]
    isolated = deployed(below.invoke("deploy-test", "--branch", "feature/x", "--isolated"))
    assert get(f"{isolated}/healthz") == (200, "ok\n")
    assert (below.folder / ".worktrees").is_dir()
    top = below.folder.parents[1]
    assert {each.name for each in top.iterdir()} == {".git", "services"}
    assert below.git("status", "--porcelain") == ""
    checked = below.invoke("check")
    assert (checked.code, checked.out) == (0, ""), checked.out
