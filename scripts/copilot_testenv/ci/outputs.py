"""Pass the facts of a deployment to later steps of the CI job. An error is one line and fails nothing."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

# Texts that GitLab, which knows no quotes, and a shell that sources the file read in the same way.
_PLAIN = re.compile(r"[A-Za-z0-9_.:/@%+=,-]*")
_NAME = re.compile(r"[a-z][a-z0-9_]*")


def outputs(environ: Mapping[str, str], values: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Pass facts (`{"url": …}`) to later steps: in $GITHUB_OUTPUT, and as DEPLOY_URL=… in $DEPLOY_OUTPUT.

    Names are in lower case. Never raises: `say` gets one line for a file that cannot be written.
    """
    named = {name: value for name, value in values.items() if _NAME.fullmatch(name)}
    plain = {name: value for name, value in named.items() if _PLAIN.fullmatch(value)}
    for variable, mode, text in (
        ("GITHUB_OUTPUT", "a", _github_output(named)),
        ("DEPLOY_OUTPUT", "w", "".join(f"DEPLOY_{name.upper()}={value}\n" for name, value in plain.items())),
    ):
        if path := environ.get(variable):
            try:
                with Path(path).open(mode, encoding="utf-8", errors="replace", newline="") as file:
                    file.write(text)
            except (OSError, ValueError) as error:  # ValueError: a path with a zero byte
                why = getattr(error, "strerror", None) or "it is not a path"
                say(f"The file of {variable} cannot be written: {why}. Later steps do not get it.")
    if environ.get("DEPLOY_OUTPUT") and (odd := sorted(named.keys() - plain.keys())):
        names = ", ".join(f"DEPLOY_{name.upper()}" for name in odd)
        say(f"Left out of DEPLOY_OUTPUT: {names}, because a shell would not read their letters literally.")


def _github_output(values: Mapping[str, str]) -> str:
    """Return GitHub's form of values, which may have several lines; the delimiter between them is random.

    Source: https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands#multiline-strings
    """
    end = secrets.token_hex(16)
    return "".join(f"{name}<<{end}\n{value}\n{end}\n" for name, value in values.items())
