"""Find the commands that a container runs at start: from the manifest, the Dockerfile and a called script."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from copilot_testenv.check import dockerfile, shell_text
from copilot_testenv.check.document import Document
from copilot_testenv.check.shell_text import Simple
from copilot_testenv.check.task import Container, where
from copilot_testenv.copilot.manifest import Build

# Commands of Django, django-extensions and this project that end by themselves.
_ENDING = frozenset(
    [
        "migrate",
        "collectstatic",
        "copy_stage_db",
        "reset_db",
        "flush",
        "sqlflush",
        "loaddata",
        "check",
        "createcachetable",
        "compilemessages",
        "createsuperuser",
        "clearsessions",
    ]
)
_RESETTING = frozenset({"reset_db", "flush", "sqlflush", "reset_schema"})
COPYING = "copy_stage_db"
_HARMLESS = frozenset({"--plan", "--help", "-h", "--list-databases"})  # flags of copy_stage_db
_SERVING_COMMANDS = frozenset(
    [
        "runserver",
        "runserver_plus",
        "rungunicorn",
        "qcluster",
        "rqworker",
        "rqscheduler",
        "celery",
        "celeryd",
        "celerybeat",
        "run_huey",
        "process_tasks",
        "rundramatiq",
        "runworker",
        "runapscheduler",
    ]
)
_PYTHONS = frozenset({"gunicorn", "uvicorn", "daphne", "hypercorn", "uwsgi"})  # servers of a Python project
_SERVERS = frozenset(
    [
        *_PYTHONS,
        "redis-server",
        "valkey-server",
        "nginx",
        "postgres",
        "memcached",
        "mailpit",
    ]
)
_SERVER_IMAGES = frozenset(["redis", "valkey", "nginx", "postgres", "memcached", "mailpit"])
_AFTERWARDS = frozenset({"", "exit", "true", "fi", "done", "esac", "}"})  # words that only close a script
# With one of these options a server only prints something and ends.
_INFORMING = frozenset(
    {"--version", "-v", "-V", "--help", "-h", "-t", "-T", "--check-config", "--print-config"}
)
_CELERY = frozenset({"worker", "beat", "flower"})
_VALUED = frozenset({"-v", "--verbosity", "--settings", "--pythonpath"})  # options of any Django command


@dataclass(frozen=True)
class Step:
    """A command that a container runs, and where it is written."""

    path: str
    line: int
    simple: Simple


def steps(root: Path, document: Document, environment: str, container: Container) -> list[Step]:
    """Return the commands in order; the command of an image that is not built here is not known."""
    build = dockerfile.build_of(document, environment, container)
    return [
        step
        for each in _started(root, document, environment, container)
        for step in (each, *_script(root, build, each))
    ]


def management_command(simple: Simple) -> tuple[str, tuple[str, ...]]:
    """Return the name and arguments of the Django command that `manage.py` runs; empty if it runs none."""
    words = () if simple.only_prints else simple.own
    for position, word in enumerate(words):
        name = shell_text.name_of(word)
        is_module = name == "django" and words[position - 1 : position] == ("-m",)
        if name not in {"manage.py", "django-admin", "django-admin.py"} and not is_module:
            continue
        rest = list(words[position + 1 :])
        while rest and rest[0].startswith("-"):
            rest = rest[2:] if rest[0] in _VALUED else rest[1:]
        return (rest[0], tuple(rest[1:])) if rest else ("", ())
    return "", ()


def resets(simple: Simple, before: Simple | None = None) -> str:
    """Return the name of the command that wipes the database whenever it runs; empty if it does not.

    `before` is the command before this one; its output may be piped into this one.
    """
    name, words = management_command(simple)
    if name in _RESETTING:
        return name
    if name == COPYING and "--fresh" in words and not _HARMLESS.intersection(words):
        return f"{COPYING} --fresh"
    if simple.only_prints:
        return ""
    if _stem(simple) in {"reset_db", "dropdb"}:
        return simple.program
    if simple.program == "pg_restore" and {"-c", "--clean"}.intersection(simple.own):
        return "pg_restore --clean"
    piped = " ".join(before.own) if before and simple.piped else ""
    sql = re.search(r"\bdrop\s+(database|schema)\b", f"{' '.join(simple.own)} {piped}".lower())
    return f"DROP {sql[1].upper()}" if sql and (_is_client(simple, name) or sql.start() == 0) else ""


def copies(simple: Simple) -> str:
    """Return `copy_stage_db` if the command runs it to copy; else an empty text."""
    name, words = management_command(simple)
    is_it = name == COPYING or _stem(simple) == COPYING
    return COPYING if is_it and not _HARMLESS.intersection(words) else ""


def ends(container: Container, found: list[Step]) -> bool | None:
    """Return True if the container ends by itself; None where that is not certain."""
    own = [step.simple for step in found]
    while own and (own[-1].only_prints or own[-1].program in _AFTERWARDS):
        own.pop()
    if not own:
        bare = not container.command and not container.entry_point
        return False if bare and container.repository in _SERVER_IMAGES else None
    last = own[-1]
    name, words = management_command(last)
    if name in _ENDING:
        return True
    if name in _SERVING_COMMANDS and not _INFORMING.intersection(words):
        return False
    if last.program in _SERVERS and not _INFORMING.intersection(last.own):
        return False
    if last.program == "celery" and _CELERY.intersection(last.own) and not _INFORMING.intersection(last.own):
        return False
    return True if _is_one_shot(own) else None


def _is_one_shot(own: list[Simple]) -> bool:
    """Return True if all are Django commands, none of them serves, and at least one is known to end.

    The project's own commands beside it, such as `create_tenants`, then are steps of the same start.
    """
    names = [management_command(simple)[0] for simple in own if not simple.only_prints]
    return all(names) and not _SERVING_COMMANDS.intersection(names) and not _ENDING.isdisjoint(names)


def runs_project(found: list[Step]) -> bool:
    """Return True if a step calls Django's command line."""
    return any(management_command(step.simple)[0] for step in found)


