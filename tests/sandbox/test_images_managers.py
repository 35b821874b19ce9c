"""A build installs what poetry, Pipenv, uv, pdm, wheels of a stage before and virtual environments bring."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import pytest

from copilot_sandbox.errors import SandboxError
from copilot_sandbox.images import build as builder
from copilot_sandbox.images import venvs
from copilot_sandbox.model import Image
from tests.sandbox.builds import Project, files, run

pytestmark = pytest.mark.usefixtures("_no_index")


def sha(project: Project, name: str) -> str:
    wheel = project.context.parent / "wheels" / f"{name}-1.0-py3-none-any.whl"
    return f"sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}"


def put_poetry(project: Project) -> None:
    project.put("pyproject.toml", '[tool.poetry.dependencies]\npython = "^3.8"\ntiny = "^1.0"\n')
    project.put(
        "poetry.lock",
        f'[[package]]\nname = "tiny"\nversion = "1.0"\nfiles = [{{hash = "{sha(project, "tiny")}"}}]\n'
        '[metadata]\nlock-version = "2.0"\n',
    )


def put_pipenv(project: Project) -> None:
    package = {"version": "==1.0", "hashes": [sha(project, "tiny")]}
    project.put("Pipfile", '[packages]\ntiny = "*"\n')
    project.put("Pipfile.lock", json.dumps({"default": {"tiny": package}, "develop": {"absent": package}}))


def put_uv(project: Project) -> None:
    project.put("pyproject.toml", '[project]\nname = "shop"\ndependencies = ["tiny"]\n')
    wheels = f'wheels = [{{hash = "{sha(project, "tiny")}"}}]\n'
    project.put(
        "uv.lock",
        '[[package]]\nname = "shop"\nsource = {virtual = "."}\ndependencies = [{name = "tiny"}]\n'
        f'[[package]]\nname = "tiny"\nversion = "1.0"\nsource = {{registry = "https://pypi.org/simple"}}\n{wheels}',
    )


def put_pdm(project: Project) -> None:
    project.put("pyproject.toml", '[project]\nname = "shop"\ndependencies = ["tiny"]\n')
    package = '[[package]]\nname = "tiny"\nversion = "1.0"\ngroups = ["default"]\n'
    project.put("pdm.lock", f'{package}files = [{{hash = "{sha(project, "tiny")}"}}]\n')


PUT = {"poetry": put_poetry, "pipenv": put_pipenv, "uv": put_uv, "pdm": put_pdm}


@pytest.mark.nightly_from(3)
@pytest.mark.parametrize(
    ("manager", "steps"),
    [
        ("poetry", "RUN pip install poetry==1.8 && poetry config x y \\\n && poetry install --only main"),
        ("pipenv", "RUN python -m pip install pipenv\nRUN pipenv install --system --deploy"),
        ("uv", "COPY --from=ghcr.io/astral-sh/uv:0.5 /uv /uvx /bin/\nRUN uv sync --frozen --no-dev"),
        ("poetry", "RUN curl https://install.python-poetry.org | python3 -\nRUN poetry install --no-root"),
        ("poetry", "RUN poetry export -f requirements.txt | pip install -r /dev/stdin"),
        ("poetry", "RUN pipx install poetry && poetry export -o r.txt && pip install -r r.txt"),
        ("pipenv", "RUN pipenv requirements > r.txt && pip install -r r.txt"),
        ("uv", "RUN uv export --frozen --no-hashes > r.txt\nRUN uv pip install --system --no-cache -r r.txt"),
        ("uv", "RUN uv pip install --system -r pyproject.toml"),
        ("uv", "RUN uv pip compile pyproject.toml -o r.txt && uv pip sync r.txt"),
        ("pdm", "RUN pip install pdm && pdm install --prod --frozen-lockfile --no-self"),
    ],
)  # fmt: skip
def test_a_package_managers_lock_file_is_installed(project: Project, manager: str, steps: str) -> None:
    PUT[manager](project)

    image = project.build(f"FROM x\nWORKDIR /app\nCOPY . .\n{steps}\nCMD {manager} run tiny\n")

    assert run(image, "tiny") == "this is tiny\n"
    assert project.said == ["sandbox: 1 pip install step(s) done in a new virtual environment"]


def started(image: Image, *words: str) -> str:
    assert image.venv is not None
    path = f"{image.venv / 'bin'}:/usr/bin:/bin"
    return subprocess.run(words, env={"PATH": path}, capture_output=True, text=True, check=True).stdout


@pytest.mark.nightly_from(1)
@pytest.mark.parametrize(
    "words",
    ["uv run tiny", "uv run --no-sync -- tiny", "uv --directory / run -m tiny", "uv run --group x tiny"],
)
def test_a_managers_run_starts_the_command_in_a_container(project: Project, words: str) -> None:
    put_uv(project)
    image = project.build("FROM x\nWORKDIR /app\nCOPY . .\nRUN pip install uv && uv sync\nCMD uv run tiny\n")

    assert started(image, *words.split()) == ("" if "-m" in words else "this is tiny\n")


def test_an_environment_at_a_fixed_path_is_found_there_after_it_was_copied(project: Project) -> None:
    image = project.build(
        "FROM x AS build\nRUN python -m venv /opt/venv\nENV PATH=/opt/venv/bin:$PATH\n"
        "RUN . /opt/venv/bin/activate && /opt/venv/bin/pip install tiny\n"
        "FROM x\nCOPY --from=build /opt/venv /srv/venv\nCMD /srv/venv/bin/tiny\n"
    )

    done = subprocess.run([image.root / "srv/venv/bin/tiny"], capture_output=True, text=True, check=True)
    assert done.stdout == "this is tiny\n"
    assert image.paths == ("/srv",)


def test_programs_are_where_an_image_of_python_has_them(project: Project) -> None:
    image = project.build("FROM python:3\nRUN pip install tiny\nCMD /usr/local/bin/tiny\n")

    done = subprocess.run([image.root / "usr/local/bin/tiny"], capture_output=True, text=True, check=True)
    assert done.stdout == "this is tiny\n"
    assert image.paths == ("/usr/local/bin",)


def test_an_environment_below_a_home_is_copied_between_stages_to_where_commands_name_it(
    project: Project,
) -> None:
    put_uv(project)
    image = project.build(
        "FROM x AS build\nENV UV_PROJECT_ENVIRONMENT=/home/ada/.local\nWORKDIR /app\nCOPY . .\nRUN uv sync\n"
        "FROM x\nCOPY --from=build /home/ada/.local /home/ada/.local\n"
    )

    assert subprocess.run([image.root / "home/ada/.local/bin/tiny"], check=False).returncode == 0


@pytest.mark.nightly
def test_a_project_environment_is_beside_the_project_as_uv_has_it(project: Project) -> None:
    put_uv(project)
    image = project.build("FROM x\nWORKDIR /app\nCOPY . .\nRUN uv sync\nENV PATH=/app/.venv/bin:$PATH\n")

    assert "/app/.venv/bin" in files(image)
    assert subprocess.run([image.root / "app/.venv/bin/tiny"], check=False).returncode == 0


@pytest.mark.nightly_from(1)
@pytest.mark.parametrize(
    "install",
    ["/wheels/*", "--no-index --find-links=/wheels -r /wheels/requirements.txt", "--no-cache /wheels/*.whl",
     "--no-index --find-links /wheels/ /wheels/*"],
)  # fmt: skip
def test_wheels_of_a_stage_before_are_installed(project: Project, install: str) -> None:
    project.put("requirements.txt", "tiny\n")

    image = project.build(
        "FROM x AS build\nWORKDIR /src\nCOPY requirements.txt .\n"
        "RUN pip wheel --no-deps -w /src/wheels -r requirements.txt\n"
        "FROM x\nCOPY --from=build /src/wheels /wheels\nCOPY requirements.txt /wheels/\n"
        f"RUN pip install {install}\n"
    )

    assert run(image, "tiny") == "this is tiny\n"


def test_wheels_of_a_stage_that_one_step_mounts_are_installed(project: Project) -> None:
    image = project.build(
        "FROM x AS build\nRUN pip wheel --no-deps -w /src/wheels tiny\nFROM x\n"
        "RUN --mount=type=bind,target=/wheels,source=/src/wheels,from=build \\\n"
        "    pip install --no-cache /wheels/*\n"
    )

    assert run(image, "tiny") == "this is tiny\n"


@pytest.mark.nightly
def test_only_what_a_lock_file_pins_makes_another_environment(project: Project) -> None:
    put_uv(project)
    text = "FROM x\nWORKDIR /app\nCOPY . .\nRUN uv sync --frozen\n"
    first = project.build(text).venv
    project.put("other.py", "1")
    project.put("pyproject.toml", (project.context / "pyproject.toml").read_text() + "[tool.ruff]\n")

    assert project.build(text).venv == first
    project.put(
        "uv.lock", (project.context / "uv.lock").read_text().replace('name = "tiny"', 'name = "other"')
    )
    with pytest.raises(SandboxError, match=r"uv\.lock has no package|hash"):
        project.build(text)


def test_a_project_for_another_python_is_refused_with_both_versions(project: Project) -> None:
    project.put("pyproject.toml", '[project]\nname = "shop"\nrequires-python = ">=4.1"\n')
    here = ".".join(map(str, sys.version_info[:3]))

    with pytest.raises(SandboxError) as refused:
        project.build("FROM python:4.1-slim\nWORKDIR /app\nCOPY . .\nRUN uv sync --frozen\n")

    message = str(refused.value)
    assert message.startswith(
        "Dockerfile line 4: `uv sync --frozen` cannot be done: pyproject.toml requires Python >=4.1."
    )
    assert f"built from python:4.1-slim; the sandbox runs on its own Python, {here}: install" in message
    assert "\n" not in message


def test_a_missing_project_file_is_named(project: Project) -> None:
    with pytest.raises(SandboxError, match=r"line 3: `poetry install` failed: pyproject.toml is not in /app"):
        project.build("FROM x\nWORKDIR /app\nRUN poetry install\n")


def test_images_of_python_3_11_and_before_have_setuptools(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[venvs.Install]] = []
    monkeypatch.setattr(builder.venvs, "make_venv", lambda _, installs, **__: asked.append(installs))
    for base in ("python:3.11-slim", "python:3.12-slim", "public.ecr.aws/docker/library/python:3.9"):
        with pytest.raises(AssertionError):
            project.build(f"FROM {base}\n")

    assert [[install.arguments[0] for install in each] for each in asked] == [
        ["setuptools==79.0.1"], [], ["setuptools==79.0.1"],
    ]  # fmt: skip


@pytest.mark.nightly
def test_a_script_of_the_project_that_installs_is_walked_through(project: Project) -> None:
    project.put("install.sh", '#!/bin/sh\nset -e\nif [ "$1" = x ]; then exit 1; fi\npip install tiny\n')

    image = project.build("FROM x\nWORKDIR /app\nCOPY . .\nRUN chmod +x install.sh && ./install.sh\n")

    assert run(image, "tiny") == "this is tiny\n"
