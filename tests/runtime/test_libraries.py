"""psycopg 3 from a folder apart: in processes of their own, with stand-ins for both psycopgs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import django
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

RUNTIME = Path(__file__).resolve().parents[2] / "scripts/runtime"
# Django's backend is a stand-in too, which chooses as Django's does: the real one wants the real psycopg2.
BACKEND = """
try:
    import psycopg as Database
except ImportError:
    try:
        import psycopg2 as Database
    except ImportError:
        from django.core.exceptions import ImproperlyConfigured
        raise ImproperlyConfigured("neither")
"""
TRY = """
import importlib, json, sys
from django_testenv import libraries
libraries._BACKEND = "stand_in_backend"
try:
    libraries.require_psycopg()
except libraries.MissingLibraryError as error:
    print(json.dumps({"error": str(error), "path": sys.path[-1]}))
else:
    import psycopg
    backend = importlib.import_module("stand_in_backend")
    print(json.dumps({"copy": psycopg.__file__, "django": backend.Database.__name__, "path": sys.path[-1]}))
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., dict[str, str]]:
    def run_with(*packages: str, apart: str | None = "libraries") -> dict[str, str]:
        site = tmp_path / "site"
        site.mkdir()
        (site / "django").symlink_to(Path(django.__file__).parent)
        (site / "asgiref").symlink_to(Path(sys.modules["asgiref"].__file__ or "").parent)
        (site / "stand_in_backend.py").write_text(BACKEND)
        for name in packages:
            (site / f"{name}.py").touch()
        (tmp_path / "libraries").mkdir()
        (tmp_path / "libraries/psycopg.py").touch()
        folder = {"DJANGO_TESTENV_LIBRARIES": str(tmp_path / apart)} if apart else {}
        done = subprocess.run(
            [sys.executable, "-S", "-c", TRY],
            env={"PYTHONPATH": os.pathsep.join([str(site), str(RUNTIME)]), **folder},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, str] = json.loads(done.stdout)
        return found

    return run_with


def test_a_project_with_psycopg2_keeps_it_and_the_copy_has_psycopg_3(
    run: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    found = run("psycopg2")
    folder = str(tmp_path / "libraries")
    assert found == {"copy": f"{folder}/psycopg.py", "django": "psycopg2", "path": folder}


def test_a_project_with_psycopg_3_uses_its_own(run: Callable[..., dict[str, str]], tmp_path: Path) -> None:
    found = run("psycopg", "psycopg2")
    assert (found["copy"], found["django"]) == (str(tmp_path / "site/psycopg.py"), "psycopg")
    assert found["path"] != str(tmp_path / "libraries")


def test_a_project_with_neither_gets_psycopg_3_for_all(run: Callable[..., dict[str, str]]) -> None:
    assert run()["django"] == "psycopg"


@pytest.mark.parametrize(("apart", "says"), [(None, "names no folder"), ("absent", "names /")])
def test_where_psycopg_3_is_nowhere_one_line_says_so(
    run: Callable[..., dict[str, str]], apart: str | None, says: str
) -> None:
    found = run("psycopg2", apart=apart)
    assert found["error"].startswith("psycopg 3 is not installed: No module named 'psycopg', and ")
    assert says in found["error"]
    assert "\n" not in found["error"]
    assert not found["path"].endswith("absent")


@pytest.mark.parametrize(
    "module",
    [
        "django_testenv.settings",
        "django_testenv.libraries",
        "django_testenv.access.access",
        "django_testenv.access.middleware",
        "django_testenv.access.healthz",
        "django_testenv.stage_copy.apps",
        "django_testenv.stage_copy.copy_metadata",
        "django_testenv.stage_copy.database_url",
        "django_testenv.stage_copy.management.commands.copy_stage_db",
    ],
)
def test_what_the_project_imports_needs_no_psycopg(module: str) -> None:
    block = f"import sys; sys.modules['psycopg'] = sys.modules['psycopg2'] = None; import {module}"
    done = subprocess.run(
        [sys.executable, "-c", block],
        env={"PYTHONPATH": str(RUNTIME)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
