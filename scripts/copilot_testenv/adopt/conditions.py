"""Refuse to edit files that Git could not restore, and to write files that no deployment would contain."""

from __future__ import annotations

import ast
import posixpath
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import PurePosixPath

from copilot_testenv.adopt import gitignore, images, stages
from copilot_testenv.adopt.changes import NotChanged
from copilot_testenv.adopt.project import Project
from copilot_testenv.core import git
from copilot_testenv.core.errors import Refused, UserError
from copilot_testenv.core.process import Shell, output_of

_MODEL = re.compile(
    r"^class \w+\([^)\n]*\b(?:models\.Model|AbstractUser|AbstractBaseUser)\b.*\n((?:[ \t].*\n|\s*\n)*)",
    re.MULTILINE,
)
# The class stands for a table of somebody else's, or for none.
# Programs by which scripts wait for a database.
_WAITS = re.compile(r"\b(?:nc|ncat|netcat|pg_isready|psql|wait-for(?:-it)?(?:\.sh)?)\s")
_VARIABLE = re.compile(r"\$\{?(\w*HOST\w*)")
_NO_TABLE = re.compile(r"^\s+(?:managed\s*=\s*False|(?:abstract|proxy)\s*=\s*True)\b", re.MULTILINE)


def env_files(shell: Shell, project: Project) -> Iterator[NotChanged]:
    """Yield the service's `env_file` where Git does not have it, so that no deployment contains it."""
    block = project.test_block or {}
    file = block.get("env_file", project.manifest.get("env_file"))
    if isinstance(file, str) and not shell.run(git.command(project.root, "ls-files", "--", file)).stdout:
        name = project.test_env
        yield NotChanged(
            project.manifest_path,
            f"its `env_file` is {file}, which Git does not have, and only committed files are deployed: "
            f"write what it sets under `environments.{name}.variables` and `secrets`, and commit a file (one "
            f"harmless line will do) that `environments.{name}.env_file` names.",
        )


def apps_without_migrations(shell: Shell, project: Project) -> Iterator[NotChanged]:
    """Yield each app with models whose migrations Git does not have: `migrate` makes none of its tables."""
    listed = shell.run(git.command(project.root, "ls-files", "-z", "--", "*models.py", "*/migrations/*.py"))
    files = [PurePosixPath(each) for each in listed.stdout.split("\0") if each]
    have = {
        each.parents[1] for each in files if each.parent.name == "migrations" and each.name != "__init__.py"
    }
    for file in files:
        text = ""
        with suppress(UserError):  # a link, or no UTF-8
            text = (project.text(str(file)) or "") if file.name == "models.py" else ""
        if _has_tables(text) and file.parent not in have:
            app = file.parent.name
            yield NotChanged(
                f"{file.parent}/migrations",
                f"Git has no migrations of {app}, which needs tables for its models: commit what `manage.py "
                f"makemigrations {app}` writes, and let .gitignore and .dockerignore pass it.",
            )


def _has_tables(models: str) -> bool:
    return any(not _NO_TABLE.search(found[1]) for found in _MODEL.finditer(f"{models}\n"))


def hosts_waited_for(project: Project) -> Iterator[NotChanged]:
    """Yield each script that waits for the database of the base's variables before it starts the service."""
    base = project.manifest.get("variables")
    own = (project.test_block or {}).get("variables")
    given = {**(base if isinstance(base, dict) else {}), **(own if isinstance(own, dict) else {})}
    for path, text in images.main(project).start_scripts.items():
        for number, line in enumerate(text.splitlines(), start=1):
            name = next(filter(given.__contains__, _VARIABLE.findall(line)), "")
            if not name or not _WAITS.search(line):
                continue
            yield NotChanged(
                f"{path}:{number}",
                f"it waits for ${name}, which {project.manifest_path} sets to {given[name]}, in "
                f"{project.test_env} too, where the database is that of DATABASE_URL: a task that does not "
                f"reach this host waits for ever. Write what makes the script not wait under `variables` of "
                f"`environments.{project.test_env}` and of its `sidecars.startup`.",
            )


