"""The settings: a block at their end that does nothing outside the test environment."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from copilot_testenv.adopt import stamps
from copilot_testenv.adopt.changes import Change, Left
from copilot_testenv.adopt.project import UNSTAMPED_SETTINGS, Project
from copilot_testenv.adopt.renewal import Renewal
from copilot_testenv.core.errors import SettingsError

_FROM_ENVIRONMENT = ("SECRET_KEY", "DEBUG", "ALLOWED_HOSTS")


def plan(renewal: Renewal, *, static: bool) -> Change | Left | None:
    """Add the block to the settings, or renew it. `static`: the project serves its static files itself."""
    project = renewal.project
    path, text, body = project.settings_path, project.settings_text, _body(project, static=static)
    if found := renewal.unstamped(path, text, body, _unstamped):
        return found
    if stamps.find(text.replace("\r\n", "\n")):
        return renewal.present(path, text, body)
    if "django_testenv" in project.all_settings:  # it was put there by hand
        return None
    return Change(path, text.encode(), stamps.appended(text, body, empty_lines=1).encode())


def _unstamped(text: str) -> tuple[int, int] | None:
    start = text.find(UNSTAMPED_SETTINGS)
    return None if start < 0 else (start, len(text))


def _body(project: Project, *, static: bool) -> str:
    """Return the lines: nothing outside the test environment, and nothing for a linter or type checker."""
    given = []
    if project.test_env != "test":
        given.append(f'environment="{project.test_env}"')
    if hard := [name for name in _FROM_ENVIRONMENT if name in hard_wired(project)]:
        given.append(f"from_environment=[{', '.join(f'{chr(34)}{name}{chr(34)}' for name in hard)}]")
    if static and "whitenoise" not in project.all_settings.lower():
        given.append("whitenoise=True")
    call = '    __import__("django_testenv.settings").settings.apply('
    arguments = "".join(f"        {each},\n" for each in ("globals()", *given))
    return f'if __import__("os").environ.get("COPILOT_ENVIRONMENT_NAME") == "{project.test_env}":\n' + (
        f"{call}\n{arguments}    )\n" if given else f"{call}globals())\n"
    )


def hard_wired(project: Project) -> set[str]:
    """Return which of SECRET_KEY, DEBUG and ALLOWED_HOSTS the code fixes, as startproject writes them.

    Raises SettingsError where the settings are no Python.
    """
    try:
        tree = ast.parse(project.all_settings)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise SettingsError(f"{project.root / project.settings_path} cannot be read: {error}.") from error
    fixed: dict[str, bool] = {}
    for name, value in _assignments(tree):
        if name in _FROM_ENVIRONMENT:
            fixed[name] = all(
                not isinstance(part, ast.Call | ast.Name | ast.Subscript) for part in ast.walk(value)
            )
    return {name for name, is_fixed in fixed.items() if is_fixed}


def _assignments(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for statement in tree.body:
        if isinstance(statement, ast.Assign):
            for target in statement.targets:
                if isinstance(target, ast.Name):
                    yield target.id, statement.value
