"""Projects to adopt into: as startproject and `copilot svc init` write them, and as many teams have."""

from __future__ import annotations

import functools
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

import copilot_testenv
from copilot_testenv.adopt import workflow
from copilot_testenv.core.process import RealShell
from copilot_testenv.core.settings import load
from copilot_testenv.session import Session
from tests.clone import IDENTITY, ROOT
from tests.fakes import FakeReport

# As `copilot svc init --name web --dockerfile ./Dockerfile` writes it: tests/e2e/test_adopt.py compares.
MANIFEST = (Path(__file__).with_name("svc-init.yml")).read_text()
ENVIRONMENT = "name: test\ntype: Environment\n"
VERSION = copilot_testenv.__version__
RUNTIME = f"vendor/django_testenv-{VERSION}-py3-none-any.whl"
WHEELS = {
    f"{name}-{VERSION}-py3-none-any.whl": f"a wheel of {name}".encode()
    for name in ("copilot_testenv", "copilot_sandbox", "django_testenv")
}
PROXY = """
server {
    listen 80;
    location /static/ { alias /static/; }
    location / {
        proxy_pass http://localhost:8000;
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-Proto $http_x_forwarded_proto;
    }
}
"""
THREE = {
    "copilot/web/manifest.yml": """# nginx before Django: it has the static files, the rest goes on.
name: web
type: Load Balanced Web Service

http:
  path: '/'
  target_container: nginx
  healthcheck: /admin/login/

image:
  build:
    dockerfile: Dockerfile
    context: .
  port: 8000
  depends_on: {startup: success}

cpu: 256
memory: 512
count: 2
variables: &django          # what every container of Django's is given
  DJANGO_SETTINGS_MODULE: mysite.settings
  STATIC_ROOT: /static
secrets:
  SECRET_KEY: /copilot/${COPILOT_APPLICATION_NAME}/${COPILOT_ENVIRONMENT_NAME}/secrets/SECRET_KEY
storage:
  volumes:
    static: {path: /static, read_only: true}
sidecars:
  nginx:
    port: 80
    image:
      build: {dockerfile: nginx/Dockerfile, context: nginx}
    mount_points:
      - {source_volume: static, path: /static, read_only: true}
  startup:
    essential: false
    image: {build: {dockerfile: Dockerfile, context: .}}
    command: ["sh", "-c", "python manage.py migrate --noinput && python manage.py collectstatic --noinput"]
    variables: *django
    secrets:
      SECRET_KEY: /copilot/${COPILOT_APPLICATION_NAME}/${COPILOT_ENVIRONMENT_NAME}/secrets/SECRET_KEY
    mount_points:
      - {source_volume: static, path: /static}

environments:
  production:
    count: 4

# The end.
""",
    "nginx/Dockerfile": "FROM nginx:1.27-alpine\nCOPY default.conf /etc/nginx/conf.d/default.conf\n",
    "nginx/default.conf": PROXY,
    "Dockerfile": """FROM python:3.12-slim AS base
WORKDIR /srv
COPY requirements.txt ./
RUN pip install -r requirements.txt
COPY mysite mysite
COPY manage.py ./
USER nobody
CMD ["gunicorn", "mysite.wsgi", "--bind", "0.0.0.0:8000"]
""",
    "requirements.txt": "Django>=5.2,<5.3\ngunicorn\npsycopg2-binary\n",
}


def start_project(
    folder: Path, files: Mapping[str, str] | None = None, manifest: str = MANIFEST, more_settings: str = ""
) -> Path:
    """A fresh Django project with Copilot's manifests, committed; `files` are written over it."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(_started())) as fresh:
        fresh.extraction_filter = getattr(tarfile, "tar_filter", None)  # Python 3.11.4 has it, 3.11.0 not
        fresh.extractall(folder)  # noqa: S202 - an archive of our own
    with (folder / "mysite/settings.py").open("a") as file:
        file.write(more_settings)
    given = {
        "copilot/.workspace": "application: mysite\n",
        "copilot/web/manifest.yml": manifest,
        "copilot/environments/test/manifest.yml": ENVIRONMENT,
        **(files or {}),
    }
    for name, text in given.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, newline="")
    commit(folder)
    return folder


@functools.cache
def _started() -> bytes:
    """An archive of what startproject writes, in a repository without a commit: made once in a process."""
    packed = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=packed, mode="w") as archive:
        subprocess.run([sys.executable, "-m", "django", "startproject", "mysite", folder], check=True)
        begin_repository(Path(folder))
        archive.add(folder, "")
    return packed.getvalue()


def begin_repository(folder: Path) -> None:
    git(folder, "init", "--quiet", "--initial-branch=main", "--template=")
    for name, value in (("user.email", "ada@example.org"), ("maintenance.auto", "false")):
        git(folder, "config", name, value)


def start_in_monorepo(top: Path) -> Path:
    """A fresh project in a folder of a repository that has others too, committed."""
    folder = start_project(top / "services/shop")
    shutil.rmtree(folder / ".git")
    (top / "services/other").mkdir()
    (top / "services/other/main.py").write_text("print(1)\n")
    begin_repository(top)
    commit(top)
    return folder


def three_containers(folder: Path) -> Path:
    """The shape that many teams have: nginx as the load balancer's target, Django, startup."""
    static = 'import os\nSTATIC_ROOT = os.environ.get("STATIC_ROOT", "staticfiles")\n'
    return start_project(folder, THREE, more_settings=static)


def git(folder: Path, *words: str) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *words],
        check=True, capture_output=True, text=True, env={**os.environ, **IDENTITY},
    ).stdout  # fmt: skip


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "As it stands")


def session(*, answer: bool = False, test_env: str = "test") -> tuple[Session, FakeReport]:
    """This repository's, with a person who answers."""
    report = FakeReport(answer=answer)
    settings = load(ROOT, {"TEST_ENV": test_env}, elsewhere=True)
    return Session(settings, RealShell(), report, {}), report


def install(folder: Path, into: Path) -> Path:
    """Unpack the wheels of an adopted project that its requirement names, as pip would."""
    for wheel in (folder / "vendor").glob("copilot_*.whl"):
        with zipfile.ZipFile(wheel) as opened:
            opened.extractall(into)  # noqa: S202 - wheels of our own
    return into


def adopt(
    folder: Path,
    *,
    yes: bool = True,
    plan: bool = False,
    check: bool = False,
    service: str = "",
    take: str = "",
    test_env: str = "test",
    media: str = "",
) -> FakeReport:
    here, report = session(test_env=test_env)
    options = workflow.Options(str(folder), service, take=take, check=check, yes=yes, plan=plan, media=media)
    workflow.adopt(here, options)
    return report


def adopted(folder: Path, **options: Any) -> Path:
    """Adopt and commit."""
    adopt(folder, **options)
    commit(folder)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and not {".git", "__pycache__"} & set(file.relative_to(folder).parts)
    }


def manifest(folder: Path) -> Any:
    return yaml.safe_load((folder / "copilot/web/manifest.yml").read_text())
