"""Run a project's manage.py in a process that begins with Django imported, since importing takes longest.

Each job comes as a line of JSON on stdin: words, folder, environment, and the files that take what it says.
The answer is its exit code. What depends on a project's settings is imported by the job itself, and so is the
copy of a project in another folder than the first job's.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import traceback
from importlib import import_module

IMPORTED = (
    *("asgiref.local", "psycopg", "psycopg.types.string", "django.core.management", "django.core.mail"),
    *("django.core.serializers.json", "django.db.backends.postgresql.base", "django.db.models"),
    *("django.db.migrations.loader", "django.forms", "django.http", "django.template", "django.urls"),
    *("django.utils.log", "django.views", "email.mime.text", "logging.config"),
)


def main() -> None:
    for name in IMPORTED:
        import_module(name)
    first = None
    for line in sys.stdin:
        job = json.loads(line)
        if first is None:
            first = job["folder"]
            sys.path.insert(0, first)
            import_module("django_testenv.stage_copy.actions")
        pid = os.fork()
        if not pid:
            if job["folder"] != first:
                sys.path.remove(first)
                for name in [each for each in sys.modules if each.partition(".")[0] == "django_testenv"]:
                    del sys.modules[name]
            _become(**job)
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _become(words: list[str], folder: str, env: dict[str, str], out: str, err: str) -> None:
    """Run manage.py and end, as Python does."""
    for path, standard in ((os.devnull, 0), (out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), standard)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["manage.py", *words]
    sys.path.insert(0, folder)
    code: object = 1
    try:
        runpy.run_path("manage.py", run_name="__main__")
        code = 0
    except SystemExit as ended:
        code = ended.code
    except BaseException:  # noqa: BLE001  a forked process must not go on here
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    main()
