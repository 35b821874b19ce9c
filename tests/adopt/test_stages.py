"""Where lines can be added to a Dockerfile, and where its image has a file of the build context."""

from __future__ import annotations

import pytest

from copilot_testenv.adopt import stages
from copilot_testenv.adopt.stages import Place

MANAGE, DEPLOYMENT = "backend/manage.py", "deployment.json"
HEAD = "FROM python:3.12-slim\nWORKDIR /srv\n"


@pytest.mark.parametrize(
    ("text", "target", "place"),
    [
        (f'{HEAD}COPY . .\nUSER ada\nCMD ["x"]\n', "", Place(3, "")),
        (f"{HEAD}COPY . .", "", Place(3, "")),
        (f"{HEAD}CMD x\n\nFROM base AS debug\nCMD y\n", "0", Place(2, "")),
        ("FROM a AS base\nUSER ada\nFROM base AS App\nRUN x\nCMD y\n", "app", Place(4, "ada")),
        ("FROM a AS base\nUSER ada\nFROM base\nUSER root\nRUN x\nUSER 1000:1000\n", "", Place(5, "")),
        ("FROM a\nUSER ada\nUSER root\nRUN x\n", "", Place(4, "")),
        ("FROM a\nUSER ada\nRUN x\nCOPY . .\nCMD y\n", "", Place(4, "ada")),
        ("FROM a\nRUN cat <<EOF\nUSER ada\nEOF\nCMD x\n", "", Place(4, "")),
        ("FROM a\nRUN x \\\n    CMD \\\n    USER\nENTRYPOINT x\n", "", Place(4, "")),
    ],
)
def test_lines_are_added_where_root_still_runs(text: str, target: str, place: Place) -> None:
    found = stages.read(text, target)
    assert found.built is not None
    assert found.place(found.built) == place


@pytest.mark.parametrize(
    ("steps", "manage", "deployment"),
    [
        ("COPY . .", "/srv/backend/manage.py", "/srv/deployment.json"),
        ("COPY backend/ /app/", "/app/manage.py", None),
        ("COPY ./backend /app", "/app/manage.py", None),
        ("COPY --chown=ada:ada backend/manage.py backend/x ./", "/srv/manage.py", None),
        ('COPY ["backend/manage.py", "/app/run.py"]', "/app/run.py", None),
        ("COPY backend/*.py deployment.jso[n] ./", "/srv/manage.py", "/srv/deployment.json"),
        ("ARG HOME=/opt\nENV APP=$HOME/app\nCOPY backend ${APP}", "/opt/app/manage.py", None),
        ("COPY backend /app\nCOPY ./backend/manage.py /app", "/app/manage.py", None),
        ("WORKDIR /app\nCOPY backend/manage.py /app", "/app/manage.py", None),
        ("COPY frontend/ ./", None, None),
        ("COPY . /src\nFROM python\nCOPY --from=0 /src/backend /app", "/app/manage.py", None),
        ("COPY . /src\nFROM python\nCOPY --from=other /src /app", None, None),
        ("FROM python AS b\nFROM b\nWORKDIR x\nADD . ./", "/x/backend/manage.py", "/x/deployment.json"),
    ],
)  # fmt: skip
def test_a_file_is_followed_into_the_image(steps: str, manage: str | None, deployment: str | None) -> None:
    found = stages.read(f"{HEAD}{steps}\n")
    assert found.built is not None
    where = found.where(found.built, MANAGE, DEPLOYMENT)
    assert (where.get(MANAGE), where.get(DEPLOYMENT)) == (manage, deployment)


@pytest.mark.parametrize(
    "text",
    ["", "# nothing\n", "FROM\n", "FROM a\nCOPY\nENV\nWORKDIR\nARG\nUSER\n", 'FROM a\nCOPY ["x\n', "\0"],
)
def test_a_malformed_dockerfile_is_no_fault_of_these_tasks(text: str) -> None:
    found = stages.read(text, "")
    if found.built:
        found.place(found.built)
        found.where(found.built, MANAGE)


def test_a_target_that_no_stage_has_is_none() -> None:
    assert stages.read(HEAD, "missing").built is None
