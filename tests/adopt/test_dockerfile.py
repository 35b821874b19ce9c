"""The image: a Dockerfile of ours, or lines in one of theirs, and what .dockerignore lets through."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from copilot_testenv.adopt import stamps
from tests.adopt.project import MANIFEST, RUNTIME, THREE, adopt, adopted, commit, manifest, start_project
from tests.shapes.repositories import SHAPES


def test_the_lines_stand_before_the_user_and_psycopg2_stays(three: Path) -> None:
    adopt(three)
    text = (three / "Dockerfile").read_text()
    lines = iter(text.splitlines())
    assert all(line in lines for line in THREE["Dockerfile"].splitlines())
    assert text.index(f"COPY {RUNTIME} /tmp/\n") < text.index("USER nobody")
    assert re.search(r'pip install --no-cache-dir --target /opt/django-testenv "psycopg\[binary\]==', text)
    assert "scripts" not in text
    assert "COPY manage.py deployment.jso[n] /srv/\n" in text


def test_a_dockerfile_with_everything_copied_gets_only_what_it_lacks(tmp_path: Path) -> None:
    text = "FROM python:3.12-alpine\nWORKDIR /app\nCOPY . .\nRUN pip install 'psycopg[binary]' gunicorn"
    folder = adopted(start_project(tmp_path / "shop", {"Dockerfile": text}))
    after = (folder / "Dockerfile").read_text()
    assert after.startswith(text + "\n# copilot-testenv ")
    assert "RUN apk add --no-cache postgresql-client\n" in after
    assert "apt-get" not in after
    assert "deployment.jso" not in after
    assert adopt(folder).said[-1].startswith("Nothing to do")


@pytest.mark.parametrize(
    ("before", "python"),
    [
        ("FROM python:3.12\nWORKDIR /app\nRUN uv sync --frozen\nCOPY . .\n", "/app/.venv/bin/python"),
        ("FROM python:3.12\nWORKDIR /app\nENV PATH=/app/.venv/bin:$PATH\nRUN uv sync\nCOPY . .\n", "python"),
        (("FROM python AS b\nWORKDIR /app\nRUN uv sync\nFROM python\nCOPY --from=b /app /app\n"
          "COPY . /app\nENV PATH=/app/.venv/bin:$PATH\nWORKDIR /app\n"), "python"),
        ("FROM python:3.12\nENV UV_PROJECT_ENVIRONMENT=/usr/local\nWORKDIR /app\nRUN uv sync\nCOPY . .\n",
         "python"),
    ],
)  # fmt: skip
def test_an_environment_of_uvs_gets_pip_and_what_is_installed_goes_into_it(
    tmp_path: Path, before: str, python: str
) -> None:
    folder = adopted(start_project(tmp_path / "shop", {"Dockerfile": before}))
    after = (folder / "Dockerfile").read_text()
    assert f"RUN {python} -m ensurepip \\\n    && {python} -m pip install --no-cache-dir --no-deps" in after
    assert f"&& {python} -m pip install --no-cache-dir --target /opt/django-testenv" in after
    command = manifest(folder)["environments"]["test"]["sidecars"]["startup"]["command"]
    assert command[-1].startswith(f"{python} manage.py copy_stage_db && ")


@pytest.mark.parametrize(
    ("before", "manager"),
    [
        ("RUN pip install poetry\nUSER ada\nCOPY . .\nRUN poetry install --only main\n", "poetry"),
        ("COPY . .\nRUN pip install pipenv && pipenv install --deploy\n", "pipenv"),
        ("RUN poetry config virtualenvs.create false && poetry install\nCOPY . .\n", ""),
        ("ENV POETRY_VIRTUALENVS_CREATE=false\nRUN poetry install\nCOPY . .\n", ""),
        ("ENV PATH=/app/.venv/bin:$PATH\nRUN poetry install\nCOPY . .\n", ""),
        ("RUN pipenv install --deploy --system\nCOPY . .\n", ""),
    ],
)
def test_an_environment_that_poetry_or_pipenv_made_is_used_by_their_run(
    tmp_path: Path, before: str, manager: str
) -> None:
    text = f'FROM python:3.12\nWORKDIR /app\n{before}CMD ["x"]\n'
    folder = adopted(start_project(tmp_path / "shop", {"Dockerfile": text}))
    after = (folder / "Dockerfile").read_text()
    prefix = f"{manager} run " if manager else ""
    own = f"{prefix}pip install --no-cache-dir --no-deps /tmp/"
    assert f"RUN {own}" in after
    assert after.index("install --only main") < after.index(own) if "only main" in after else True
    users = [line for line in after[: after.index(own)].splitlines() if line.startswith("USER ")]
    assert users in ([], ["USER ada", "USER root", "USER ada"])
    command = manifest(folder)["environments"]["test"]["sidecars"]["startup"]["command"]
    assert command[-1].startswith(f"{prefix}python manage.py copy_stage_db && {prefix}python manage.py mig")


def test_a_block_that_stands_before_poetrys_steps_is_moved_after_them(tmp_path: Path) -> None:
    steps = "USER ada\nCOPY . .\nRUN poetry install\n"
    folder = start_project(tmp_path / "shop", {"Dockerfile": f"FROM python:3.12\nWORKDIR /app\n{steps}"})
    early = stamps.block("RUN true\n")
    (folder / "Dockerfile").write_text(f"FROM python:3.12\nWORKDIR /app\n{early}{steps}")
    commit(folder)
    after = (adopted(folder) / "Dockerfile").read_text()
    assert after.startswith(f"FROM python:3.12\nWORKDIR /app\n{steps}# copilot-testenv ")
    assert after.count("# copilot-testenv ") == 1
    assert adopt(folder).said[-1].startswith("Nothing to do")


@pytest.mark.parametrize(("version", "is_named"), [("3.8-slim", True), ("3.9", False), ("3", False)])
def test_a_python_that_cannot_install_what_is_added_is_named(
    tmp_path: Path, version: str, *, is_named: bool
) -> None:
    text = f"ARG V={version}\nFROM docker.io/library/python:$V\nCOPY . /srv\n"
    said = adopt(start_project(tmp_path / "shop", {"Dockerfile": text})).said
    assert any("needs Python 3.9 or newer" in line for line in said) is is_named


def test_a_dockerfile_of_theirs_with_crlf_stays_theirs(tmp_path: Path) -> None:
    text = "FROM python:3.12-slim\r\nCOPY mysite mysite\r\nUSER nobody\r\n"
    folder = adopted(start_project(tmp_path / "shop", {"Dockerfile": text}))
    after = (folder / "Dockerfile").read_bytes().decode()
    assert after.startswith("FROM python:3.12-slim\r\nCOPY mysite mysite\r\n# copilot-testenv ")
    assert after.endswith("# end of copilot-testenv\r\nUSER nobody\r\n")
    assert after.count("\n") == after.count("\r\n")
    assert adopt(folder).said[-1].startswith("Nothing to do")


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"requirements.txt": "Django\n"},
        {"requirements.txt": "Django\ngunicorn\npsycopg\nwhitenoise\n"},
    ],
    ids=["nothing", "requirements", "all required"],
)
def test_what_the_project_installs_is_one_layer_and_ours_another(
    tmp_path: Path, given: dict[str, str]
) -> None:
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
        (
            "FROM python\n",
            "{dockerfile: docker/Dockerfile}",
            "its build context docker/ does not have manage.py",
        ),
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
    assert any(why in line and f"{RUNTIME} into the image with" in line for line in report.said)


@pytest.mark.parametrize("pattern", ["*", "**", "/*", "**/*", "vendor", "/vendor/", "**/*.whl", "*.json"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_dockerignore_that_hides_our_files_lets_them_through(
    tmp_path: Path, pattern: str, end: str
) -> None:
    given = {"Dockerfile": "FROM python\nCOPY mysite mysite\n", ".dockerignore": f".git{end}{pattern}"}
    folder = adopted(start_project(tmp_path / "shop", given))
    lines = (folder / ".dockerignore").read_bytes().decode().split(end)
    assert lines[:2] == [".git", pattern]
    assert lines[3:5] == ["!deployment.json", f"!{RUNTIME}"]
    assert adopt(folder).said[-1].startswith("Nothing to do")


@pytest.mark.parametrize("text", ["*.pyc\n", "node_modules\n", "docs/vendor\n", "**/__pycache__\n"])
def test_a_dockerignore_that_hides_none_of_our_files_is_left(tmp_path: Path, text: str) -> None:
    given = {"Dockerfile": "FROM python\nCOPY mysite mysite\n", ".dockerignore": text}
    folder = start_project(tmp_path / "shop", given)
    adopt(folder)
    assert (folder / ".dockerignore").read_text() == text


def test_an_image_that_has_the_package_by_hand_is_left(tmp_path: Path) -> None:
    text = "FROM python\nCOPY . .\nRUN pip install vendor/django_testenv-1.whl\n"
    folder = start_project(tmp_path / "shop", {"Dockerfile": text})
    adopt(folder)
    assert (folder / "Dockerfile").read_text() == text
    commit(folder)
    assert adopt(folder).said[-1].startswith("Nothing to do")


def test_a_second_stage_that_runs_the_settings_is_a_step_until_it_is_done(tmp_path: Path) -> None:
    stages = "FROM python:3.12 AS worker\nCOPY . /app\nCMD celery\n\n"
    stages += "FROM python:3.12 AS web\nCOPY . .\nCMD uwsgi\n"
    manifest = MANIFEST.replace("build: Dockerfile", "build: {dockerfile: Dockerfile, target: web}")
    worker = "name: w\ntype: Backend Service\nimage:\n  build: {dockerfile: Dockerfile, target: worker}\n"
    folder = start_project(
        tmp_path / "shop", {"Dockerfile": stages, "copilot/w/manifest.yml": worker}, manifest=manifest
    )
    report = adopt(folder)
    text = (folder / "Dockerfile").read_text()
    assert text.index("AS web") < text.index("# copilot-testenv") < text.index("CMD uwsgi")
    (step,) = [line for line in report.said if line.startswith("Left as it is: Dockerfile")]
    assert "copilot/w/manifest.yml:4 builds its stage worker, which runs the settings too" in step
    lines = "".join(f"{line.strip()}\n" for line in step.splitlines()[1:])
    (folder / "Dockerfile").write_text(text.replace("CMD celery\n", f"{lines}CMD celery\n"))
    commit(folder)
    assert adopt(folder).said[1:] == ["Nothing to do: all that can be added is there."]


def test_lines_in_a_stage_that_another_user_runs_are_run_by_root(tmp_path: Path) -> None:
    stages = "FROM python:3.12 AS base\nUSER ada\n\nFROM base\nCOPY . .\nCMD uwsgi\n"
    folder = adopted(start_project(tmp_path / "shop", {"Dockerfile": stages}))
    block = (folder / "Dockerfile").read_text().partition("if unedited\n")[2]
    assert block.startswith("USER root\n")
    assert block.endswith("USER ada\n# end of copilot-testenv\nCMD uwsgi\n")
    assert adopt(folder).said[-1].startswith("Nothing to do")


def test_commands_name_manage_py_from_where_the_container_starts(tmp_path: Path) -> None:
    folder = SHAPES["everything copied, manage.py not where it starts"].write(tmp_path)
    adopt(folder)
    text = (folder / "copilot/web/manifest.yml").read_text()
    assert "[sh, -c, python src/manage.py copy_stage_db && python src/manage.py migrate --noinput]" in text
    assert "COPY src/manage.py deployment.jso[n] /srv/src/\n" in (folder / "Dockerfile").read_text()


def test_what_stage_and_production_have_too_is_said(tmp_path: Path) -> None:
    folder = start_project(tmp_path / "shop", {"Dockerfile": "FROM python:3.12-slim\nCOPY . /srv/\n"})
    (line,) = [each for each in adopt(folder).said if each.startswith("Not only of test: ")]
    assert "Dockerfile" in line
    assert "copilot/environments/overrides/cfn.patches.yml" in line
    assert "stage and production" in line
    assert not [each for each in adopt(folder).said if each.startswith("Not only of test: ")]
