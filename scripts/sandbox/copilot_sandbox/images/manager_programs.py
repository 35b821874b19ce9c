"""Programs that stand in for package managers in a container: they start what `poetry run` names."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

MANAGERS = ("pdm", "pipenv", "poetry", "uv")
_PROGRAM = """#!/bin/sh
# Stands in for NAME in the sandbox: the environment is complete, so only `NAME run` is done.
while [ $# -gt 0 ]; do
    case "$1" in
        run) break ;;
        install | sync | lock | config) echo "NAME $1: nothing is installed in a container." >&2; exit 0 ;;
        -C | -P | -p | --directory | --project) cd "$2" || exit 1; shift 2 ;;
        --directory=* | --project=*) cd "${1#*=}" || exit 1; shift ;;
        -*) shift ;;
        *) echo "NAME $1: the sandbox has no NAME, only its \\`run\\`." >&2; exit 127 ;;
    esac
done
[ "$1" = run ] && shift
while [ $# -gt 0 ]; do
    case "$1" in
        --) shift; break ;;
        -m | --module) shift; exec python -m "$@" ;;
        --directory | --project) cd "$2" || exit 1; shift 2 ;;
        --group | --extra | --no-group | --only-group | --package | --with | --env-file) shift 2 ;;
        --python | -p) shift 2 ;;
        -*) shift ;;
        *) break ;;
    esac
done
case "$1" in
    "") echo "NAME run: a command is missing." >&2; exit 2 ;;
    *.py) exec python "$@" ;;
    *) exec "$@" ;;
esac
"""


def write_programs(folder: Path, names: Collection[str]) -> None:
    """Write a program for each package manager into the environment's `bin`."""
    for name in names:
        program = folder / name
        program.unlink(missing_ok=True)
        program.write_text(_PROGRAM.replace("NAME", name))
        program.chmod(0o755)
