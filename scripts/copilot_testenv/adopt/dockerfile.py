"""Plan the Dockerfiles: write one if there is none, else add what the settings and copy_stage_db need."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import PurePosixPath

from copilot_testenv.adopt import images, stamps
from copilot_testenv.adopt.changes import Change, NotChanged
from copilot_testenv.adopt.images import Image
from copilot_testenv.adopt.project import UNSTAMPED_DOCKERFILE, Project
from copilot_testenv.adopt.renewal import Renewal

IGNORE = ".dockerignore"
_OLDEST_PYTHON = (3, 9)  # of django-testenv
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


def is_ours(project: Project) -> bool:
    """Return True if `adopt` wrote the whole Dockerfile, or will write it because there is none."""
    text = project.text(project.dockerfile)
    if text is None:
        return True
    found = stamps.find(text.replace("\r\n", "\n"))
    return bool(found and found.is_whole) or text.startswith(f"{UNSTAMPED_DOCKERFILE}: the project's image")


def plan(renewal: Renewal, pins: Mapping[str, str], wheel: str) -> Iterator[Change | NotChanged | None]:
    """Plan to write the service's Dockerfile, or to add or renew a block in each that runs the settings.

    `pins` are versions, `wheel` is the name of a file.
    """
    project = renewal.project
    image = images.main(project)
    path, text = image.build.dockerfile, project.text(image.build.dockerfile)
    if is_ours(project):
        body = _written(image, pins, wheel)
        if text is not None and not stamps.find(text.replace("\r\n", "\n")):
            yield renewal.plan_legacy(path, text, body, lambda text: (0, len(text)), is_whole=True)
        else:
            yield renewal.plan_file(path, body)
    else:
        yield _renewed(renewal, image, wheel, is_main=True)
        yield _too_old(image)
    planned = {path}
    for other in images.others(project):
        if other.build.dockerfile not in planned:
            planned.add(other.build.dockerfile)
            yield _renewed(renewal, other, wheel, is_main=False)
        elif not _shares_lines(image, other) and not other.has_lines_by_hand:
            yield NotChanged(
                other.build.dockerfile,
                f"{', '.join(other.places)} builds its stage {other.build.target or 'at the end'}, "
                "which runs the settings too and lacks the lines that are added for the service. Add to that "
                f"stage, if it is to be deployed to {project.test_env}:\n"
                f"{_indented(_runtime(other, wheel) + _in_environment(other, wheel))}",
            )


def _too_old(image: Image) -> NotChanged | None:
    """Name an image of a Python that cannot install what is added."""
    base = image.stages.chain(image.stage)[0].base if image.stage else ""
    found = re.search(r"(?:^|/)python:(\d+)\.(\d+)", base)
    if not found or (int(found[1]), int(found[2])) >= _OLDEST_PYTHON:
        return None
    wanted = ".".join(map(str, _OLDEST_PYTHON))
    return NotChanged(
        image.build.dockerfile,
        f"it is built from {base}, and django-testenv needs Python {wanted} or newer: an engine, and AWS, "
        "cannot build it. Name a newer Python in FROM.",
    )


def _shares_lines(image: Image, other: Image) -> bool:
    """Return True if the other image of the same Dockerfile begins with the stage that gets our lines."""
    if image.build.dockerfile != other.build.dockerfile or not image.stage or not other.stage:
        return image.build == other.build
    return image.stage in other.stages.chain(other.stage)


def _renewed(renewal: Renewal, image: Image, wheel: str, *, is_main: bool) -> Change | NotChanged | None:
    """Plan to add or renew the block in a Dockerfile of the owner's; the short one in other images."""
    path = image.build.dockerfile
    text = renewal.project.text(path) or ""
    lines = text.replace("\r\n", "\n")
    by_hand = _BY_HAND.format(wheel=image.wheel(wheel))
    if image.stage is None:
        what = f"no stage {image.build.target!r}" if image.stages.stages else "no FROM"
        return NotChanged(path, f"it has {what}. {by_hand}")
    if is_main and image.manage.startswith(".."):
        return NotChanged(
            path,
            f"its build context {image.build.context}/ does not have manage.py, which is in "
            f"{renewal.project.place(renewal.project.django)}: name a context with it in "
            f"`image.build.context` of {renewal.project.manifest_path}. {by_hand}",
        )
    place = image.stages.place(image.stage)
    body = _block(image, place.user, wheel) if is_main else _short_block(image, place.user, wheel)
    if UNSTAMPED_DOCKERFILE in lines:
        return renewal.plan_legacy(path, text, body, images.unstamped)
    if found := stamps.find(lines):
        planned = renewal.plan_block(path, text, body)
        is_early = lines[: found.start].count("\n") < place.line
        return _after_the_manager(image, planned, place.line, body) if is_early else planned
    if "django_testenv" in lines:  # somebody wrote it by hand
        return None
    return _inserted(path, text, place.line, body)


