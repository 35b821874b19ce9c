"""Say that models of a branch have changes without a migration, as Django has said it in the log."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING

from copilot_testenv.core import documents
from copilot_testenv.core.errors import UserError
from copilot_testenv.deploys.container_log import last_lines

if TYPE_CHECKING:
    from collections.abc import Iterable

    from copilot_testenv.aws.stack import Task
    from copilot_testenv.session import Session, Target

# Source: django/core/management/commands/migrate.py of Django, 3.2 to 5.2.
_DJANGOS = re.compile(r"Your models in app\(s\): (?P<apps>.+) have changes that are not yet reflected")


def told(session: Session, target: Target, name: str | None, tasks: Iterable[Task]) -> str:
    """Return a sentence by the logs of the containers that have ended in these tasks; empty where none is.

    `name` is the branch's.
    """
    for task in tasks:
        for container in task.containers:
            if container.exit_code == 0 and (apps := _apps(session, target, container.name, task)):
                of = session.branch_flag(name)
                return (
                    f"Models of {apps} have changes without a migration, so the tables do not have them: "
                    f'`invoke exec{of} --manage "makemigrations --dry-run"` names them, and '
                    f"{documents.page('migration.md')} says how to write the file."
                )
    return ""


def _apps(session: Session, target: Target, container: str, task: Task) -> str:
    with suppress(UserError):  # without the log, the deploy is as good
        for line in last_lines(target.aws, session.settings, container, task):
            if found := _DJANGOS.search(line):
                return found["apps"].replace("'", "")
    return ""
