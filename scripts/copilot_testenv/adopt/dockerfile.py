"""Plan the Dockerfile: write one if there is none, else add the lines that copy_stage_db needs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources
from pathlib import PurePosixPath

from copilot_testenv.adopt import stamps
from copilot_testenv.adopt.changes import Change, NotChanged
from copilot_testenv.adopt.project import UNSTAMPED_DOCKERFILE, Project
from copilot_testenv.adopt.renewal import Renewal

IGNORE = ".dockerignore"
# psycopg 3 has a folder of its own: Django prefers it if it can import it, but the project may use psycopg2.
LIBRARIES = "/opt/django-testenv"
_PSYCOPG = "psycopg[binary]==3.2.13"  # the last one that knows Python 3.9
_BY_HAND = (
    "Install {wheel} into the image with `pip install --no-deps`, psycopg 3 into a folder that "
    "DJANGO_TESTENV_LIBRARIES names, and the Postgres client; copy deployment.json beside manage.py."
)
# The Postgres client must not be older than staging's server, so it comes from Postgres's own repository.
_CLIENT = """apt-get update \\
    && apt-get install --yes --no-install-recommends postgresql-common \\
    && /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y \\
    && apt-get install --yes --no-install-recommends postgresql-client-18 \\
    && rm -rf /var/lib/apt/lists/*"""
_ANY_VERSION = "# The available version depends on the image's Debian.\n# hadolint ignore=DL3008\n"
_ALPINE_CLIENT = "apk add --no-cache postgresql-client"
_INSTALL = "pip install --no-cache-dir"
# The lines that a version without stamps wrote into .dockerignore; no pattern among them is the owner's.
_UNSTAMPED_IGNORE = re.compile(
    rf"(?m)^{re.escape(UNSTAMPED_DOCKERFILE)}: .*\n(?:!(?:deployment\.json|scripts/.*)(?:\n|\Z))*"
)
_END_OF_ROOT = re.compile(r"(?i)\s*(USER|CMD|ENTRYPOINT)\s")  # our lines must come before these


def is_ours(project: Project) -> bool:
    """Return True if `adopt` wrote the whole Dockerfile, or will write it because there is none."""
    text = project.text(project.dockerfile)
    if text is None:
        return True
    found = stamps.find(text.replace("\r\n", "\n"))
    return bool(found and found.is_whole) or text.startswith(f"{UNSTAMPED_DOCKERFILE}: the project's image")


def plan(renewal: Renewal, pins: Mapping[str, str], wheel: str) -> Change | NotChanged | None:
    """Plan a Dockerfile of ours as a whole, or our block in the owner's; None if nothing must change.

    `pins` maps packages to their versions, `wheel` is the path of our wheel in the project.
    """
    project = renewal.project
    path, context = project.build.dockerfile, project.build.context
    text = project.text(path)
    by_hand = _BY_HAND.format(wheel=wheel)
    if PurePosixPath(context) != PurePosixPath("."):
        return NotChanged(
            path,
            f"its build context is {context}/, and {wheel} is outside of it. Make the workspace the "
            f"context (`image.build.context: .`). {by_hand}",
        )
    if is_ours(project):
        body = _written(project, pins, wheel)
        if text is not None and not stamps.find(text.replace("\r\n", "\n")):
            return renewal.plan_legacy(path, text, body, lambda text: (0, len(text)), is_whole=True)
        return renewal.plan_file(path, body)
    return _renewed(renewal, text or "", wheel, by_hand)


def _renewed(renewal: Renewal, text: str, wheel: str, by_hand: str) -> Change | NotChanged | None:
    """Plan to add or renew the block in the owner's Dockerfile."""
    path, lines = renewal.project.build.dockerfile, text.replace("\r\n", "\n")
    stage = _last_stage(_without_block(lines))
    if stage is None:
        return NotChanged(path, f"it has no FROM. {by_hand}")
    body = _block(_without_block(lines), stage, wheel)
    if UNSTAMPED_DOCKERFILE in lines:
        return renewal.plan_legacy(path, text, body, _unstamped)
    if stamps.find(lines):
        return renewal.plan_block(path, text, body)
    if "django_testenv" in lines:  # somebody wrote it by hand
        return None
    return _inserted(path, text, stage, body)


def plan_ignore(renewal: Renewal, wheel: str, *, is_copy: bool) -> Change | NotChanged | None:
    """Plan a .dockerignore that does not hide the image's files; None if nothing must change.

    `is_copy`: a version without stamps wrote the existing file.
    """
    text = renewal.project.text(IGNORE)
    if text is None:
        return renewal.plan_file(IGNORE, _template("dockerignore")) if is_ours(renewal.project) else None
    if is_copy:
        return Change(IGNORE, text.encode(), stamps.whole(_template("dockerignore")).encode())
    body = f"!deployment.json\n!{wheel}\n"
    plain = text.replace("\r\n", "\n")
    if found := stamps.find(plain):
        return renewal.plan_block(IGNORE, text, _template("dockerignore") if found.is_whole else body)
    if old := _UNSTAMPED_IGNORE.search(plain):
        return Change(IGNORE, text.encode(), stamps.spliced(text, *old.span(), stamps.block(body)).encode())
    if not _hides(plain):
        return None
    return Change(IGNORE, text.encode(), stamps.appended(text, body, empty_lines=0).encode())


def _hides(text: str) -> bool:
    """Return True if a pattern may hide our files: it begins with a star, or names them."""
    return any(
        re.match(r"/?(\*\*/)*(\*+(/\*+)*$|\*\.(json|whl)$|vendor|deployment)", line.strip())
        for line in text.splitlines()
    )


