"""Dockerfiles as public Django projects write them: which installs they become, without doing them."""

from __future__ import annotations

from copilot_sandbox.images import build as builder
from copilot_sandbox.images.dockerfile import parse
from copilot_sandbox.images.ignore import read_ignore
from copilot_sandbox.images.tree import read_context
from tests.sandbox.builds import Project

POETRY = """[tool.poetry.dependencies]
python = "^3.8"
django = "^4.2"
[tool.poetry.group.dev.dependencies]
x = "*"
"""


def planned(project: Project, dockerfile: str, **arguments: str) -> list[str]:
    """The requirements, in order, of what an image installs; `project.said` has what is said of it."""
    file = project.put("Dockerfile", dockerfile)
    project.said = []
    context = read_context(project.context, read_ignore(project.context, file), project.state)
    work = builder._Build(parse(dockerfile), context, arguments, "linux/amd64", project.said.append)
    work.run(None)
    shown = []
    for install in work.installs:
        lists = [
            install.tree.get(word) for word in install.arguments if word.startswith("/.copilot-sandbox/")
        ]
        lines = [line for each in lists if each is not None for line in each.text().splitlines()]
        shown += lines or [" ".join(install.arguments)]
    return list(dict.fromkeys(shown))


def test_poetry_of_a_first_stage_with_its_home_and_environment_in_variables(project: Project) -> None:
    project.put("pyproject.toml", POETRY)
    assert planned(project, """FROM python:3.12-slim AS python-base
ENV POETRY_HOME=/opt/poetry POETRY_VIRTUALENVS_IN_PROJECT=true SETUP=/opt/setup
ENV PATH="$POETRY_HOME/bin:$SETUP/.venv/bin:$PATH"
FROM python-base AS builder
RUN apt-get update && apt-get install -y curl \\
  && curl -sSL https://install.python-poetry.org | POETRY_HOME=/opt/poetry python3 - --version 1.8
WORKDIR $SETUP
COPY pyproject.toml ./
RUN poetry install --no-dev
FROM python-base
COPY --from=builder $SETUP $SETUP
CMD ["gunicorn", "shop.wsgi"]
""") == ["django<5,>=4.2"]  # fmt: skip
    assert not [line for line in project.said if "installed nothing" in line]


def test_options_that_the_shell_decides(project: Project) -> None:
    project.put("pyproject.toml", POETRY)
    text = """FROM python:3.12-slim
ARG DJANGO_ENV=production
WORKDIR /code
COPY pyproject.toml ./
RUN echo "$DJANGO_ENV" && poetry run pip install -U pip \\
  && poetry install $(if [ "$DJANGO_ENV" = 'production' ]; then echo '--only main'; fi) --no-ansi --no-root
"""
    assert planned(project, text) == ["-U pip", "django<5,>=4.2"]
    assert planned(project, text, DJANGO_ENV="dev") == ["-U pip", "django<5,>=4.2", "x"]


def test_an_environment_of_alpine_with_requirements_for_development(project: Project) -> None:
    project.put("requirements.txt", "django\n")
    project.put("requirements.dev.txt", "ipdb\n")
    text = """FROM python:3.12-alpine
COPY requirements*.txt /tmp/
ARG DEV=false
RUN python -m venv /py && /py/bin/pip install --upgrade pip && \\
    apk add --no-cache --virtual .deps build-base musl-dev && \\
    /py/bin/pip install -r /tmp/requirements.txt && \\
    if [ $DEV = "true" ]; then /py/bin/pip install -r /tmp/requirements.dev.txt ; fi && \\
    rm -rf /tmp && adduser --disabled-password django
"""
    assert planned(project, text) == ["--upgrade pip", "-r /tmp/requirements.txt"]
    assert planned(project, text, DEV="true")[-1] == "-r /tmp/requirements.dev.txt"


def test_wheels_by_build_environment(project: Project) -> None:
    project.put("requirements/base.txt", "django\n")
    project.put("requirements/production.txt", "-r base.txt\n")
    text = """ARG PYTHON_VERSION=3.12-slim
FROM python:${PYTHON_VERSION} AS python
FROM python AS build-stage
ARG BUILD_ENVIRONMENT=production
COPY ./requirements .
RUN pip wheel --wheel-dir /usr/src/app/wheels -r ${BUILD_ENVIRONMENT}.txt
FROM python AS run-stage
COPY --from=build-stage /usr/src/app/wheels /wheels/
RUN pip install --no-cache-dir --no-index --find-links=/wheels/ /wheels/* && rm -rf /wheels/
"""
    assert planned(project, text) == ["-r production.txt"]


def test_a_heredoc_and_a_requirements_file_of_echo(project: Project) -> None:
    project.put("requirements.txt", "django\n")
    assert planned(project, """FROM python:3.12
COPY requirements.txt .
RUN <<EOF
set -e
if [ -f requirements.txt ]; then
  pip install -r requirements.txt
fi
EOF
RUN echo gunicorn==21 > more.txt && pip install -r more.txt
RUN case "$NONE" in dev) pip install ipdb ;; *) pip install whitenoise ;; esac
""") == ["-r requirements.txt", "-r more.txt", "whitenoise"]  # fmt: skip
