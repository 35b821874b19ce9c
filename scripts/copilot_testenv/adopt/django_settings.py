"""Add a block at the end of the settings that does nothing outside the test environment."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from copilot_testenv.adopt import stamps
from copilot_testenv.adopt.changes import Change, NotChanged
from copilot_testenv.adopt.project import UNSTAMPED_SETTINGS, Project
from copilot_testenv.adopt.renewal import Renewal
from copilot_testenv.core.errors import SettingsError

_FROM_ENVIRONMENT = ("SECRET_KEY", "DEBUG", "ALLOWED_HOSTS")
# What serves static files, in the words of settings, requirements and Dockerfiles.
_SERVES_STATIC = re.compile(
    r"whitenoise|servestatic|dj[-_]static|nginx|caddy|\bs3|storages|cloudfront|STATIC_URL.*//", re.IGNORECASE
)
_NO_STATIC = (
    "With DEBUG off Django serves no static files, and neither these settings nor the image name anything "
    "that does: a page such as /admin/ would have no styles. If stage has them from elsewhere, let test have "
    "them from there too; else add WhiteNoise to the requirements and to MIDDLEWARE."
)


def plan(renewal: Renewal, *, static: bool) -> Change | NotChanged | None:
    """Plan to add or renew the block. With `static` the project serves its static files itself."""
    project = renewal.project
    path, text, body = project.settings_path, project.settings_text, _body(project, static=static)
    if renewed := renewal.plan_legacy(path, text, body, _unstamped):
        return renewed
    if stamps.find(text.replace("\r\n", "\n")):
        return renewal.plan_block(path, text, body)
    if "django_testenv" in project.all_settings:  # somebody wrote it by hand
        return None
    return Change(path, text.encode(), stamps.appended(text, body, empty_lines=1).encode())


def unserved_static(project: Project, *, static: bool) -> NotChanged | None:
    """Say that nothing serves the static files, where `adopt` is new to a project and nothing seems to."""
    proxied = isinstance(http := project.manifest.get("http"), dict) and http.get("target_container")
    is_new = "django_testenv" not in project.settings_text
    if static or proxied or not is_new or "django.contrib.staticfiles" not in project.all_settings:
        return None
    if _SERVES_STATIC.search(project.all_settings) or _SERVES_STATIC.search(project.required):
        return None
    return NotChanged(project.settings_path, _NO_STATIC)


def _unstamped(text: str) -> tuple[int, int] | None:
    start = text.find(UNSTAMPED_SETTINGS)
    return None if start < 0 else (start, len(text))


def _body(project: Project, *, static: bool) -> str:
    """Return the block's lines. Linters and type checkers find nothing in them."""
    given = []
    if project.test_env != "test":
        given.append(f'environment="{project.test_env}"')
    if constants := [name for name in _FROM_ENVIRONMENT if name in constant_settings(project)]:
        given.append(f"from_environment=[{', '.join(f'{chr(34)}{name}{chr(34)}' for name in constants)}]")
    if static and "whitenoise" not in project.all_settings.lower():
        given.append("whitenoise=True")
    call = '    __import__("django_testenv.settings").settings.apply('
    arguments = "".join(f"        {each},\n" for each in ("globals()", *given))
    return f'if __import__("os").environ.get("COPILOT_ENVIRONMENT_NAME") == "{project.test_env}":\n' + (
        f"{call}\n{arguments}    )\n" if given else f"{call}globals())\n"
    )


def constant_settings(project: Project) -> set[str]:
    """Return the names among SECRET_KEY, DEBUG and ALLOWED_HOSTS that the settings assign as a constant.

    `startproject` writes all three as constants, so that no environment variable can change them. The last
    assignment of a name counts. Raises SettingsError where the settings are not valid Python.
    """
    try:
        tree = ast.parse(project.all_settings)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise SettingsError(f"{project.root / project.settings_path} cannot be read: {error}.") from error
    is_constant: dict[str, bool] = {}
    for name, value in _assignments(tree):
        if name in _FROM_ENVIRONMENT:
            is_constant[name] = all(
                not isinstance(part, ast.Call | ast.Name | ast.Subscript) for part in ast.walk(value)
            )
    return {name for name, constant in is_constant.items() if constant}


def secret_key_variable(project: Project) -> str:
    """Return the environment variable without which the settings have no SECRET_KEY; empty if there is none.

    It is the only argument of what is called, or the subscript: `os.environ["KEY"]`, `config("KEY")`.
    """
    values = [value for name, value in _assignments(ast.parse(project.all_settings)) if name == "SECRET_KEY"]
    match values[-1:]:
        case [ast.Call(args=[ast.Constant(value=str(name))], keywords=[])]:
            return name
        case [ast.Subscript(slice=ast.Constant(value=str(name)))]:
            return name
    return ""


def _assignments(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for statement in tree.body:
        if isinstance(statement, ast.Assign):
            for target in statement.targets:
                if isinstance(target, ast.Name):
                    yield target.id, statement.value
