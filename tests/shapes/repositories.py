"""Toy repositories of the layouts that people have: each is a small Django project with Copilot manifests."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.adopt.project import begin_repository, commit
from tests.shapes.texts import (
    DOCKERFILE,
    MANAGE,
    MANIFEST,
    NGINX,
    REQUIREMENTS,
    SETTINGS,
    START,
    STARTED,
    URLS,
    WORKER,
    WSGI,
)

PAGE = "The shop has 0 users."


@dataclass(frozen=True)
class Shape:
    """A repository: its files, the folder to adopt, and what is said there as steps to do by hand."""

    files: Mapping[str, str]
    into: str = "."
    steps: tuple[str, ...] = ()
    environments: tuple[str, ...] = ("test", "production")
    workspace: str = "."
    files_of_environments: Mapping[str, str] = field(default_factory=dict)
    needs_registry: bool = False  # with an engine: of an image or a package that nobody makes here

    def write(self, folder: Path) -> Path:
        """Write and commit the repository; return the folder to adopt."""
        files = dict(self.files)
        for name in self.environments:
            path = posixpath.normpath(f"{self.workspace}/copilot/environments/{name}/manifest.yml")
            more = self.files_of_environments.get(name, "")
            files[path] = f"name: {name}\ntype: Environment\n{more}"
        # The application of the embedded AWS that tests share.
        files[posixpath.normpath(f"{self.workspace}/copilot/.workspace")] = "application: demo\n"
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        begin_repository(folder)
        commit(folder)
        return folder / self.into


def django(folder: str = "", *, settings: str = "shop.settings") -> dict[str, str]:
    """A project whose page counts the users, in a folder that is empty or ends with a slash."""
    return {
        f"{folder}manage.py": MANAGE.format(settings=settings),
        f"{folder}shop/__init__.py": "",
        f"{folder}shop/settings.py": SETTINGS,
        f"{folder}shop/urls.py": URLS,
        f"{folder}shop/wsgi.py": WSGI.format(settings=settings),
        f"{folder}requirements.txt": REQUIREMENTS,
    }


def dockerfile(requirements: str = "requirements.txt", source: str = ".") -> str:
    return DOCKERFILE.format(requirements=requirements, source=source)


_PACKAGE = {
    "shop/settings/__init__.py": "",
    "shop/settings/base.py": SETTINGS.replace("parent.parent", "parent.parent.parent"),
    "shop/settings/dev.py": "from .base import *\n\nDEBUG = True\n",
    "shop/settings/production.py": "from shop.settings.base import *\n\nSECURE_HSTS_SECONDS = 60\n",
}
_BASE_FOR_ALL = """FROM python:3.12-slim AS base
ENV APP=/srv/app
WORKDIR $APP
COPY requirements.txt ./
RUN pip install -r requirements.txt
RUN useradd --no-create-home worker
USER worker

FROM base AS app
COPY manage.py ./
COPY shop shop
CMD ["gunicorn", "shop.wsgi", "--bind", "0.0.0.0:8000"]

FROM app AS debug
RUN pip install debugpy
CMD ["python", "manage.py", "runserver"]
"""
_CELERY = """FROM python:3.9-slim
WORKDIR /work
COPY . .
RUN pip install -r requirements.txt
USER nobody
CMD ["celery", "-A", "shop", "worker"]
"""
_POETRY = """[tool.poetry]
name = "shop"
version = "1.0"
description = ""
authors = []
package-mode = false

[tool.poetry.dependencies]
python = "^3.9"
Django = ">=5.2,<5.3"
gunicorn = "*"
psycopg2-binary = "*"
"""
_POETRY_DOCKERFILE = """FROM python:3.12-slim
RUN pip install poetry
WORKDIR /srv
COPY pyproject.toml ./
RUN poetry config virtualenvs.create false && poetry install --no-root
COPY . .
CMD ["gunicorn", "shop.wsgi", "--bind", "0.0.0.0:8000"]
"""
_TASKS = """from invoke import Collection, task


@task
def tidy(context):
    \"\"\"Format the code.\"\"\"


ns = Collection(tidy)
"""
_WHEELS_DOCKERFILE = """FROM python:3.12-slim AS wheels
COPY requirements.txt /tmp/
RUN pip wheel --wheel-dir /wheels -r /tmp/requirements.txt

