"""A build records the commands of RUN that each container carries out when it starts."""

from __future__ import annotations

import pytest

from copilot_sandbox.model import StartCommand
from tests.sandbox.builds import Project

COLLECT = ("python", "manage.py", "collectstatic", "--noinput")
NOTE = "sandbox: line {} runs when a container starts: `{}`"


def recorded(project: Project, run: str, before: str = "") -> tuple[StartCommand, ...]:
    for path in ("manage.py", "src/manage.py"):
        project.put(path)
    return project.build(f"FROM x\nWORKDIR /srv\nCOPY . .\n{before}RUN {run}\n").start_commands


@pytest.mark.parametrize(
    ("run", "words"),
    [
        ("python manage.py collectstatic --noinput", COLLECT),
        ("python3 -u -W i manage.py collectstatic", ("python", "-u", "-W", "i", *COLLECT[1:3])),
        ('["python", "manage.py", "collectstatic", "--noinput"]', COLLECT),
        ("/venv/bin/python manage.py collectstatic --noinput", COLLECT),
        ("./manage.py collectstatic", ("python", "./manage.py", "collectstatic")),
        ("python /srv/src/manage.py collectstatic", ("python", "/srv/src/manage.py", "collectstatic")),
        ("django-admin collectstatic --noinput", ("django-admin", "collectstatic", "--noinput")),
        ("python -m django collectstatic", ("python", "-m", "django", "collectstatic")),
        ("uv run --no-sync python manage.py collectstatic --noinput", COLLECT),
        ("uv run --no-sync manage.py collectstatic", ("python", "manage.py", "collectstatic")),
        ("poetry run python manage.py collectstatic --noinput", COLLECT),
        ("sh -c 'python manage.py collectstatic --noinput'", COLLECT),
        ("mkdir a && python manage.py collectstatic --noinput > /dev/null && rm -rf b", COLLECT),
        ("python manage.py compilemessages", ("python", "manage.py", "compilemessages")),
    ],
)  # fmt: skip
def test_each_way_to_call_it_is_recorded(project: Project, run: str, words: tuple[str, ...]) -> None:
    assert [each.words for each in recorded(project, run)] == [words]


@pytest.mark.parametrize(
    "run",
    [
        "python manage.py migrate",
        "python manage.py compress",
        "npm run collectstatic",
        "echo manage.py collectstatic",
        "python absent.py collectstatic",
        "grep -q a /etc/b && python manage.py collectstatic",
        "python manage.py collectstatic $(cat /etc/flags)",
        "python",
    ],
)
def test_what_is_another_command_or_not_decided_is_not_recorded(project: Project, run: str) -> None:
    assert recorded(project, run) == ()
    assert not any("when a container starts" in line for line in project.said)


def test_folder_and_variables_are_those_of_the_line(project: Project) -> None:
    run = "cd src && ONE=1 env TWO=2 python manage.py collectstatic || true"
    (command,) = recorded(project, run, 'ARG ARGUMENT=a\nENV MODE=build\nSHELL ["/bin/bash", "-c"]\n')
    assert command == StartCommand(
        line=7,
        words=("python", "manage.py", "collectstatic"),
        env={"ARGUMENT": "a", "MODE": "build", "ONE": "1", "TWO": "2"},
        workdir="/srv/src",
        may_fail=True,
    )
    assert project.said == [NOTE.format(7, "python manage.py collectstatic")]


def test_other_commands_of_the_step_are_still_named(project: Project) -> None:
    recorded(project, "npm run build && python manage.py collectstatic --noinput")
    assert project.said[0] == "sandbox: not done here: RUN npm run build (line 4)"
    assert "line 4 made no files here: `npm run build`:" in project.said[1]
    assert project.said[2:] == [NOTE.format(4, " ".join(COLLECT))]


def test_commands_of_the_stages_that_the_image_is_made_of_are_kept_in_their_order(project: Project) -> None:
    project.put("manage.py")
    image = project.build(
        "FROM x AS base\nWORKDIR /srv\nCOPY manage.py .\nRUN python manage.py compilemessages\n"
        "FROM x AS other\nCOPY manage.py .\nRUN python manage.py collectstatic\n"
        "FROM x AS maker\nCOPY manage.py /src/app/\nWORKDIR /src/app\n"
        "RUN python /src/app/manage.py collectstatic\n"
        "FROM base\nRUN python manage.py collectstatic\nCOPY --from=maker /src /code\n"
        "COPY --from=other /etc/absent /etc/\n"
    )
    assert [(each.words[1:], each.workdir) for each in image.start_commands] == [
        (("manage.py", "compilemessages"), "/srv"),
        (("manage.py", "collectstatic"), "/srv"),
        (("/code/app/manage.py", "collectstatic"), "/code/app"),
    ]


def test_files_that_only_a_mount_has_are_not_counted_on(project: Project) -> None:
    project.put("manage.py")
    image = project.build(
        "FROM x\nWORKDIR /srv\nRUN --mount=type=bind,source=.,target=/srv python manage.py collectstatic\n"
    )
    assert image.start_commands == ()
    assert any("line 3 made no files here" in line for line in project.said)
