"""The state of a Dockerfile's stage, and the instructions that only change this state."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from copilot_sandbox.images.tree import Tree

if TYPE_CHECKING:
    from copilot_sandbox.images.dockerfile import Instruction
    from copilot_sandbox.images.venvs import Install
    from copilot_sandbox.model import StartCommand

# The PATH of docker.io/library/python. Other images are treated as if they set no other variable.
_PATH = "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin"
_SHELL = ("/bin/sh", "-c")


@dataclass
class State:
    """The state of a stage after the steps so far."""

    tree: Tree = field(default_factory=Tree)
    env: dict[str, str] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    shell: tuple[str, ...] = _SHELL
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    cmd_is_own: bool = False  # whether this stage set CMD; ENTRYPOINT resets an inherited CMD
    volumes: tuple[str, ...] = ()
    targets: dict[str, str] = field(default_factory=dict)  # path of the image -> path in the environment
    wheels: dict[str, tuple[Install, ...]] = field(
        default_factory=dict
    )  # folder of wheels -> what they are built of
    base: str = ""  # the image of FROM
    start_commands: tuple[StartCommand, ...] = ()

    @property
    def variables(self) -> dict[str, str]:
        """Return the values of `$name`. ENV overrides ARG."""
        return {"PATH": _PATH, **self.arguments, **self.env}

    def child(self) -> State:
        return replace(
            self,
            tree=self.tree.copy(),
            env=dict(self.env),
            targets=dict(self.targets),
            wheels=dict(self.wheels),
            arguments={},
            cmd_is_own=False,
        )


def make_folders(step: Instruction, state: State) -> None:
    for path in step.words(state.variables):
        if step.keyword == "WORKDIR":
            state.workdir = absolute(state.workdir, path)
            state.tree.make_folder(state.workdir)
        else:
            state.volumes = (*state.volumes, state.tree.make_folder(absolute("/", path)))


def set_command(step: Instruction, state: State) -> None:
    listed = step.json()
    words = tuple(listed) if listed is not None else (*state.shell, step.text)
    if step.keyword == "CMD":
        state.cmd = words
        state.cmd_is_own = True
    elif step.keyword == "ENTRYPOINT":
        state.entrypoint = words
        state.cmd = state.cmd if state.cmd_is_own else ()
    elif listed:
        state.shell = words
    else:
        raise step.error('write it as a JSON list, such as SHELL ["/bin/bash", "-c"].')


def absolute(folder: str, path: str) -> str:
    joined = posixpath.normpath(posixpath.join("/", folder, path))
    return "/" + joined.lstrip("/")