def _after_the_manager(
    image: Image, planned: Change | NotChanged | None, line: int, body: str
) -> Change | NotChanged | None:
    """Move a block that stands before the steps of poetry or Pipenv, which it needs, to after them."""
    if not image.manager or not isinstance(planned, Change) or b"\r" in (planned.before or b""):
        return planned
    moved = _inserted(planned.path, image.text or "", line, body)
    return Change(planned.path, planned.before, moved.after)


def plan_ignore(renewal: Renewal, wheel: str, *, is_copy: bool) -> Iterator[Change | NotChanged | None]:
    """Plan each .dockerignore that hides the images' files.

    `is_copy`: a version without stamps wrote the existing file.
    """
    project = renewal.project
    planned: dict[str, list[str]] = {}
    for image in (images.main(project), *images.others(project)):
        path = ignore_path(image)
        lines = planned.setdefault(path, [])
        needed = image.project.in_context(image.wheel(wheel), image.build.context)
        lines += [line for line in (f"!{images.DEPLOYMENT_FILE}", f"!{needed}") if line not in lines]
    for number, (path, lines) in enumerate(planned.items()):
        yield _ignore(renewal, path, lines, is_copy=is_copy and number == 0, is_main=number == 0)


def ignore_path(image: Image) -> str:
    """Return the path of the image's .dockerignore: the one of its Dockerfile, if there is one."""
    own = f"{image.build.dockerfile}.dockerignore"
    if image.project.bytes(own) is not None:
        return own
    return str(PurePosixPath(image.build.context) / IGNORE)


def _ignore(
    renewal: Renewal, path: str, lines: list[str], *, is_copy: bool, is_main: bool
) -> Change | NotChanged | None:
    text = renewal.project.text(path)
    if text is None:
        is_new = is_main and is_ours(renewal.project)
        return renewal.plan_file(path, _template("dockerignore")) if is_new else None
    if is_copy:
        return Change(path, text.encode(), stamps.whole(_template("dockerignore")).encode())
    body = "".join(f"{line}\n" for line in lines)
    plain = text.replace("\r\n", "\n")
    if found := stamps.find(plain):
        return renewal.plan_block(path, text, _template("dockerignore") if found.is_whole else body)
    if old := _UNSTAMPED_IGNORE.search(plain):
        return Change(path, text.encode(), stamps.spliced(text, *old.span(), stamps.block(body)).encode())
    if not _hides(plain, lines[-1].lstrip("!")):
        return None
    return Change(path, text.encode(), stamps.appended(text, body, empty_lines=0).encode())


def _hides(text: str, wheel: str) -> bool:
    """Return True if a pattern may hide our files: it begins with a star, or names them."""
    first = re.escape(wheel.split("/", maxsplit=1)[0])
    return any(
        re.match(
            rf"/?(\*\*/)*(\*+(/\*+)*$|\*\.(json|whl)$|{images.VENDOR}|deployment|{first}(/|\*|$))",
            line.strip(),
        )
        for line in text.splitlines()
    )