def _written(project: Project, pins: Mapping[str, str], wheel: str) -> str:
    wsgi = re.search(r"^WSGI_APPLICATION *= *['\"]([\w.]+)\.\w+['\"]", project.all_settings, re.MULTILINE)
    module = wsgi[1] if wsgi else f"{project.settings_module.split('.')[0]}.wsgi"
    has_requirements = project.bytes("requirements.txt") is not None
    wanted = ["gunicorn", "whitenoise"]
    if not has_requirements:
        wanted.insert(0, "Django")
    if not _installed(project, "psycopg2") and not _installed(project, "psycopg2-binary"):
        wanted.append("psycopg[binary]")
    installs = [f"{_INSTALL} -r requirements.txt"] if has_requirements else []
    packages = " ".join(f'"{name}=={pins[name]}"' for name in wanted if not _installed(project, name))
    if packages:
        installs.append(f"{_INSTALL} {packages}")
    return (
        _template("Dockerfile")
        .replace("@SETTINGS@", project.settings_module)
        .replace("@REQUIREMENTS@\n", "COPY requirements.txt ./\n" if has_requirements else "")
        .replace("@INSTALLS@\n", _run(installs))
        .replace("@RUNTIME@\n", _runtime(wheel))
        .replace("@PORT@", str(project.port))
        .replace("@WSGI@", module)
    )


def _template(name: str) -> str:
    return (resources.files("copilot_testenv.adopt") / "templates" / name).read_text(encoding="utf-8")


def _run(commands: list[str]) -> str:
    """Return one RUN for all commands: hadolint reports several in a row (DL3059)."""
    return "RUN " + " \\\n    && ".join(commands) + "\n" if commands else ""


def _installed(project: Project, package: str) -> bool:
    """Return True if the project installs any version of the package."""
    plain = re.escape(package.split("[", maxsplit=1)[0])
    return bool(re.search(rf"(?im)(?:^|[\s\"'=]){plain}(?![\w-])", project.required))


def _runtime(wheel: str) -> str:
    """Return the lines that install our package, and psycopg 3 in a folder that only copy_stage_db uses."""
    name = PurePosixPath(wheel).name
    return (
        f"COPY {wheel} /tmp/\n"
        f"RUN {_INSTALL} --no-deps /tmp/{name} \\\n"
        f'    && {_INSTALL} --target {LIBRARIES} "{_PSYCOPG}"\n'
        f"ENV DJANGO_TESTENV_LIBRARIES={LIBRARIES}\n"
    )


def _without_block(text: str) -> str:
    """Return the Dockerfile without our lines."""
    if found := stamps.find(text):
        return text[: found.start] + text[found.end :]
    place = _unstamped(text)
    return text[: place[0]] + text[place[1] :] if place else text


def _unstamped(text: str) -> tuple[int, int] | None:
    start = text.find(UNSTAMPED_DOCKERFILE)
    if start < 0:
        return None
    end = next(
        (
            found.start()
            for found in re.finditer(rf"(?m)^{_END_OF_ROOT.pattern[4:]}", text)
            if found.start() > start
        ),
        len(text),
    )
    return start, end


def _last_stage(text: str) -> list[str] | None:
    """Return the last stage's lines before USER, CMD and ENTRYPOINT; None if there is no stage."""
    lines = text.splitlines(keepends=True)
    stages = [number for number, line in enumerate(lines) if re.match(r"(?i)\s*FROM\s", line)]
    if not stages:
        return None
    continued = {number + 1 for number, line in enumerate(lines) if line.rstrip().endswith("\\")}
    end = next(
        (
            number
            for number in range(stages[-1] + 1, len(lines))
            if _END_OF_ROOT.match(lines[number]) and number not in continued
        ),
        len(lines),
    )
    return lines[stages[-1] : end]


def _inserted(path: str, text: str, stage: list[str], body: str) -> Change:
    """Insert the block after the stage's last line that root runs."""
    plain = text.replace("\r\n", "\n")
    head = "".join(stage)
    place = plain.rindex(head) + len(head)
    gap = "" if head.endswith("\n") else "\n"
    after = stamps.spliced(text, place, place, gap + stamps.block(body))
    return Change(path, text.encode(), after.encode())


def _workdir(lines: list[str]) -> str:
    folder = "/"
    for line in lines:
        found = re.match(r"(?i)\s*WORKDIR\s+(\S+)", line)
        if found:
            folder = str(PurePosixPath(folder) / found[1])
    return folder.rstrip("/")


def _block(text: str, stage: list[str], wheel: str) -> str:
    """Return the lines that add copy_stage_db's needs to the last stage, and the file with the commit."""
    added = "# What `manage.py copy_stage_db` needs, and which commit this is.\n"
    if "postgresql-client" not in text:
        client = _ALPINE_CLIENT if "alpine" in stage[0].lower() else _CLIENT
        added += (_ANY_VERSION if client == _CLIENT else "") + _run([client])
    added += _runtime(wheel)
    if not any(re.match(r"(?i)\s*(COPY|ADD)\s+(--\S+\s+)*\.\s", line) for line in stage):  # not all of it
        # Only a deploy writes deployment.json into the build context; the pattern makes it optional.
        added += f"COPY manage.py deployment.jso[n] {_workdir(stage)}/\n"
    return added
