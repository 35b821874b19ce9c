"""Finds an installed Python of the version that an image's FROM names.

Packages that a project has pinned for an older Python often have no wheels for the sandbox's own, so an image
of an older Python is made with that Python, where this machine has it. A newer one is used if the project
excludes the sandbox's own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from copilot_sandbox import child_variables

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_OFFICIAL = re.compile(r"(?:^|/)(?:python:|uv:(?:[\w.]+-)?python)(\d+)(?:\.(\d+))?")
_OLDEST = (3, 9)  # of django-testenv; an image with an older one cannot install it
_SECONDS = 20
_AHEAD = 5  # releases of Python after the sandbox's own that `python:3` may mean
_ASK = (
    "import json, sys, venv; "
    "print(json.dumps([sys.version_info[:3], sys.version, sys.base_prefix, sys.executable]))"
)
# Below a home or a folder of CI: pyenv's, uv's, and those of GitHub's runners.
_PLACES = (
    ("PYENV_ROOT", "~/.pyenv", "versions/{0}.*/bin/python{0}"),
    ("UV_PYTHON_INSTALL_DIR", "~/.local/share/uv/python", "cpython-{0}.*/bin/python{0}"),
    ("RUNNER_TOOL_CACHE", "/opt/hostedtoolcache", "Python/{0}.*/*/bin/python{0}"),
)

# The versions of images whose projects exclude the sandbox's own Python, and what is used for each.
_needed: dict[tuple[int, ...], tuple[int, ...]] = {}


class Python(NamedTuple):
    """An interpreter of this machine; `folder` is where it is installed."""

    program: str
    version: tuple[int, ...]
    text: str
    folder: str

    @property
    def number(self) -> str:
        return ".".join(map(str, self.version))

    @property
    def is_own(self) -> bool:
        return self.program == sys.executable


def own() -> Python:
    """Return the Python that the sandbox runs on."""
    return Python(sys.executable, sys.version_info[:3], sys.version, sys.base_prefix)


def version_of(base: str) -> tuple[int, ...]:
    """Return the version in the name of an official image (`python:3.9-slim`: 3, 9); empty for others."""
    named = _OFFICIAL.search(base)
    return tuple(int(part) for part in named.groups() if part) if named else ()


def for_images(bases: Iterable[str]) -> Python:
    """Return the Python for an image that is made of these: the first one that names a version decides."""
    version = next(filter(None, map(version_of, bases)), ())
    is_older = _OLDEST <= version < sys.version_info[:2] and len(version) == len(_OLDEST)
    return (_installed(_needed.get(version, version)) if is_older or version in _needed else None) or own()


def need(base: str) -> bool:
    """Use a newer Python for an image from now on. Return True if it was not used before.

    It is the version that the image names, else the newest one below it that this machine has.
    """
    version = version_of(base)
    if not version or version in _needed or not for_images([base]).is_own:
        return False
    own_minor = sys.version_info[1]
    highest = version[1] if version[1:] else own_minor + _AHEAD
    for minor in range(highest, own_minor, -1):
        if version[0] == sys.version_info[0] and _installed((version[0], minor)) is not None:
            _needed[version] = (version[0], minor)
            return True
    return False


@cache
def _installed(version: tuple[int, ...]) -> Python | None:
    return next((found for found in _candidates(version) if found is not None), None)


def _candidates(version: tuple[int, ...]) -> Iterator[Python | None]:
    name = ".".join(map(str, version))
    if program := shutil.which(f"python{name}", path=child_variables.path()):
        yield _asked(program, version)
    for variable, usual, pattern in _PLACES:
        folder = Path(os.environ.get(variable) or usual).expanduser()
        for each in sorted(folder.glob(pattern.format(name)), reverse=True) if folder.is_absolute() else ():
            yield _asked(str(each), version)


def _asked(program: str, version: tuple[int, ...]) -> Python | None:
    """Return the interpreter if it runs, can make environments and is of that version."""
    try:
        done = subprocess.run(
            [program, "-I", "-c", _ASK],
            check=True,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=_SECONDS,
            env=child_variables.inherited(),
        )
        found, text, folder, real = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return Python(real, tuple(found), text, folder) if tuple(found[: len(version)]) == version else None