def _written(image: Image, pins: Mapping[str, str], wheel: str) -> str:
    project = image.project
    wsgi = re.search(r"^WSGI_APPLICATION *= *['\"]([\w.]+)\.\w+['\"]", project.all_settings, re.MULTILINE)
    module = wsgi[1] if wsgi else f"{project.settings_module.split('.')[0]}.wsgi"
    folder = str(PurePosixPath(image.manage).parent)
    requirements = str(PurePosixPath(folder) / "requirements.txt")
    has_requirements = project.bytes(project.below_manage("requirements.txt")) is not None
    wanted = ["gunicorn", "whitenoise"]
    if not has_requirements:
        wanted.insert(0, "Django")
    if not _installed(project, "psycopg2") and not _installed(project, "psycopg2-binary"):
        wanted.append("psycopg[binary]")
    installs = [f"{_INSTALL} -r requirements.txt"] if has_requirements else []
    packages = " ".join(f'"{name}=={pins[name]}"' for name in wanted if not _installed(project, name))
    if packages:
        installs.append(f"{_INSTALL} {packages}")
    everything = "COPY . .\n"
    if folder != ".":
        everything = f"COPY {folder}/ ./\nCOPY {image.manage} {images.DEPLOYMENT_FILE[:-1]}[n] ./\n"
    return (
        _template("Dockerfile")
        .replace("@SETTINGS@", project.settings_module)
        .replace("@REQUIREMENTS@\n", f"COPY {requirements} ./\n" if has_requirements else "")
        .replace("@INSTALLS@\n", _run(installs))
        .replace("@RUNTIME@\n", _runtime(image, wheel))
        .replace("@EVERYTHING@\n", everything)
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


def _runtime(image: Image, wheel: str) -> str:
    """Return the lines that install our package, and psycopg 3 in a folder that only copy_stage_db uses."""
    install, before = _INSTALL, ""
    if image.lacks_pip:
        install, before = f"{image.python} -m {_INSTALL}", f"{image.python} -m ensurepip \\\n    && "
    ours = f"{before}{install} --no-deps /tmp/{wheel}"
    libraries = f'{install} --target {LIBRARIES} "{_PSYCOPG}"'
    return (
        f"COPY {image.project.in_context(image.wheel(wheel), image.build.context)} /tmp/\n"
        f"{_run([libraries] if image.manager else [ours, libraries])}"
        f"ENV DJANGO_TESTENV_LIBRARIES={LIBRARIES}\n"
    )


def _in_environment(image: Image, wheel: str) -> str:
    """Return the line that installs our package into the environment of poetry or Pipenv.

    It is run by the image's own user, whose environment it is.
    """
    return _run([f"{image.manager} run {_INSTALL} --no-deps /tmp/{wheel}"]) if image.manager else ""


def _inserted(path: str, text: str, line: int, body: str) -> Change:
    """Insert the block before this line of the Dockerfile."""
    lines = text.replace("\r\n", "\n").splitlines(keepends=True)
    head = "".join(lines[:line])
    gap = "" if head.endswith("\n") else "\n"
    after = stamps.spliced(text, len(head), len(head), gap + stamps.block(body))
    return Change(path, text.encode(), after.encode())


def _block(image: Image, user: str, wheel: str) -> str:
    """Return the lines that add copy_stage_db's needs to a stage, and the file with the commit."""
    added = "# What `manage.py copy_stage_db` needs, and which commit this is.\n"
    if "postgresql-client" not in (image.text or ""):
        client = _ALPINE_CLIENT if _is_alpine(image) else _CLIENT
        added += (_ANY_VERSION if client == _CLIENT else "") + _run([client])
    added += _runtime(image, wheel)
    if not image.has_deployment_file:
        # Only a deploy writes deployment.json into the build context; the pattern makes it optional.
        added += f"COPY {image.manage} deployment.jso[n] {image.folder.rstrip('/')}/\n"
    return _as_root(added, user) + _in_environment(image, wheel)


def _short_block(image: Image, user: str, wheel: str) -> str:
    """Return the lines for an image that runs the settings, and copies no database."""
    lines = f"# What the settings need in a test environment.\n{_runtime(image, wheel)}"
    return _as_root(lines, user) + _in_environment(image, wheel)


def _as_root(lines: str, user: str) -> str:
    return f"USER root\n{lines}USER {user}\n" if user else lines


def _is_alpine(image: Image) -> bool:
    stage = image.stage
    return stage is not None and "alpine" in image.stages.chain(stage)[0].first.rest.lower()


def _indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines()).rstrip("\n")