def serves_project(found: list[Step]) -> bool:
    """Return True if a step calls Django's command line, or a server or worker of a Python project."""
    programs = {step.simple.program for step in found if not step.simple.only_prints}
    return runs_project(found) or bool(programs & {*_PYTHONS, "celery"})


def _started(root: Path, document: Document, environment: str, container: Container) -> Iterator[Step]:
    """Yield the commands of the entry point and the command, joined to one command line as Docker does."""
    build = dockerfile.build_of(document, environment, container)
    text = dockerfile.text_of(root, build.dockerfile) if build else None
    of_image = dockerfile.starts(text, build.target) if build and text is not None else dockerfile.Starts()
    entry = None if container.entry_point else of_image.entry_point
    # An entry point in the manifest removes the image's command.
    command = None if container.command or container.entry_point else of_image.command
    if entry and entry.of_shell:  # Docker passes no arguments to it
        yield from _of_image(build, entry)
        return
    words = (*(container.entry_point or (entry.words if entry else ())), *container.command)
    if container.command or container.entry_point:
        key = "command" if container.command else "entrypoint"
        line = where(document, environment, *container.keys, key)
        for simple in shell_text.of_words(words):
            yield Step(document.path, line, simple)
    elif entry and command and not command.of_shell:
        for simple in shell_text.of_words((*entry.words, *command.words)):
            yield Step(build.dockerfile if build else "", command.line, simple)
    else:
        for each in (entry, command):
            if each:
                yield from _of_image(build, each)


def _of_image(build: Build | None, start: dockerfile.Start) -> Iterator[Step]:
    for simple in start.simples:
        yield Step(build.dockerfile if build else "", start.line + simple.line - 1, simple)


def _script(root: Path, build: Build | None, step: Step) -> Iterator[Step]:
    """Yield the commands of a shell script of the repository that the step calls; do not follow its calls."""
    if not build or step.simple.only_prints:
        return
    for word in step.simple.own:
        if "/" not in word and not word.endswith(".sh"):
            continue
        # The image's folders are not known, so the longest end of the path that is a file here counts.
        parts = [part for part in PurePosixPath(word).parts if part not in {"/", "."}]
        for start in range(len(parts)):
            path = (PurePosixPath(build.context) / PurePosixPath(*parts[start:])).as_posix()
            text = dockerfile.text_of(root, path)
            if text is None:
                continue
            first = text.partition("\n")[0]
            if word.endswith(".sh") or (first.startswith("#!") and first.rstrip().endswith("sh")):
                for simple in shell_text.commands(text):
                    yield Step(path, simple.line, simple)
            break


def _is_client(simple: Simple, management: str) -> bool:
    """Return True if the command passes SQL to a database."""
    return simple.program in {"psql", "mysql", "mariadb"} or management == "dbshell"


def _stem(simple: Simple) -> str:
    return PurePosixPath(simple.program).stem.replace("-", "_")