def files_of_the_image(shell: Shell, project: Project) -> Iterator[NotChanged]:
    """Yield each file that the Dockerfile copies and Git does not have: no deployment's build finds it."""
    build = project.build
    text = (project.text(build.dockerfile) or "").replace("\r\n", "\n")
    for step, source in stages.read(text, build.target).sources():
        path = posixpath.normpath(posixpath.join(build.context, source))
        is_ours = "django_testenv" in source
        if is_ours or shell.run(git.command(project.root, "ls-files", "--", path)).stdout:
            continue
        yield NotChanged(
            f"{build.dockerfile}:{step.begin + 1}",
            f"it copies {path}, which Git does not have, and only committed files are deployed: commit a "
            "file of that name without secrets (`git add --force`), or leave it out there; give what it "
            "sets in the manifest.",
        )


def links_without_url(shell: Shell, project: Project) -> Iterator[NotChanged]:
    """Yield each link to another repository that .gitmodules does not name: nobody can fetch its files."""
    listed = shell.run(git.command(project.top, "ls-files", "--stage", "-z", "--full-name")).stdout
    links = [each.partition("\t")[2] for each in listed.split("\0") if each.startswith("160000 ")]
    words = ("config", "--file", ".gitmodules", "--get-regexp", r"^submodule\..*\.path$")
    named = shell.run(git.command(project.top, *words)).stdout.splitlines() if links else []
    known = {line.partition(" ")[2] for line in named}
    for path in links:
        if path not in known:
            yield NotChanged(
                path,
                "Git has it as a link to another repository, and .gitmodules has no URL for it, so that this "
                f"folder is empty in each clone and in what is deployed: `git rm --cached {path}`, or name "
                "its URL in .gitmodules if the project needs it.",
            )


def modules_of_the_settings(shell: Shell, project: Project) -> Iterator[NotChanged]:
    """Yield each module beside the settings that they cannot do without and that Git does not have."""
    folder = PurePosixPath(project.settings_path).parent
    tree = ast.parse(project.settings_text)
    for statement in tree.body:
        if isinstance(statement, ast.ImportFrom) and statement.level == 1 and statement.module:
            path = folder / statement.module.replace(".", "/")
            found = shell.run(git.command(project.root, "ls-files", "--", f"{path}.py", str(path))).stdout
            if not found:
                yield NotChanged(
                    f"{project.settings_path}:{statement.lineno}",
                    f"it imports {path}.py, which Git does not have, and only committed files are deployed: "
                    "commit the file, or a module that reads its values from the environment, and give them "
                    "in the manifest.",
                )


def require_not_ignored(shell: Shell, project: Project, paths: list[str]) -> None:
    """Raise Refused if Git ignores a file to be written and .gitignore gets no exception for it."""
    if ignored := gitignore.still_hidden(shell, project, paths):
        raise Refused(
            f"Git ignores {', '.join(ignored)} in {project.root}, but only committed files are deployed: "
            "remove the pattern from .gitignore, or add an exception (`git check-ignore -v` names it)."
        )


def require_committed(shell: Shell, project: Project, paths: list[str]) -> None:
    """Raise Refused if a file that would be edited is not committed, or has changes since."""
    if not paths:
        return
    exactly = "--literal-pathspecs"  # a star in a name is not a pattern
    listed = output_of(
        shell, git.command(project.root, exactly, "ls-files", "-z", "--", *paths), "Listing what Git has"
    )
    unknown = sorted(set(paths) - set(listed.split("\0")))
    if unknown:
        raise Refused(
            f"{', '.join(unknown)} in {project.root} would be edited and is not in Git (it is ignored, or "
            "was never added): commit it first (`git add --force`), so that it can be restored."
        )
    found = shell.run(git.command(project.root, exactly, "status", "--porcelain", "--", *paths))
    if not found.ok or found.stdout.strip():
        names = ", ".join(line[3:] for line in found.stdout.splitlines()) or ", ".join(paths)
        raise Refused(
            f"{names} in {project.root} would be edited and has changes that are not committed: commit or "
            "stash them first, so that they do not mix with the changes made here."
        )
