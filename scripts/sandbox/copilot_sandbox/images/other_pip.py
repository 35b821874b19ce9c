"""Installs that the sandbox's own pip cannot do, and that the pip of the base image does.

The images of older Pythons have an older pip, and every one has pip in the environment itself.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

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