FROM python:3.12-slim
COPY --from=wheels /wheels /wheels
RUN pip install --no-index --find-links=/wheels /wheels/*
WORKDIR /srv
COPY . .
USER nobody
CMD ["gunicorn", "shop.wsgi", "--bind", "0.0.0.0:8000"]
"""
# As a team has them that gets everything from the manifest.
_STRICT_SETTINGS = SETTINGS.replace(
    'os.environ.get("SECRET_KEY", "for this machine")', 'os.environ["SECRET_KEY"]'
)
_STRICT_SETTINGS += """PAGE_SIZE = int(os.environ["PAGE_SIZE"])
STRIPE_API_KEY = os.environ["STRIPE_API_KEY"]
REGION = os.environ["SHOP_REGION"]
SECURE_SSL_REDIRECT = True
SESSION_COOKIE_SECURE = True
"""
_SECRETS = """variables:
  SHOP_REGION: north
secrets:
  SECRET_KEY: /shop/${COPILOT_ENVIRONMENT_NAME}/SECRET_KEY
  STRIPE_API_KEY: {secretsmanager: 'shop/${COPILOT_ENVIRONMENT_NAME}/stripe:key::'}
  PAGE_SIZE: /shop/${COPILOT_ENVIRONMENT_NAME}/PAGE_SIZE
"""

_OF_STAGE = """variables:
  REDIS_URL: redis://shop-stage.abc123.euw1.cache.amazonaws.com:6379/0
secrets:
  DATABASE_URL: /copilot/${COPILOT_APPLICATION_NAME}/${COPILOT_ENVIRONMENT_NAME}/secrets/DATABASE_URL
"""
# A Worker Service that nobody has deployed to a test environment yet, with anchors, numbers and addons.
_WORKER_OF_STAGE = f"""name: worker
type: Worker Service
x-sizes: &sizes
  cpu: 512
  memory: 1024
image:
  build: {{dockerfile: ./Dockerfile}}
  healthcheck: {{command: [CMD-SHELL, 'true'], interval: 30s, retries: 3}}
command: [celery, --app, shop, worker, --concurrency, 02]
<<: *sizes
count: 2
{_OF_STAGE}environments:
  production:
    command: celery --app shop worker --concurrency 8
    variables: {{UMASK: 0027}}
  stage:
    variables: {{UMASK: 0022, EAGER: no, VERSION: 1.10}}
    secrets: {{LICENCE: /shop/production/LICENCE}}
"""
_MEDIA = """Parameters:
  App: {Type: String}
  Env: {Type: String}
  Name: {Type: String}
Resources:
  Media:
    Type: AWS::S3::Bucket
Outputs:
  MediaName:
    Value: !Ref Media
"""

SHAPES: dict[str, Shape] = {
    "all in one folder": Shape(
        {
            **django(),
            "Dockerfile": dockerfile(),
            "copilot/web/manifest.yml": MANIFEST.format(build="Dockerfile"),
        }
    ),
    "four folders, the context is the top": Shape(
        {
            **django("backend/"),
            "docker/web.Dockerfile": dockerfile("backend/requirements.txt", "backend/"),
            "infra/copilot/web/manifest.yml": MANIFEST.format(
                build="{dockerfile: ../docker/web.Dockerfile, context: ..}"
            ),
        },
        workspace="infra",
    ),
    "four folders, the context is manage.py's": Shape(
        {
            **django("backend/"),
            "backend/Dockerfile": dockerfile(),
            "backend/.dockerignore": "*\n!manage.py\n!shop\n!requirements.txt\n",
            "infra/copilot/web/manifest.yml": MANIFEST.format(build="../backend/Dockerfile"),
        },
        into="infra",
        workspace="infra",
    ),
    "manage.py below copilot": Shape(
        {
            **django("app/"),
            "app/Dockerfile": dockerfile(),
            "copilot/web/manifest.yml": MANIFEST.format(build="{context: app}"),
        }
    ),
    "everything copied, manage.py not where it starts": Shape(
        {
            **django("src/"),
            "Dockerfile": dockerfile("src/requirements.txt").replace(
                'CMD ["gunicorn",', 'CMD ["gunicorn", "--chdir", "src",'
            ),
            "copilot/web/manifest.yml": MANIFEST.format(build="Dockerfile"),
        }
    ),
    "no Dockerfile, manage.py below": Shape(
        {**django("app/"), "copilot/web/manifest.yml": MANIFEST.format(build="Dockerfile")}
    ),
    "a target among stages": Shape(
        {
            **django(),
            "Dockerfile": _BASE_FOR_ALL,
            "copilot/web/manifest.yml": MANIFEST.format(build="{dockerfile: Dockerfile, target: app}"),
        }
    ),
    "a settings package": Shape(
        {
            **{path: text for path, text in django().items() if path != "shop/settings.py"},
            **_PACKAGE,
            "Dockerfile": dockerfile().replace(
                "WORKDIR", "ENV DJANGO_SETTINGS_MODULE=shop.settings.production\nWORKDIR"
            ),
            "copilot/web/manifest.yml": MANIFEST.format(build="Dockerfile"),
        }
    ),
    "web and worker of two Dockerfiles": Shape(
        {
            **django(),
            "Dockerfile": dockerfile(),
            "Dockerfile.worker": _CELERY,
            "mailer/Dockerfile": "FROM node:22\nCOPY . .\n",
            "copilot/web/manifest.yml": MANIFEST.format(build="Dockerfile"),
            "copilot/worker/manifest.yml": WORKER.format(build="Dockerfile.worker"),
            "copilot/mailer/manifest.yml": WORKER.format(build="mailer/Dockerfile").replace(
                "worker", "mailer"
            ),
        },
        steps=("copilot/mailer/manifest.yml", "copilot/worker/manifest.yml"),
    ),
    "an imported certificate": Shape(
        {
            **django(),
            "Dockerfile": dockerfile(),
            "copilot/web/manifest.yml": MANIFEST.format(build="Dockerfile").replace(
                "    count: 2\n", "    count: 2\n    http: {alias: shop.example.com}\n"
            ),
        },
        steps=("copilot/environments/production/manifest.yml:5",),
        files_of_environments={
            "production": "http:\n  public:\n    certificates: "
            "['arn:aws:acm:eu-west-1:111122223333:certificate/0d0d0d0d-0000-0000-0000-000000000000']\n"
        },
    ),
    "a worker of queues and a job": Shape(
        {
            **django(),
            "Dockerfile": dockerfile(),
            "copilot/web/manifest.yml": MANIFEST.format(build="Dockerfile"),
            "copilot/mails/manifest.yml": WORKER.format(build="Dockerfile")
            .replace("worker", "mails")
            .replace("Backend", "Worker"),
            "copilot/nightly/manifest.yml": WORKER.format(build="Dockerfile")
            .replace("worker", "nightly")
            .replace("Backend Service", "Scheduled Job")
            .replace("count: 1\n", "on: {schedule: '@daily'}\ncommand: python manage.py clearsessions\n"),
        },
        steps=("copilot/mails/manifest.yml",),
    ),
    "a worker and a scheduler as stage has them": Shape(
        {
            **django(),
            "Dockerfile": dockerfile(),
            "copilot/web/manifest.yml": MANIFEST.format(build="Dockerfile").replace(
                "environments:\n", f"{_OF_STAGE}environments:\n"
            ),
            "copilot/worker/manifest.yml": _WORKER_OF_STAGE,
            "copilot/worker/addons/media.yml": _MEDIA,
            "copilot/beat/manifest.yml": _WORKER_OF_STAGE.replace("name: worker", "name: beat")
            .replace("worker, --concurrency, 02", "beat")
            .replace("Worker Service", "Backend Service"),
        },
        steps=("copilot/beat/manifest.yml", "copilot/worker/manifest.yml"),
    ),
    "settings without defaults, all from the manifest": Shape(
        {
            **django(),
            "shop/settings.py": _STRICT_SETTINGS,
            "Dockerfile": dockerfile(),
            "copilot/web/manifest.yml": MANIFEST.format(build="Dockerfile").replace(
                "\nenvironments:", f"{_SECRETS}\nenvironments:"
            ),
        }
    ),
    "wheels of a first stage": Shape(
        {
            **django(),
            "Dockerfile": _WHEELS_DOCKERFILE,
            "copilot/web/manifest.yml": MANIFEST.format(build="Dockerfile"),
        }
    ),
    "poetry, and tasks of its own": Shape(
        {
            **{path: text for path, text in django().items() if path != "requirements.txt"},
            "pyproject.toml": _POETRY,
            "tasks.py": _TASKS,
            "Dockerfile": _POETRY_DOCKERFILE,
            "copilot/web/manifest.yml": MANIFEST.format(build="Dockerfile"),
        },
        needs_registry=True,  # of packages: poetry itself, which is large
    ),
    "an environment of poetry's own, of a user": Shape(
        {
            **{path: text for path, text in django().items() if path != "requirements.txt"},
            "pyproject.toml": _POETRY,
            "Dockerfile": _POETRY_DOCKERFILE.replace("poetry config virtualenvs.create false && ", "")
            .replace("WORKDIR", "RUN useradd --create-home ada\nUSER ada\nWORKDIR")
            .replace('["gunicorn"', '["poetry", "run", "gunicorn"'),
            "copilot/web/manifest.yml": MANIFEST.format(build="Dockerfile"),
        },
        needs_registry=True,
    ),
    "a script with the image's paths before the command": Shape(
        {
            **django(),
            "scripts/start": START,
            "Dockerfile": STARTED,
            "copilot/web/manifest.yml": MANIFEST.format(build="Dockerfile"),
        }
    ),
    "nginx before Django": Shape(
        {
            **django(),
            "Dockerfile": dockerfile(),
            "nginx/Dockerfile": "FROM nginx:1.27-alpine\nCOPY shop.conf /etc/nginx/conf.d/default.conf\n",
            "nginx/shop.conf": NGINX,
            "copilot/web/manifest.yml": MANIFEST.format(build="Dockerfile")
            .replace("  healthcheck: /\n", "  healthcheck: /\n  target_container: nginx\n")
            .replace(
                "\nenvironments:",
                "sidecars:\n  nginx:\n    port: 80\n    image: {build: nginx/Dockerfile}\n\nenvironments:",
            ),
        },
        needs_registry=True,
    ),
    "psycopg2 on Python 3.9 as a user": Shape(
        {
            **django(),
            "requirements.txt": "Django>=4.2,<5\ngunicorn\npsycopg2-binary\n",
            "Dockerfile": dockerfile()
            .replace("3.12", "3.9")
            .replace("COPY . .\n", "COPY . .\nRUN useradd ada\nUSER ada\n"),
            "copilot/web/manifest.yml": MANIFEST.format(build="Dockerfile"),
        }
    ),
}
