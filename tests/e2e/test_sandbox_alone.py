"""The sandbox by itself, in a workspace that knows nothing of these tasks; the tests run in this order."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.clone import ROOT, Ran, get
from tests.sandbox.fake_control_plane import require

pytestmark = pytest.mark.e2e

# A task without a namespace has no ports of its own: this one must be free on the machine.
with closing(socket.create_server(("127.0.0.1", 0))) as probe:
    PORT = str(probe.getsockname()[1])
APP = """\
import http.server
import os
import sys


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"hello from {os.environ['COPILOT_ENVIRONMENT_NAME']}".encode())


print("serving", flush=True)
host, port = sys.argv[1].split(":")
http.server.ThreadingHTTPServer((host, int(port)), Page).serve_forever()
"""
DOCKERFILE = f"""\
FROM python:3.12-slim
WORKDIR /app
COPY app.py .
EXPOSE {PORT}
CMD ["python", "app.py", "0.0.0.0:{PORT}"]
"""
SERVICE = f"""\
name: web
type: Load Balanced Web Service
image: {{build: Dockerfile, port: {PORT}}}
http: {{path: /}}
cpu: 256
memory: 512
"""


@dataclass(frozen=True)
class Folder:
    """A folder with a small web application, and the command in it."""

    path: Path

    def run(self, *words: str) -> Ran:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AWS_", "COPILOT_", "SANDBOX_")) and name not in {"CI", "DEPLOY_TARGET"}
        }
        done = subprocess.run(
            [sys.executable, "-m", "copilot_sandbox", *words],
            check=False, cwd=self.path, env={**kept, "PYTHONPATH": str(ROOT / "scripts/sandbox")},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=280,
        )  # fmt: skip
        return Ran(done.returncode, done.stdout, done.stderr, 0)

    def copilot(self, *words: str) -> Ran:
        return self.run("exec", "--", "copilot", *words)

    def processes(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("SANDBOX_OWNER") == str(self.path / ".sandbox"):
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    """An application, two environments whose names Postgres has too or knows nothing of, and a service."""
    folder = Folder(tmp_path_factory.mktemp("shop"))
    write(folder, {
        "copilot/.workspace": "application: shop\n",
        "copilot/environments/postgres/manifest.yml": "name: postgres\ntype: Environment\n",
        "copilot/environments/test/manifest.yml": "name: test\ntype: Environment\n",
        "copilot/web/manifest.yml": (
            f"{SERVICE}secrets:\n"
            "  DATABASE_URL: /copilot/shop/${COPILOT_ENVIRONMENT_NAME}/secrets/DATABASE_URL\n"
        ),
    })  # fmt: skip
    yield folder
    folder.run("reset", "--yes")


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    folder = Folder(tmp_path_factory.mktemp("empty"))
    write(folder, {})
    yield folder
    folder.run("reset", "--yes")


def write(folder: Folder, files: dict[str, str]) -> None:
    for name, text in {"app.py": APP, "Dockerfile": DOCKERFILE, **files}.items():
        (folder.path / name).parent.mkdir(parents=True, exist_ok=True)
        (folder.path / name).write_text(text)


def url_in(ran: Ran) -> str:
    """The URL that Copilot printed at the end of a deploy."""
    assert ran.code == 0, ran.out + ran.err
    found = re.search(r"accessible at (http://\S+)", ran.out + ran.err)
    assert found, ran.out + ran.err
    return found[1]


def test_a_workspace_is_deployed_by_copilot_alone(shop: Folder) -> None:
    before = sorted(file for file in shop.path.rglob("*") if ".sandbox" not in file.parts)
    url = url_in(shop.copilot("svc", "deploy", "--name", "web", "--env", "test", "--tag", "one"))
    assert get(url) == (200, "hello from test")
    assert before == sorted(file for file in shop.path.rglob("*") if ".sandbox" not in file.parts)


def test_what_aws_would_refuse_is_told_once(shop: Folder) -> None:
    told = [shop.run("exec", "--", "true").err.count("no longer creates Lambda functions") for _ in range(2)]
    assert told == [1, 0]


def test_an_environment_of_any_name_is_deployed_to_with_a_database_of_its_own(shop: Folder) -> None:
    require("namespace")  # or the two environments' tasks take each other's port
    url = url_in(shop.copilot("svc", "deploy", "--name", "web", "--env", "postgres", "--tag", "one"))
    assert get(url) == (200, "hello from postgres")


def test_copilot_shows_what_is_deployed(shop: Folder) -> None:
    require("namespace")
    assert "test" in shop.copilot("app", "show").out
    shown = json.loads(shop.copilot("svc", "show", "--name", "web", "--json").out)
    urls = {route["environment"]: route["url"].rstrip("/") for route in shown["routes"]}
    assert set(urls) == {"postgres", "test"}
    assert "1/1" in shop.copilot("svc", "status", "--name", "web", "--env", "test").out
    logs = shop.copilot("svc", "logs", "--name", "web", "--env", "test", "--limit", "1000")
    assert "serving" in logs.out + logs.err
    status = shop.run("status")
    assert status.code == 0
    assert [line.strip() for line in status.out.splitlines()[1:]] == [
        f"web in {name}: {urls[name]}" for name in ("postgres", "test")
    ]


def test_the_commands_exit_code_is_the_commands(shop: Folder) -> None:
    assert shop.run("exec", "--", "sh", "-c", "exit 7").code == 7
    assert shop.copilot("svc", "show", "--name", "nothing").code == 1


def test_a_service_is_deleted_and_the_sandbox_leaves_no_process(shop: Folder) -> None:
    ran = shop.copilot("svc", "delete", "--name", "web", "--env", "test", "--yes")
    assert ran.code == 0, ran.err
    assert "web in test" not in shop.run("status").out
    assert shop.processes()
    assert shop.run("stop").code == 0
    assert shop.processes() == []
    assert "does not run" in shop.run("status").out


@pytest.mark.nightly
def test_an_empty_folder_becomes_a_workspace_by_copilots_own_commands(empty: Folder) -> None:
    for words in (
        ("app", "init", "fresh"),
        ("env", "init", "--name", "dev", "--default-config", "--profile", "sandbox"),
        ("env", "deploy", "--name", "dev"),
        ("svc", "init", "--name", "web", "--svc-type", "Load Balanced Web Service",
         "--dockerfile", "./Dockerfile", "--port", PORT),
    ):  # fmt: skip
        ran = empty.copilot(*words)
        assert ran.code == 0, (words, ran.out + ran.err)
    url = url_in(empty.copilot("svc", "deploy", "--name", "web", "--env", "dev", "--tag", "one"))
    assert get(url) == (200, "hello from dev")


@pytest.mark.nightly
def test_a_workspace_whose_environment_has_no_manifest_starts_and_takes_one(empty: Folder) -> None:
    assert empty.run("stop").code == 0
    (empty.path / "copilot/environments/dev/manifest.yml").unlink()
    ran = empty.copilot("env", "ls")
    assert (ran.code, ran.out.strip()) == (0, "")
    (empty.path / "copilot/environments/dev").rmdir()
    (empty.path / "copilot/environments").rmdir()
    assert empty.run("stop").code == 0
    ran = empty.copilot("env", "init", "--name", "qa", "--default-config", "--profile", "sandbox")
    assert ran.code == 0, ran.err
    assert empty.copilot("env", "ls").out.strip() == "qa"
