"""A build does a Dockerfile's other steps, and lists those that it cannot do."""

from __future__ import annotations

import sys

import pytest

from copilot_sandbox.errors import SandboxError
from tests.sandbox.builds import Project, files

ONLY_PYTHON = (
    "without an engine only Python packages are installed; the image lacks what it makes, unless a "
    "container's command makes it too"
)


def nothing(line: int, step: str, reason: str) -> str:
    return f"sandbox: line {line} copied nothing here: `{step}`: {reason}; what uses it does not find it"


def test_variables_come_from_env_then_arg_then_the_command_line(project: Project) -> None:
    image = project.build(
        "ARG TAG=1\nFROM x:${TAG}\nARG TAG\nARG WHO=nobody\nARG UNSET\n"
        "ENV WHO_IS=$WHO TAG_IS=$TAG U=${UNSET:-d}\n"
        'ENV WHO_IS="$WHO_IS!" PATH=/own:$PATH\n',
        arguments={"WHO": "me", "UNDECLARED": "x"},
    )

    assert {**image.env, "PATH": image.env["PATH"][:19]} == {
        "WHO_IS": "me!",
        "TAG_IS": "1",
        "U": "d",
        "PATH": "/own:/usr/local/bin",
    }


def test_the_command_has_a_shell_form_and_an_exec_form(project: Project) -> None:
    plain = project.build("FROM x\nCMD a $B\n")
    listed = project.build('FROM x\nSHELL ["/bin/bash", "-c"]\nENTRYPOINT ["e", "$F"]\nCMD c d\n')

    assert (plain.entrypoint, plain.cmd) == ((), ("/bin/sh", "-c", "a $B"))
    assert (listed.entrypoint, listed.cmd) == (("e", "$F"), ("/bin/bash", "-c", "c d"))


def test_an_entrypoint_takes_the_base_images_command_away(project: Project) -> None:
    assert project.build("FROM python:3\n").cmd == ("python3",)
    assert project.build("FROM python:3\nENTRYPOINT e\n").cmd == ()
    assert project.build("FROM python:3\nCMD c\nENTRYPOINT e\n").cmd == ("/bin/sh", "-c", "c")


def test_a_folder_of_the_base_image_is_a_folder_without_a_slash_too(project: Project) -> None:
    project.put("a.txt", "a")
    image = project.build("FROM x\nCOPY a.txt /opt\nWORKDIR /srv\nCOPY a.txt /srv\nCOPY a.txt /usr/src\n")
    assert files(image) == ["/opt/a.txt", "/srv/a.txt", "/usr/src/a.txt"]


def test_an_image_of_python_tells_its_version_as_the_official_ones_do(project: Project) -> None:
    version = ".".join(map(str, sys.version_info[:3]))
    assert project.build(f"FROM python:3.{sys.version_info.minor}\n").env["PYTHON_VERSION"] == version
    assert "PYTHON_VERSION" not in project.build("FROM x\n").env


@pytest.mark.parametrize(("base", "is_said"), [("node:24-slim", False), ("debian:12", True)])
def test_a_script_of_a_stage_that_builds_no_python_is_not_said_to_miss_packages(
    project: Project, base: str, *, is_said: bool
) -> None:
    project.put("run.sh", "#!/bin/sh\nbuild() { npm run build; pip install x; }\nbuild\n")
    project.build(f"FROM {base}\nCOPY run.sh /\nRUN /run.sh\n")
    assert any("installed nothing" in line for line in project.said) is is_said


def test_volumes_and_nested_working_folders_are_made(project: Project) -> None:
    image = project.build('FROM x\nWORKDIR /app\nWORKDIR sub\nVOLUME ["/data", "/app/static"]\n')

    assert image.workdir == "/app/sub"
    assert image.paths == ("/app", "/app/static", "/data")
    assert all((image.root / path).is_dir() for path in ("app/sub", "data", "app/static"))


def test_stages_hand_files_on_and_only_those_needed_are_built(project: Project) -> None:
    project.put("a.txt", "a")

    image = project.build(
        "FROM x AS base\nWORKDIR /src\nCOPY a.txt .\nFROM base AS unneeded\nCOPY absent .\n"
        "FROM y\nCOPY --from=base /src/a.txt /app/\nCOPY --from=0 /src /copy\n"
        "COPY --from=base /usr/lib/made.so /app/\nCOPY --from=ghcr.io/a/uv:latest /uv /bin/\n"
    )

    assert files(image) == ["/app/a.txt", "/copy/a.txt"]
    assert project.said == [
        "sandbox: not done here: COPY --from=base /usr/lib/made.so /app/ (line 9)",
        nothing(10, "COPY --from=ghcr.io/a/uv:latest /uv /bin/", "no image is pulled without an engine"),
    ]


def test_a_target_stage_is_built_as_the_last(project: Project) -> None:
    text = "FROM x AS one\nENV A=1\nFROM one AS two\nENV A=2\n"

    assert project.build(text, target="one").env == {"A": "1"}
    assert project.build(text).env == {"A": "2"}
    with pytest.raises(SandboxError, match="target stage 'three' could not be found"):
        project.build(text, target="three")


