"""Give a one-off task the variables that a container has from the `env_file` of the manifest.

Copilot puts the file into S3, under its name and the SHA-256 of its content. Only commits are deployed, so
the same content is in the repository: nothing has to be read from S3.
Source: internal/pkg/template/artifactpath/artifactpath.go of aws/copilot-cli 1.34, `EnvFiles`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING

from copilot_testenv.core import git, scratch
from copilot_testenv.core.errors import SettingsError

if TYPE_CHECKING:
    from copilot_testenv.copilot.commands import OneOff
    from copilot_testenv.session import Session

_OBJECT = re.compile(r"/env-files/(?P<name>[^/*?\[\]\\]+)/(?P<digest>[0-9a-f]{64})\.env")
_MOST = 500  # versions of the file that are looked at, the newest first


@contextmanager
def given(session: Session, task: OneOff) -> Iterator[OneOff]:
    """Yield the task with the path of a file that has these variables, which exists within the context.

    Raises SettingsError where this repository has no commit with that file.
    """
    found = [match for arn in task.environment_files if (match := _OBJECT.search(arn))]
    if not found:
        yield task
        return
    content = b"".join(_content(session, each["name"], each["digest"]) for each in found)
    with scratch.temporary("env-file-") as folder:
        file = folder / "variables.env"
        file.touch(mode=0o600)
        file.write_bytes(content)
        yield replace(task, env_file=str(file))


def _content(session: Session, name: str, digest: str) -> bytes:
    """Return the committed file of this name whose content has the digest, with a line end."""
    root, shell = session.settings.root, session.shell
    listed = shell.run(
        git.command(
            root,
            "log",
            "--all",
            "--raw",
            "--no-abbrev",
            "--no-renames",
            "--format=",
            "--",
            f":(top,glob)**/{name}",
        )
    )
    blobs = re.findall(r"(?m)^:\d+ \d+ [0-9a-f]+ ([0-9a-f]+) [AM]\t", listed.stdout)
    for blob in list(dict.fromkeys(blobs))[:_MOST]:
        text = shell.run(git.command(root, "cat-file", "blob", blob)).stdout
        for content in (text.encode(), text.replace("\n", "\r\n").encode()):
            if sha256(content).hexdigest() == digest:
                return content.rstrip(b"\r\n") + b"\n"
    raise SettingsError(
        f"The deployed container has variables of {name}, and no commit here has the file as it was "
        "deployed: `git fetch` the branch, then run this again."
    )
