"""Carries out a RUN step as far as Python packages go: what pip and the package managers would install."""

from __future__ import annotations

import posixpath
import re
import shlex
from dataclasses import dataclass, replace

from copilot_sandbox.images import pip_targets, projects, shell, start_commands
from copilot_sandbox.images.pip_commands import plain_module, uv_arguments
from copilot_sandbox.images.pip_steps import INSTALLS, PipStep, StepResult
from copilot_sandbox.images.shell_steps import Command, Interpreter, Outcome
from copilot_sandbox.images.stage_state import absolute
from copilot_sandbox.images.tree import file_of

_MAX_SCRIPTS = 5  # shell scripts that start one another
# Commands that bring or prepare a package manager; here they need not be done.
_MANAGERS_SCRIPT = re.compile(r"install\.python-poetry\.org|get-poetry|astral\.sh/uv|get-pip\.py|pypa\.io")
# Images that build what is no Python: a script there that is not understood installs no packages of Python.
_OTHER_BASE = re.compile(r"(?:^|/)(?:bun|deno|golang|nginx|node|php|ruby|rust)(?:[:@]|$)")
_PREFIXES = frozenset({"env", "sudo", "exec", "time", "nice", "eval", "nohup", "command"})


@dataclass
class PackageStep(PipStep):
    """One RUN step. `tree` has the step's mounts besides the stage's own files."""

    scripts: int = 0

    def run(self, command: str | list[str]) -> StepResult:
        """Walk through the step; return what it does."""
        trees = (self.tree,) if self.tree is self.state.tree else (self.tree, self.state.tree)
        shell_variables = {"HOME": "/root", **self.state.variables}
        interpreter = Interpreter(self.state.workdir, trees, shell_variables, self._execute)
        if not isinstance(command, str):
            text = shlex.join(command)
            self._execute(
                Command(tuple(command), text, self.state.workdir, shell_variables, None, certain=True)
            )
            return self.result
        try:
            interpreter.run(shell.parse(command))
        except (shell.ShellError, RecursionError) as error:
            reason = str(error) if isinstance(error, shell.ShellError) else "it is nested too deeply"
            self.result = StepResult(left=[command])
            if INSTALLS.search(command):
                self.result = StepResult(
                    missed=[(command, f"the shell's words are not understood here: {reason}")]
                )
        return self.result

    def _execute(self, command: Command) -> Outcome:
        if not command.words:
            return self._leave(command, "its words depend on what is not known here")
        words = list(command.words)
        while posixpath.basename(words[0]) in _PREFIXES and len(words) > 1:
            words = [
                word
                for word in words[1:]
                if words[0] == "exec" or not re.match(r"-|\w+=", word) or word in words[2:]
            ]
        words = plain_module(words)
        name = posixpath.basename(words[0])
        if not command.certain:
            return self._leave(command, "its condition depends on the machine and is not decided here")
        if re.fullmatch(r"pip[\d.]*", name):
            return self._pip(command, words)
        if name in projects.REQUESTS:
            self.result.managers.add(name)
            return self._manager(command, name, words[1:])
        if later := start_commands.found(command, words, self.line, self.state.tree):
            self.result.start_commands.append(later)
            return Outcome(assumed=True)
        return self._other(command, name, words)

    def _other(  # noqa: PLR0911 - a case for each program
        self, command: Command, name: str, words: list[str]
    ) -> Outcome:
        rest = words[1:]
        if name in (".", "source") and rest and rest[-1].endswith("/activate"):
            return Outcome()
        if name in ("venv", "virtualenv"):
            places = [word for word in rest if not word.startswith("-")]
            for place in places[-1:]:
                self._environment(absolute(command.folder, place))
            return Outcome()
        if name == "build":  # python -m build
            self._wheels(command, ["."], absolute(command.folder, "dist"))
            return Outcome()
        if name == "pip-sync":
            files = [word for word in rest if not word.startswith("-")] or ["requirements.txt"]
            return self._pip(command, ["pip", "install", *(each for file in files for each in ("-r", file))])
        if (
            re.fullmatch(r"python[\d.]*", name)
            and rest[:1] == ["setup.py"]
            and {"install", "develop"} & set(rest)
        ):
            return self._pip(command, ["pip", "install", "."])
        if name == "pipx" and "install" in rest:
            self.result.managers |= set(projects.REQUESTS) & set(rest)
            return Outcome() if set(projects.REQUESTS) & set(rest) else self._leave(command)
        if (name in ("curl", "wget") and _MANAGERS_SCRIPT.search(command.text)) or (
            re.fullmatch(r"python[\d.]*|sh|bash", name)
            and (rest[:1] in ([], ["-"]) or _MANAGERS_SCRIPT.search(command.text))
        ):
            self.result.managers |= {each for each in ("poetry", "uv") if each in command.text}
            return Outcome(output=None)
        script = self._script(command, name, words)
        if script is not None:
            return self._nested(command, *script)
        return self._leave(command)

    def _script(self, command: Command, name: str, words: list[str]) -> tuple[str, str] | None:
        """Return the text of a shell script that the command starts, and the script's name."""
        if name in ("sh", "bash", "ash", "dash"):
            rest = [word for word in words[1:] if not re.fullmatch(r"-[a-bd-z]+|--\w+", word)]
            if rest and re.fullmatch(r"-[a-z]*c", rest[0]) and len(rest) > 1:
                return rest[1], ""
            words = rest
        if not words or not ("/" in words[0] or words[0].endswith(".sh")):
            return None
        entry = self.tree.get(posixpath.normpath(posixpath.join(command.folder, words[0])))
        if entry is None or entry.kind != "file":
            return None
        try:
            text = entry.text()
        except (UnicodeDecodeError, OSError):
            return None
        first = text.split("\n", 1)[0]
        return (
            (text, words[0]) if not first.startswith("#!") or re.search(r"\b(ba|da|a)?sh\b", first) else None
        )

    def _nested(self, command: Command, text: str, script: str) -> Outcome:
        is_install = INSTALLS.search(text)
        if not is_install and not start_commands.NAMED.search(text):
            return self._leave(command)
        self.scripts += 1
        trees = (self.tree,) if self.tree is self.state.tree else (self.tree, self.state.tree)
        inner = Interpreter(command.folder, trees, dict(command.variables), self._execute)
        if self.scripts > _MAX_SCRIPTS:
            return self._leave(command, "scripts start one another")
        try:
            return inner.run(shell.parse(text))
        except shell.ShellError as error:
            if not is_install or _OTHER_BASE.search(self.state.base):
                return self._leave(command)
            self.result.missed.append(
                (command.text, f"{script or 'its text'} is not understood here: {error}")
            )
            return Outcome()

    # Package managers

    def _manager(  # noqa: C901, PLR0911 - a case for each subcommand
        self, command: Command, name: str, words: list[str]
    ) -> Outcome:
        options = projects.split_options(words)
        folder = options.last("--directory", "-C", "--project", "-P") or (
            options.last("-p") if name != "uv" else ""
        )
        subcommand, *rest = options.others or ["--version"]
        if name == "uv" and subcommand in ("pip", "venv", "build", "tool", "python"):
            return self._uv(command, subcommand, words)
        place = self._place(command, folder)
        if name == "pipenv" and (pipfile := command.variables.get("PIPENV_PIPFILE")):
            place = replace(place, folder=posixpath.dirname(absolute(command.folder, pipfile)))
        if subcommand in ("install", "sync", "update") and (not rest or name == "pipenv"):
            if rest and subcommand == "install":  # pipenv install PACKAGE
                return self._pip(command, ["pip", "install", *rest])
            return self._sync(command, name, options, place)
        if subcommand in ("export", "requirements") or (
            name == "pipenv" and subcommand == "lock" and options.has("-r", "--requirements")
        ):
            request = projects.REQUESTS[name](options, command.variables)
            request.default_groups &= name != "poetry"  # `poetry export` takes the main group alone
            translated = projects.translate(request, place)
            output = options.last("--output", "--output-file", "-o")
            if output:
                for tree in {id(each): each for each in (self.tree, self.state.tree)}.values():
                    tree.put(absolute(command.folder, output), file_of(translated.requirements.encode()))
            return Outcome(output=None if output else translated.requirements)
        if subcommand == "add":
            return self._pip(command, ["pip", "install", *rest])
        if subcommand == "run":
            inner = words[words.index("run") + 1 :]
            while inner and inner[0].startswith("-"):
                inner.pop(0)
            if name == "uv" and not {"--no-sync", "--no-project"} & set(words):
                self._sync(command, name, projects.split_options(words[: len(words) - len(inner)]), place)
            return self._execute(replace(command, words=tuple(inner))) if inner else Outcome()
        if subcommand == "build":
            self._wheels(command, ["."], absolute(place.folder, "dist"))
        return Outcome()

    def _sync(self, command: Command, name: str, options: projects.Words, place: projects.Place) -> Outcome:
        translated = projects.translate(projects.REQUESTS[name](options, command.variables), place)
        without = (
            "--no-root",
            "--no-install-project",
            "--no-install-workspace",
            "--no-self",
            "--no-install-local",
        )
        self.result.installs += translated.installs(place, project=not options.has(*without))
        variables = command.variables
        own = {
            "uv": absolute(translated.folder, variables.get("UV_PROJECT_ENVIRONMENT", ".venv")),
            "poetry": _flagged(variables, "POETRY_VIRTUALENVS_IN_PROJECT") and f"{translated.folder}/.venv",
            "pipenv": _flagged(variables, "PIPENV_VENV_IN_PROJECT") and f"{translated.folder}/.venv",
            "pdm": f"{translated.folder}/.venv",
        }[name]
        own = variables["VIRTUAL_ENV"] if options.has("--active") and "VIRTUAL_ENV" in variables else own
        # An environment below a home is named by commands even where others have `pip install --user`.
        if own and (own.startswith(("/home/", "/root/")) or not pip_targets.is_of_python(f"{own}/bin")):
            self._environment(posixpath.normpath(own))
        return Outcome()

    def _uv(  # noqa: C901 - a case for each subcommand
        self, command: Command, subcommand: str, words: list[str]
    ) -> Outcome:
        rest = words[words.index(subcommand) + 1 :]
        options = projects.split_options(rest)
        if subcommand == "venv":
            self._environment(absolute(command.folder, (options.others or [".venv"])[0]))
        elif subcommand == "build":
            self._wheels(command, ["."], absolute(command.folder, options.last("--out-dir", "-o") or "dist"))
        elif subcommand == "pip" and options.others[:1] in (["install"], ["sync"]):
            files = [*options.others[1:]] if options.others[0] == "sync" else []
            kept = rest[rest.index(options.others[0]) + 1 :]
            own = uv_arguments([word for word in kept if word not in files])
            if files:
                own += ["--no-deps", *(each for file in files for each in ("-r", file))]
            return self._uv_pip(command, own, options)
        elif subcommand == "pip" and options.others[:1] == ["compile"]:
            output = options.last("--output-file", "-o")
            for file in options.others[1:]:
                place = self._place(command, posixpath.dirname(file))
                entry = self.tree.get(absolute(command.folder, file))
                text = entry.text() if entry is not None and entry.kind == "file" else ""
                if file.endswith("pyproject.toml"):
                    request = projects.Request(
                        "project", extras=set(options.all("--extra")), all_extras=options.has("--all-extras")
                    )
                    text = projects.translate(request, place).requirements
                if not output:
                    return Outcome(output=text)
                for tree in {id(each): each for each in (self.tree, self.state.tree)}.values():
                    tree.put(absolute(command.folder, output), file_of(text.encode()))
        elif subcommand == "tool" and options.others[:1] == ["install"]:
            return self._leave(command, "tools of `uv tool` are not installed")
        return Outcome()

    def _uv_pip(self, command: Command, arguments: list[str], options: projects.Words) -> Outcome:
        """Do `uv pip install`, which reads pyproject.toml as a requirements file too."""
        kept: list[str] = []
        while arguments:
            word = arguments.pop(0)
            if (
                word in ("-r", "--requirement", "--requirements")
                and arguments
                and arguments[0].endswith("pyproject.toml")
            ):
                place = self._place(command, posixpath.dirname(arguments.pop(0)))
                request = projects.Request(
                    "project",
                    groups=set(options.all("--group")),
                    extras=set(options.all("--extra")),
                    all_extras=options.has("--all-extras"),
                )
                self.result.installs += projects.translate(request, place).installs(place, project=False)
            else:
                kept.append("-r" if word == "--requirements" else word)
        return self._pip(command, ["pip", "install", *kept]) if kept else Outcome()


def _flagged(variables: dict[str, str], name: str) -> bool:
    return variables.get(name, "").lower() in ("1", "true", "yes", "on")