def test_heredocs_become_files(project: Project) -> None:
    image = project.build(
        "FROM x\nENV A=1\nCOPY <<EOF <<'RAW' /app/\n\"$A\"\nEOF\n$A\nRAW\nCOPY <<E /app/named\nx\nE\n"
    )

    assert {name: (image.root / "app" / name).read_text() for name in ("EOF", "RAW", "named")} == {
        "EOF": '"1"\n',
        "RAW": "$A\n",
        "named": "x\n",
    }


def test_what_cannot_be_done_is_listed_with_its_line(project: Project) -> None:
    project.put("files.tar.gz")

    project.build(
        "FROM x\nRUN apt-get update && apt-get install -y postgresql-client\nADD https://example.org/a /a\n"
        "ADD files.tar.gz /b/\nRUN python manage.py collectstatic\nUSER app\n"
        "EXPOSE 80\nHEALTHCHECK CMD true\nLABEL a=b\n"
    )

    assert project.said == [
        "sandbox: not done here: RUN apt-get update && apt-get install -y postgresql-client (line 2)",
        nothing(3, "ADD https://example.org/a /a", "ADD downloads and unpacks nothing without an engine"),
        nothing(4, "ADD files.tar.gz /b/", "ADD downloads and unpacks nothing without an engine"),
        "sandbox: not done here: RUN python manage.py collectstatic (line 5)",
        f"sandbox: line 5 made no files here: `python manage.py collectstatic`: {ONLY_PYTHON}",
        "sandbox: not done here: USER app (line 6)",
    ]


def test_assets_that_no_stage_makes_are_named_by_the_step_and_by_the_copy(project: Project) -> None:
    project.put("package.json", "{}")
    project.build(
        "FROM ghcr.io/astral-sh/uv:0.9 AS uv\nFROM node:22 AS assets\nWORKDIR /a\nCOPY *.json .\n"
        "RUN npm ci\nRUN npm run build && node x.js\n"
        "FROM x\nCOPY --from=uv /uv /uvx /bin/\nCOPY --from=assets /a/dist /app/static\n"
        "COPY --from=assets /usr/lib/libx.so /usr/lib/\n"
        "COPY --from=node:22 /usr/local/bin/node /usr/local/bin/\n"
    )
    node = "COPY --from=node:22 /usr/local/bin/node /usr/local/bin/"
    assert [line for line in project.said if line.startswith("sandbox: line")] == [
        f"sandbox: line 6 made no files here: `npm run build && node x.js`: {ONLY_PYTHON}",
        nothing(9, "COPY --from=assets /a/dist /app/static", "no step that is carried out here makes it"),
        nothing(11, node, "no image is pulled without an engine"),
    ]


@pytest.mark.parametrize(
    ("command", "is_said"),
    [
        ("yarn build", True),
        ("yarn", False),
        ("yarn install --frozen-lockfile", False),
        ("npm --prefix theme run build", True),
        ("npm install -g sass", False),
        ("npx tailwindcss -o static/x.css", True),
        ("SECRET_KEY=x ./manage.py compress --force", True),
        ("python -m django compilemessages", True),
        ("python manage.py check", False),
        ("curl -fsSL https://example.org/bundle.pem -o /etc/ssl/bundle.pem", True),
        ("curl -fsSL https://example.org/key.gpg -o /etc/apt/keyrings/x.gpg", False),
        ("wget -q https://example.org/model.bin", True),
        ("wget -qO- https://example.org/key | apt-key add -", False),
        ("useradd app && chown -R app /app", False),
    ],
)
def test_a_step_that_is_not_run_is_said_at_once_if_the_image_needs_its_files(
    project: Project, command: str, *, is_said: bool
) -> None:
    project.build(f"FROM x\nRUN {command}\n")
    assert any(line.startswith("sandbox: line 2 ") for line in project.said) is is_said


def test_another_python_than_the_hosts_is_told(project: Project) -> None:
    project.build("FROM python:3.2-slim AS a\nFROM a\n")
    here = f"{sys.version_info.major}.{sys.version_info.minor}"

    assert project.said == [
        f"sandbox: python:3.2-slim is Python 3.2; here it runs on Python {here} ({sys.executable})"
    ]
    project.build(f"FROM docker.io/library/python:{here}-slim\n")
    assert project.said == []


@pytest.mark.parametrize(
    ("base", "version"),
    [("nginx:1.27-alpine", "1.27-alpine"), ("public.ecr.aws/nginx/nginx", "latest"),
     ("nginxinc/nginx-unprivileged:1.27@sha256:0", "1.27")],
)  # fmt: skip
def test_what_is_built_from_nginx_starts_as_nginx_does(project: Project, base: str, version: str) -> None:
    image = project.build(f"FROM {base}\nCOPY Dockerfile /etc/nginx/conf.d/default.conf\n")
    assert image.env["NGINX_VERSION"] == version
    assert (image.entrypoint, image.cmd) == (("docker-entrypoint.sh",), ("nginx", "-g", "daemon off;"))


def test_what_is_only_called_like_nginx_is_none(project: Project) -> None:
    assert "NGINX_VERSION" not in project.build("FROM my-nginx:1\n").env
