"""Try django-testenv as a project has it: `python -m tests.runtime.smoke PYTHON FOLDER`.

PYTHON is of an environment with django-testenv, Django and psycopg2; psycopg 3 is in FOLDER alone, as
`pip install --target` puts it there. A fresh project is started, staging migrated and copied: all of it on a
real Postgres, with Django on psycopg2 and the copy on psycopg 3. `nox -s runtime` makes the environments.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.runtime.stage_copy.servers import BIN, PostgresServer, postgres_server

SETTINGS = """
import os

if os.environ.get("COPILOT_ENVIRONMENT_NAME") == "test":
    from django_testenv import settings as test_environment

    test_environment.apply(globals(), from_environment=["SECRET_KEY", "DEBUG", "ALLOWED_HOSTS"])
"""
# Django 3.2 has no psycopg_any: it knows psycopg2 only.
COPY_AND_LOOK = """
import json, sys
from django.core.management import call_command
from django.db import connection
call_command("copy_stage_db", "--fresh", "--verify")
import psycopg
from django.contrib.auth.models import User
try:
    from django.db.backends.postgresql.psycopg_any import is_psycopg3
except ImportError:
    is_psycopg3 = False
print(json.dumps({"copy": psycopg.__version__[0], "django": connection.Database.__name__, "any": is_psycopg3,
    "users": list(User.objects.values_list("username", "email", "password"))}))
"""
LOOK = """
import importlib.util, json
from django.db import connection
print(json.dumps([connection.Database.__name__, importlib.util.find_spec("psycopg") is None]))
"""


def main(python: str, folder: str) -> None:
    with postgres_server() as server, tempfile.TemporaryDirectory(prefix="smoke-") as home:
        server.create_role("owner", "made-up", "CREATEDB")
        server.create_role("reader", "made-up")
        for database in ("staging", "test"):
            with server.connect(role="owner", password="made-up") as connection:
                connection.execute(f"CREATE DATABASE {database}".encode())
        _try(_Project(python, Path(home), server, {"DJANGO_TESTENV_LIBRARIES": folder}))


class _Project:
    def __init__(self, python: str, home: Path, server: PostgresServer, variables: dict[str, str]) -> None:
        self._python, self._home = python, home
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        self._variables = {
            "PATH": path,
            "COPILOT_ENVIRONMENT_NAME": "test",
            "EMAIL_HOST": "localhost",
            "SECRET_KEY": "made-up",
            "DATABASE_URL": server.url("owner", "made-up", "test"),
            "STAGE_DATABASE_URL": server.url("reader", "made-up", "staging"),
            **variables,
        }
        self.staging = server.url("owner", "made-up", "staging")
        self._run("-m", "django", "startproject", "shop", ".")
        with (home / "shop/settings.py").open("a") as settings:
            settings.write(SETTINGS)
        release = {"environment": "test", "branch": "main", "commit": "0" * 40, "deploy": "1"}
        (home / "deployment.json").write_text(json.dumps(release))

    def manage(self, *words: str, **variables: str) -> str:
        return self._run("manage.py", *words, **variables)

    def _run(self, *words: str, **variables: str) -> str:
        done = subprocess.run(
            [self._python, *words],
            cwd=self._home,
            env={**self._variables, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"{' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout


def _try(project: _Project) -> None:
    assert "--require-mask" in project.manage("copy_stage_db", "--help")
    project.manage("migrate", "--noinput", DATABASE_URL=project.staging)
    add = (
        "from django.contrib.auth.models import User;User.objects.create_user('ann', 'ann@corp.example', 'x')"
    )
    project.manage("shell", "-c", add, DATABASE_URL=project.staging)
    grant = (
        "from django.db import connection; c = connection.cursor();"
        "c.execute('GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader');"
        "c.execute('GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO reader')"
    )
    project.manage("shell", "-c", grant, DATABASE_URL=project.staging)
    project.manage("copy_stage_db", "--mark-disposable", "test", "--confirm", "test")
    print(project.manage("copy_stage_db").strip())  # noqa: T201
    found = json.loads(project.manage("shell", "-c", COPY_AND_LOOK).splitlines()[-1])
    (name, email, password), *others = found.pop("users")
    assert found == {"copy": "3", "django": "psycopg2", "any": False}, found
    assert (password, others) == ("!", [])
    assert "ann" not in name
    assert "corp" not in email
    assert json.loads(project.manage("shell", "-c", LOOK).splitlines()[-1]) == ["psycopg2", True]
    project.manage("migrate", "--noinput")
    project.manage("check")
    print("django-testenv works there")  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
