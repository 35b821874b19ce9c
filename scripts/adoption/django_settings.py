"""The settings: a block at their end, appended once, that changes nothing where its variables are not set."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from scripts.adoption.changes import Change
from scripts.adoption.project import Project
from scripts.adoption.shipped import HEALTH_PATH, SHIPPED
from scripts.errors import SettingsError

MARK = "# Test environments: added by `invoke adopt`, once; yours to change from here on."
_MIDDLEWARE = [each.middleware for each in SHIPPED if each.middleware]
_MASKS = """    "mask": {
        "auth_user.username": "keep",
        "auth_user.first_name": "name",
        "auth_user.last_name": "name",
        "auth_user.email": "email",
        "auth_user.password": {"value": "!"},  # no password fits: testers make users of their own
    },
"""
# No other host: the address that the other environments send to may be in the variables of all.
_MAIL = """# Mail goes to a sidecar (mailpit: plain SMTP, no password), else to EMAIL_BACKEND.
if os.environ.get("EMAIL_HOST") == "localhost":
    EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    EMAIL_HOST = "localhost"
    EMAIL_PORT = int(os.environ.get("EMAIL_PORT") or 25)
    EMAIL_USE_TLS = EMAIL_USE_SSL = False
    EMAIL_HOST_USER = EMAIL_HOST_PASSWORD = ""
elif os.environ.get("EMAIL_BACKEND"):
    EMAIL_BACKEND = os.environ["EMAIL_BACKEND"]
"""
_FROM_ENVIRONMENT = {
    "SECRET_KEY": 'SECRET_KEY = os.environ.get("SECRET_KEY", SECRET_KEY)',
    "DEBUG": 'DEBUG = os.environ.get("DEBUG", str(DEBUG)).lower() in ("1", "true")',
    "ALLOWED_HOSTS": 'if os.environ.get("ALLOWED_HOSTS"):\n'
    '    ALLOWED_HOSTS = os.environ["ALLOWED_HOSTS"].split(",")',
}


def plan(project: Project, *, static: bool) -> Change | None:
    """The settings with the block; None where they have it. `static`: static files are ours to serve."""
    if MARK in project.all_settings or SHIPPED[-1].app in project.all_settings:
        return None
    text = project.settings_text
    end = "\r\n" if "\r\n" in text else "\n"
    added = "\n".join(_lines(project, static=static)) + "\n"
    gap = "" if text.endswith("\n") or not text else "\n"
    after = text + f"{gap}\n\n{added}".replace("\n", end)
    return Change(project.settings_path, text.encode(), after.encode())


def hard_wired(project: Project) -> set[str]:
    """Which of SECRET_KEY, DEBUG and ALLOWED_HOSTS are fixed in the code, as startproject writes them.

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


def _lines(project: Project, *, static: bool) -> Iterator[str]:
    settings = project.all_settings
    yield MARK
    yield "import os  # noqa: E402"
    yield ""
    yield "from scripts.stage_copy import database_url  # noqa: E402"
    yield ""
    yield from _shipped(project)
    if static:
        yield from _static(project)
    if "DATABASE_URL" not in settings:
        yield 'if os.environ.get("DATABASE_URL"):'
        yield '    DATABASES["default"] = database_url.parse(os.environ["DATABASE_URL"])'
    yield 'if os.environ.get("DATABASE_SUFFIX"):  # a branch with a database of its own'
    yield '    DATABASES["default"]["NAME"] += os.environ["DATABASE_SUFFIX"]'
    yield 'if os.environ.get("STAGE_DATABASE_URL"):  # what copy_stage_db copies, as a role that only reads'
    yield '    DATABASES["stage"] = database_url.parse(os.environ["STAGE_DATABASE_URL"])'
    yield "# What copy_stage_db leaves behind and what it replaces; its --plan shows what looks personal."
    yield "STAGE_COPY = {"
    yield '    "exclude_data": ["django_session"],'
    if "AUTH_USER_MODEL" not in settings and "django.contrib.auth" in settings:
        yield _MASKS.rstrip("\n")
    yield "}"
    hard = hard_wired(project)
    if hard:
        yield "# Fixed above; where these variables are set, they count."
        for name, line in _FROM_ENVIRONMENT.items():
            if name in hard:
                yield line


def _shipped(project: Project) -> Iterator[str]:
    apps = ", ".join(f'"{each.app}"' for each in SHIPPED if each.app)
    yield f"INSTALLED_APPS = [*INSTALLED_APPS, {apps}]"
    yield "MIDDLEWARE = ["
    for name in _MIDDLEWARE:
        yield f'    "{name}",'
    yield "    *MIDDLEWARE,"
    yield "]"
    yield "# In the test environment only: no search engine, no mail, and a password where BASIC_AUTH is set."
    yield f"TEST_ACCESS = {_access(project)}"
    yield _MAIL.rstrip("\n")


def _access(project: Project) -> str:
    """The load balancer asks without a password, and for no page of the project's: that would be open."""
    keys = [f'"open_paths": ["{HEALTH_PATH}"]']
    if project.test_env != "test":
        keys.insert(0, f'"environments": ["{project.test_env}"]')
    return "{" + ", ".join(keys) + "}"


def _static(project: Project) -> Iterator[str]:
    """With the Dockerfile that is written here the project serves its static files itself, in a container."""
    settings = project.all_settings
    if "STATIC_ROOT" not in settings:
        yield 'STATIC_ROOT = os.environ.get("STATIC_ROOT", "staticfiles")'
    if "whitenoise" not in settings.lower():
        yield 'if os.environ.get("COPILOT_ENVIRONMENT_NAME"):  # in the image, which has whitenoise'
        yield f'    MIDDLEWARE.insert({len(_MIDDLEWARE)}, "whitenoise.middleware.WhiteNoiseMiddleware")'
