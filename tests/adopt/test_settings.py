"""The settings block: it does nothing but in the test environment, and there it does all that is needed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.adopt.project import adopt, adopted, commit, start_project
from tests.sources import ROOT

_SHOWN = """
import json
from mysite import settings
print(json.dumps({k: str(v) for k, v in vars(settings).items() if k.isupper()}))
"""


def settings_of(folder: Path, **environ: str) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", _SHOWN], cwd=folder, env=environ, check=True, capture_output=True, text=True
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_no_setting_changes_but_in_the_test_environment(project: Path) -> None:
    before = settings_of(project)
    adopt(project)
    assert settings_of(project) == before  # without our package, too: nothing of it is on the path
    elsewhere = settings_of(project, COPILOT_ENVIRONMENT_NAME="production", DATABASE_URL="postgres://u@h/d")
    assert elsewhere == before

    url = "postgres://u:p@localhost/test"
    deployed = settings_of(
        project, COPILOT_ENVIRONMENT_NAME="test", DEBUG="0", ALLOWED_HOSTS="*", DATABASE_URL=url,
        STAGE_DATABASE_URL=url, PYTHONPATH=str(ROOT / "scripts/runtime"),
    )  # fmt: skip
    assert (deployed["DEBUG"], deployed["ALLOWED_HOSTS"]) == ("False", "['*']")
    assert "postgresql" in deployed["DATABASES"]
    assert "'stage'" in deployed["DATABASES"]
    assert "whitenoise" in deployed["MIDDLEWARE"]
    assert "django_testenv.stage_copy" in deployed["INSTALLED_APPS"]


def test_a_project_whose_proxy_has_the_static_files_gets_no_whitenoise(three: Path) -> None:
    adopt(three)
    assert "whitenoise" not in (three / "mysite/settings.py").read_text()


@pytest.mark.parametrize(
    ("more", "line", "said"),
    [
        ("", "", True),
        ("", "RUN pip install whitenoise\n", False),
        ("STATIC_URL = 'https://assets.example.com/'\n", "", False),
    ],
)
def test_an_image_of_ones_own_that_serves_no_static_files_is_named(
    tmp_path: Path, more: str, line: str, *, said: bool
) -> None:
    folder = start_project(tmp_path / "shop", more_settings=more)
    dockerfile = f"FROM python:3.12\n{line}COPY . .\nCMD gunicorn mysite.wsgi\n"
    (folder / "Dockerfile").write_text(dockerfile)
    commit(folder)
    report = adopt(folder)
    assert any("would have no styles" in each for each in report.said) is said
    assert not any("would have no styles" in each for each in adopt(folder).said)  # once is enough


def test_settings_that_call_the_package_by_hand_are_left(tmp_path: Path) -> None:
    own = "import os\nif os.environ.get('COPILOT_ENVIRONMENT_NAME') == 'test':\n    import django_testenv\n"
    folder = start_project(tmp_path / "shop", more_settings=own)
    before = (folder / "mysite/settings.py").read_text()
    adopt(folder)
    assert (folder / "mysite/settings.py").read_text() == before


def test_only_what_the_code_fixes_comes_from_the_environment(tmp_path: Path) -> None:
    own = 'import os\nSECRET_KEY = os.environ.get("KEY", "x")\nDEBUG = bool(os.environ.get("DEBUG"))\n'
    folder = start_project(tmp_path / "shop", more_settings=own)
    adopt(folder)
    assert 'from_environment=["ALLOWED_HOSTS"],' in (folder / "mysite/settings.py").read_text()


@pytest.mark.parametrize("tail", ["", "# no line end"])
def test_settings_with_crlf_keep_it(project: Path, tail: str) -> None:
    file = project / "mysite/settings.py"
    before = file.read_bytes().replace(b"\n", b"\r\n") + tail.encode()
    file.write_bytes(before)
    commit(project)
    adopted(project)
    after = file.read_bytes()
    assert after.startswith(before)
    assert after.count(b"\n") == after.count(b"\r\n")
    assert adopt(project).said[-1].startswith("Nothing to do")
