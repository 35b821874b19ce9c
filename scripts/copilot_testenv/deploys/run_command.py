"""Run a command of the user's in a deployed branch's image, beside the running service, by a one-off task.

The task has the image, variables and secrets of the container that copies staging's data: so it reaches the
branch's own database. For another service of the branch they are those of that service's own container. It
has no sidecar: Redis of the running task is not there.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import shlex
import sys
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING

from copilot_testenv.copilot import ownership
from copilot_testenv.copilot.commands import OneOff
from copilot_testenv.core import display
from copilot_testenv.core.errors import Refused, SettingsError, UsageError
from copilot_testenv.deploys import copy_db, nothing, one_offs, preflight, slot_services
from copilot_testenv.state import bucket

if TYPE_CHECKING:
    from collections.abc import Mapping

    from copilot_testenv.aws.stack import ContainerDefinition, TaskDefinition
    from copilot_testenv.core.settings import Settings
    from copilot_testenv.core.terminal import Report
    from copilot_testenv.session import Session, Target

_VARIABLE = "TESTENV_COMMAND"  # Copilot splits the words of a command at commas, and not a variable's value
_LONGEST = 8000  # bytes of a command
_HASH = "TEST_USER_HASH"  # django_testenv reads it
_PASSWORD_BYTES = 12  # random ones
_ITERATIONS = 600_000
_KEY_BEGINS = re.compile("-----BEGIN [A-Z ]*PRIVATE KEY-----")
_KEY_ENDS = re.compile("-----END [A-Z ]*PRIVATE KEY-----")
_INTERACTIVE = frozenset({"dbshell", "shell", "shell_plus"})  # without a command of their own
_SO = ", so there is nothing to run it in"


@dataclass(frozen=True)
class Options:
    """The flags of `exec`."""

    command: str = ""  # a shell's line
    manage: str = ""  # or a command of manage.py
    login: str = ""  # or a user to make
    branch: str = ""
    service: str = ""  # of the branch's, where it has several
    wait: bool = False
    plan: bool = False


def run(session: Session, options: Options) -> None:
    """Run a command in a deployed branch's image; print its output as it comes.

    Raises Failed with the command's exit code where it fails, and the other errors of core.errors.
    """
    _require_runnable(options, session.environ)
    session.announce()
    session.check_workspace()
    target = session.enter_to_change()
    if not target:
        raise nothing.deployed(session, target, _SO)
    session, target = session.slot_of(target, options.branch)
    settings, aws, say = session.settings, target.aws, session.report.say
    ownership.require_ours(aws.stack(settings.stack_name), settings)
    if not options.plan:
        preflight.preflight(session, target, builds=False)
    lease = bucket.lease(session, target, f"running a command in {settings.service}")
    with lease.held(wait=options.wait, say=say):
        stack = session.settled(target, wait=options.wait)
        if not stack or not stack.live:
            raise nothing.deployed(session, target, _SO)
        own, definition = _definition(session, target, options.service)
        password = secrets.token_urlsafe(_PASSWORD_BYTES) if options.login and not options.plan else ""
        task, line = _task(own, definition, options, password)
        branch = stack.tags.get("branch", "an unknown branch")
        if options.plan:
            of = f"{own.service} of {branch}" if own.web else branch
            say(f"Would run in a one-off task of {of}: {line}")
            return
        lease.require_held()  # the wait for a stack that was being changed can have taken long
        display.keep_names(task.secrets)
        output = _Output(session.report)
        one_offs.run(
            session,
            target,
            one_offs.cluster_of(target, stack),
            task,
            f"Running in a one-off task of {branch}",
            show=output.show,
            in_order=not sys.stdout.isatty(),  # what is read by a program, such as a file of Python
            outcomes={},
        )
    if not output.printed:
        say("The command has ended without an error and printed nothing.")
    if password:
        say(
            f"Log in as {options.login} with the password {password} until the next copy of the data. It is "
            "told only now, and kept nowhere."
        )


def _definition(session: Session, target: Target, service: str) -> tuple[Settings, TaskDefinition]:
    """Return a service of the slot with its task definition. Raises Failed, UsageError."""
    own = slot_services.chosen(session, target, service)[0].settings
    arn = target.aws.resource(own.stack_name, "TaskDefinition")
    if not arn:
        raise nothing.deployed(session, target, _SO)
    return own, target.aws.task_definition(arn)


def _require_runnable(options: Options, environ: Mapping[str, str]) -> None:
    given = [each for each in (options.command, options.manage, options.login) if each.strip()]
    if len(given) != 1:
        raise UsageError(
            "Say what to run, with exactly one of --command 'pip list', --manage 'showmigrations' and "
            "--login NAME."
        )
    if options.manage.strip() in _INTERACTIVE:
        raise UsageError(
            f"--manage {options.manage.strip()}: the command needs a terminal, and a one-off task has none. "
            "Write what it shall do: --manage 'shell -c \"print(1)\"', or 'dbshell -- -c \"SELECT 1\"'."
        )
    if options.login and environ.get("CI"):
        raise Refused("No login is made in CI, because its output, which would have the password, is kept.")
    if len(given[0].encode()) > _LONGEST:
        raise UsageError(f"The command is longer than {_LONGEST} bytes: put it into a script of the branch.")


@dataclass
class _Output:
    """Print a command's lines as they come, without the lines of a private key."""

    report: Report
    printed: bool = False
    _in_key: bool = False

    def show(self, text: str) -> None:
        begins, ends = _KEY_BEGINS.search(text), _KEY_ENDS.search(text)
        if not self._in_key:
            self.printed = True
            self.report.data(display.block(text))
        self._in_key = (self._in_key or bool(begins)) and not ends


