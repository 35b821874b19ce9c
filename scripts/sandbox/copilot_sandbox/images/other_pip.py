"""The pip of an environment, and installs that only the pip of the base image can do.

Every image of Python has pip in the environment itself, and those of older Pythons have an older pip.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

OWN = ("-m", "pip")
# The last pip that takes packages whose metadata has versions like `>dev`, such as Celery 5.0 and 5.1.
# Source: https://pip.pypa.io/en/stable/news/#v24-1
_OLD = "pip==24.0 --hash=sha256:ba0d021a166865d2265246961bec0152ff124de910c5cc39f1156ce3fa7c69dc\n"
_WANTS_OLD = re.compile(r"Please use pip<24\.1")
# A package's own build calls the environment's pip, setuptools for `setup_requires` for example.
_WANTS_PIP = re.compile(r"No module named '?pip\b|'-m', 'pip',")


class Run(Protocol):
    """Runs a pip that is given as words of Python, with arguments of `install`. Raises its own error."""

    def __call__(self, pip: Sequence[str], arguments: Sequence[str], /) -> None: ...


def add(venv: Path) -> None:
    """Copy the sandbox's own pip into an environment that has none, which takes less time than ensurepip."""
    asked = [sys.executable, "-I", "-c", "import pip; print(*pip.__path__)"]  # a build has no site-packages
    own = Path(subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip())
    (packages,) = venv.glob("lib/python*/site-packages")
    for folder in (own, *own.parent.glob("pip-*.dist-info")):
        shutil.copytree(folder, packages / folder.name)
    for name in ("pip", "pip3"):
        program = venv / "bin" / name
        program.write_text('#!/bin/sh\nexec "$(dirname "$0")/python" -m pip "$@"\n')
        program.chmod(0o755)


def install(run: Run, arguments: Sequence[str], venv: Path, failure: type[Exception]) -> None:
    """Install with the own pip, then as the reason of a failure demands. Raises `failure`."""
    pip: Sequence[str] = OWN
    remedies: dict[re.Pattern[str], Callable[[], Sequence[str]]] = {
        _WANTS_OLD: lambda: _old(run, venv),
        _WANTS_PIP: lambda: _put_pip(run, pip),
    }
    while True:
        try:
            run(pip, arguments)
        except failure as error:
            found = next((each for each in remedies if each.search(str(error))), None)
            if found is None:
                raise
            try:
                pip = remedies.pop(found)()
            except failure:
                raise error from None
        else:
            return


def _old(run: Run, venv: Path) -> Sequence[str]:
    """Put an old pip beside the environment's packages. Return it as words of Python."""
    folder = venv / "old-pip"
    requirements = venv / "old-pip.txt"
    if not folder.is_dir():
        requirements.write_text(_OLD)
        run(OWN, ("--quiet", "--require-hashes", "--target", str(folder), "-r", str(requirements)))
    return (str(folder / "pip"),)


def _put_pip(run: Run, pip: Sequence[str]) -> Sequence[str]:
    """Install pip in the environment. Return the pip that is used further."""
    run(OWN, ("--quiet", "pip<25"))
    return pip
