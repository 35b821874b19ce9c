"""The Dockerfile: written where there is none, else given the lines that copy_stage_db needs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from scripts.adoption.changes import Change, Left
from scripts.adoption.project import Project
from scripts.adoption.shipped import SHIPPED

MARK = "# Test environments (invoke adopt)"
_BY_HAND = (
    f"Copy {', '.join(each.path for each in SHIPPED)} and deployment.json into the image, beside manage.py, "
    "and install the Postgres client and psycopg 3."
)
IGNORE = ".dockerignore"
_TEMPLATE = Path(__file__).with_name("templates") / "Dockerfile"
# What copy_stage_db runs must not be older than staging's server: hence Postgres's own repository.
_CLIENT = """apt-get update \\
    && apt-get install --yes --no-install-recommends postgresql-common \\
    && /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y \\
    && apt-get install --yes --no-install-recommends postgresql-client-18 \\
    && rm -rf /var/lib/apt/lists/*"""
_ANY_VERSION = "# Which version there is depends on the image's Debian.\n# hadolint ignore=DL3008\n"
_ALPINE_CLIENT = "apk add --no-cache postgresql-client"
_INSTALL = "pip install --no-cache-dir"


def plan(project: Project, pins: Mapping[str, str]) -> Change | Left | None:
    """The Dockerfile, new or with the lines; None where it lacks nothing. `pins` are versions of packages."""
    path, context = project.build.dockerfile, project.build.context
    text = project.text(path)
    if text is not None and (MARK in text or "scripts/stage_copy" in text):
        return None
    if PurePosixPath(context) != PurePosixPath("."):
        return Left(
            path,
            f"its build context is {context}/, and scripts/ lies outside of it. Make the repository the "
            f"context (`image.build.context: .`). {_BY_HAND}",
        )
    after = _written(project, pins) if text is None else _added(project, text, pins)
    if after is None:
        return Left(path, f"it has no FROM. {_BY_HAND}")
    return None if after == text else Change(path, None if text is None else text.encode(), after.encode())


def plan_ignore(project: Project) -> Change | None:
    """The .dockerignore lets through what the image needs; None where there is none, or it does."""
    text = project.text(IGNORE)
    lines = ["!deployment.json", *(f"!{each.path}" for each in SHIPPED)]
    missing = [line for line in lines if text is not None and line not in text.splitlines()]
    if text is None or not missing or not _hides(text):
        return None
    end = "\r\n" if "\r\n" in text else "\n"
    gap = "" if text.endswith("\n") or not text else end
    added = f"{MARK}: the image needs these.\n".replace("\n", end) + "".join(
        f"{line}{end}" for line in missing
    )
    return Change(IGNORE, text.encode(), (text + gap + added).encode())


def _hides(text: str) -> bool:
    """Whether a pattern may hide our files: one that begins with a star, or names them."""
    return any(
        re.match(r"\*\*?(/\*)?$|/?scripts|\*\*/scripts|\*\.json|deployment", line)
        for line in text.splitlines()
    )


def _written(project: Project, pins: Mapping[str, str]) -> str:
    wsgi = re.search(r"^WSGI_APPLICATION *= *['\"]([\w.]+)\.\w+['\"]", project.all_settings, re.MULTILINE)
    module = wsgi[1] if wsgi else f"{project.settings_module.split('.')[0]}.wsgi"
    has_requirements = project.bytes("requirements.txt") is not None
    wanted = ["gunicorn", "psycopg[binary]", "whitenoise"]
    if not has_requirements:
        wanted.insert(0, "Django")
    installs = [f"{_INSTALL} -r requirements.txt"] if has_requirements else []
    packages = " ".join(f'"{name}=={pins[name]}"' for name in wanted if not _installed(project, name))
    if packages:
        installs.append(f"{_INSTALL} {packages}")
    return (
        _TEMPLATE.read_text(encoding="utf-8")
        .replace("@SETTINGS@", project.settings_module)
        .replace("@REQUIREMENTS@\n", "COPY requirements.txt ./\n" if has_requirements else "")
        .replace("@INSTALLS@\n", _run(installs))
        .replace("@PORT@", str(project.port))
        .replace("@WSGI@", module)
    )


def _run(commands: list[str]) -> str:
    """One layer for all of them: hadolint counts several in a row as a fault (DL3059)."""
    return "RUN " + " \\\n    && ".join(commands) + "\n" if commands else ""


def _installed(project: Project, package: str) -> bool:
    """Whether the project installs it, whatever the version."""
    plain = re.escape(package.split("[", maxsplit=1)[0])
    return bool(re.search(rf"(?im)(?:^|[\s\"'=]){plain}(?![\w-])", project.required))


def _added(project: Project, text: str, pins: Mapping[str, str]) -> str | None:
    """The text with our lines in its last stage: while it is root's still, and before what is run.

    None where there is no stage.
    """
    lines = text.splitlines(keepends=True)
    stages = [number for number, line in enumerate(lines) if re.match(r"(?i)\s*FROM\s", line)]
    if not stages:
        return None
    continued = {number + 1 for number, line in enumerate(lines) if line.rstrip().endswith("\\")}
    place = next(
        (
            number
            for number in range(stages[-1] + 1, len(lines))
            if re.match(r"(?i)\s*(USER|CMD|ENTRYPOINT)\s", lines[number]) and number not in continued
        ),
        len(lines),
    )
    block = _block(project, lines[stages[-1] : place], text, pins)
    if not block:
        return text
    gap = "" if lines[place - 1].endswith("\n") else "\n"
    return "".join([*lines[:place], gap, block, *lines[place:]])


def _workdir(lines: list[str]) -> str:
    folder = "/"
    for line in lines:
        found = re.match(r"(?i)\s*WORKDIR\s+(\S+)", line)
        if found:
            folder = str(PurePosixPath(folder) / found[1])
    return folder.rstrip("/")


def _block(project: Project, stage: list[str], text: str, pins: Mapping[str, str]) -> str:
    """What the last stage lacks; empty where it lacks nothing."""
    commands = []
    if "postgresql-client" not in text:
        commands.append(_ALPINE_CLIENT if "alpine" in stage[0].lower() else _CLIENT)
    if not _installed(project, "psycopg[binary]"):
        commands.append(f'{_INSTALL} "psycopg[binary]=={pins["psycopg[binary]"]}"')
    added = (_ANY_VERSION if _CLIENT in commands else "") + _run(commands)
    if not any(re.match(r"(?i)\s*(COPY|ADD)\s+(--\S+\s+)*\.\s", line) for line in stage):  # not all of it
        folder = _workdir(stage)
        for each in SHIPPED:
            added += f"COPY {each.path} {folder}/{each.path}\n"
        # Only a deploy writes deployment.json into the build context: a build by hand goes without.
        added += f"COPY manage.py deployment.jso[n] {folder}/\n"
    return added and f"{MARK}: what `manage.py copy_stage_db` needs, and which commit this is.\n{added}"