def _task(
    settings: Settings, definition: TaskDefinition, options: Options, password: str
) -> tuple[OneOff, str]:
    """Return the one-off task, and the line that its shell runs. Raises SettingsError without a container."""
    containers = definition.containers
    copying = next((each for each in containers if any(copy_db.COPY in word for word in each.command)), None)
    container = copying or next((each for each in containers if each.name == settings.service), None)
    if not container:
        raise SettingsError(f"The task definition of {settings.service} has no container of that name.")
    of_manage = (
        f"{copy_db.COPY} --test-user {shlex.quote(options.login)}" if options.login else options.manage
    )
    line = f"{manage_py(container)} {of_manage}" if of_manage else options.command
    # The space at the end keeps a last quote from pflag, which would remove it; a shell ignores the space.
    variables = {**container.variables, _VARIABLE: f"{line} "}
    if password:
        variables[_HASH] = _hashed(password)
    task = OneOff(
        image=container.image,
        command=(),
        cpu=definition.cpu,
        memory=definition.memory,
        role=definition.role,
        variables=variables,
        secrets=container.secrets,
        entry_point=container.entry_point,
        execution_role=definition.execution_role,
    )
    return task.in_shell(f'eval "${_VARIABLE}"'), line


def _hashed(password: str) -> str:
    """Return the password's hash in the form of Django's PBKDF2PasswordHasher.

    Source: django/contrib/auth/hashers.py of Django, 3.2 to 5.2.
    """
    salt = secrets.token_hex(11)
    digest = hashlib.pbkdf2_hmac("sha256", password.encode(), salt.encode(), _ITERATIONS)
    return f"pbkdf2_sha256${_ITERATIONS}${salt}${b64encode(digest).decode()}"


def manage_py(container: ContainerDefinition) -> str:
    """Return how the container calls manage.py, with what its shell does before, such as `cd`."""
    chain = next((word for word in container.command if copy_db.COPY in word), "")
    if chain == copy_db.COPY:  # no shell: the words of one command
        return shlex.join(container.command[: container.command.index(chain)])
    steps = [step.strip() for step in re.split(r"&&|;|\|\||\n", chain.partition(copy_db.COPY)[0])]
    before = [step for step in steps[:-1] if re.match(r"(cd|export|set|\.|source)\s", step)]
    return " && ".join([*before, steps[-1] or "python manage.py"])
