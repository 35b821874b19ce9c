"""Projects to adopt into: as startproject and `copilot svc init` write them, and as many teams have."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from scripts.command import RealShell
from scripts.environment import Bench
from scripts.settings import load
from tests.clone import IDENTITY, ROOT
from tests.fakes import FakeReport

# As `copilot svc init --name web --dockerfile ./Dockerfile` writes it: tests/e2e/test_adopt.py compares.
MANIFEST = (Path(__file__).with_name("svc-init.yml")).read_text()
ENVIRONMENT = "name: test\ntype: Environment\n"
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
    subprocess.run(
        [sys.executable, "-m", "django", "startproject", "mysite", str(folder)], check=True, cwd=folder
    )
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
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "config", "user.email", "ada@example.org")
    commit(folder)
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


def bench(*, answer: bool = False, test_env: str = "test") -> tuple[Bench, FakeReport]:
    """This repository's, with a person who answers."""
    report = FakeReport(answer=answer)
    settings = load(ROOT, {"TEST_ENV": test_env}, elsewhere=True)
    return Bench(settings, RealShell(), report, {}), report
