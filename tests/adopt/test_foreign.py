"""Try on `adopt` what other people's repositories have: what it says and writes there."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from copilot_testenv.core.errors import Refused, SettingsError
from tests.adopt.project import MANIFEST, adopt, adopted, commit, files, start_project

BAD = "0123456789" * 4


@pytest.mark.parametrize("build", ["docker\\Dockerfile", "{context: docker\\web}"])
def test_a_path_that_only_windows_reads_is_an_error_and_nothing_is_written(
    tmp_path: Path, build: str
) -> None:
    text = MANIFEST.replace("build: Dockerfile", f"build: {build}")
    assert text != MANIFEST
    folder = start_project(tmp_path / "shop", manifest=text)
    before = files(folder)
    with pytest.raises(
        SettingsError, match=r"only Windows reads a backslash .* write docker/(Dockerfile|web)"
    ):
        adopt(folder)
    assert files(folder) == before


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ('os.getenv("SECRET_KEY")', "SECRET_KEY"),
        ('os.environ["DJANGO_SECRET"]', "DJANGO_SECRET"),
        ('os.environ.get("SHOP_KEY")', "SHOP_KEY"),
        ('os.getenv("SECRET_KEY", "x")', ""),
        ('os.environ.get("SECRET_KEY", default="x")', ""),
        ('os.environ.get("PRE" + "FIX")', ""),
    ],
)
def test_the_variable_that_secret_key_needs_is_given_as_a_secret(tmp_path: Path, key: str, name: str) -> None:
    folder = start_project(tmp_path / "shop", more_settings=f"import os\nSECRET_KEY = {key}\n")
    block = _adopted_block(folder)
    databases = {"DATABASE_URL", "STAGE_DATABASE_URL"}
    assert block["secrets"].keys() == databases | ({name} if name else set())
    assert block["sidecars"]["startup"]["secrets"] == block["secrets"]


@pytest.mark.parametrize("given", ["secrets: {SHOP_KEY: /shop/key}", "env_file: shop.env"])
def test_a_variable_that_the_manifest_gives_already_is_no_second_secret(tmp_path: Path, given: str) -> None:
    folder = start_project(
        tmp_path / "shop",
        {"shop.env": "SHOP_KEY=1\n"},
        manifest=f"{MANIFEST}\n{given}\n",
        more_settings='import os\nSECRET_KEY = os.environ["SHOP_KEY"]\n',
    )
    assert "SHOP_KEY" not in _adopted_block(folder)["secrets"]


def test_a_variable_of_the_deployers_environment_is_named_as_a_step(tmp_path: Path) -> None:
    text = MANIFEST + "\nvariables: {A: '${COPILOT_APPLICATION_NAME}', B: '${AWS_ACCOUNT_ID}', C: '${TAG}'}\n"
    said = adopt(start_project(tmp_path / "shop", manifest=text)).said
    steps = [each for each in said if "environment of the person who deploys" in each]
    line = len(text.splitlines())
    assert [each.partition(" would")[0] for each in steps] == [
        f"Left as it is: copilot/web/manifest.yml:{line}: `${{{name}}}`" for name in ("AWS_ACCOUNT_ID", "TAG")
    ]


@pytest.mark.parametrize(
    ("http", "step"),
    [
        (
            "  alias: shop.example.org\n",
            "`environments.test`, which Copilot wants because it imports a certif",
        ),
        (
            "",
            "copilot/web/manifest.yml: test imports a certificate (copilot/environments/test/manifest.yml:5)",
        ),
    ],
    ids=["an alias in the base", "none"],
)
def test_an_environment_that_imports_a_certificate_needs_a_host_name(
    tmp_path: Path, http: str, step: str
) -> None:
    text = MANIFEST.replace("http:\n", f"http:\n{http}")
    imported = (
        "name: test\ntype: Environment\nhttp:\n  public:\n"
        "    certificates: ['arn:aws:acm:eu-west-1:111122223333:certificate/0']\n"
    )
    files = {"copilot/environments/test/manifest.yml": imported}
    said = adopt(start_project(tmp_path / "shop", files, manifest=text)).said
    assert len([each for each in said if step in each]) == 1
    own = "environments:\n  test:\n    http: {alias: test.example.org}\n"
    said = adopt(start_project(tmp_path / "other", files, manifest=f"{MANIFEST}\n{own}")).said
    assert not [each for each in said if "imports a certificate" in each and "host name" in each]


def test_a_link_to_a_repository_that_nobody_can_fetch_is_named_as_a_step(tmp_path: Path) -> None:
    modules = '[submodule "lib"]\n\tpath = lib\n\turl = ../lib.git\n'
    folder = start_project(tmp_path / "shop", {".gitmodules": modules})
    for path in ("lib", "old copy"):
        words = ("update-index", "--add", "--cacheinfo", f"160000,{BAD},{path}")
        subprocess.run(["git", "-C", folder, *words], check=True)
        (folder / path).mkdir()
    commit(folder)
    (step,) = [each for each in adopt(folder).said if "link to another repository" in each]
    assert step.startswith("Left as it is: old copy: ")


def test_a_module_of_the_settings_that_git_does_not_have_is_named_as_a_step(tmp_path: Path) -> None:
    more = (
        "from .values import A\nfrom .parts import B\nfrom .absent.keys import C\n"
        "try:\n    from .local import *\nexcept ImportError:\n    pass\n"
    )
    there = {"mysite/values.py": "A = 1\n", "mysite/parts/__init__.py": "B = 1\n", ".gitignore": "local.py\n"}
    folder = start_project(tmp_path / "shop", there, more_settings=more)
    (step,) = [each for each in adopt(folder).said if "only committed files are deployed" in each]
    line = (folder / "mysite/settings.py").read_text().splitlines().index("from .absent.keys import C") + 1
    assert step.startswith(f"Left as it is: mysite/settings.py:{line}: it imports mysite/absent/keys.py, ")


def test_an_environment_whose_name_another_one_continues_is_refused_with_a_name_that_is_free(
    tmp_path: Path,
) -> None:
    others = ("test-env", "preview-2")
    files_of = {f"copilot/environments/{each}/manifest.yml": f"name: {each}\n" for each in others}
    folder = start_project(tmp_path / "shop", files_of)
    before = files(folder)
    with pytest.raises(Refused, match=r"name of test-env begins.* `TEST_ENV=branches invoke adopt --into "):
        adopt(folder)
    assert files(folder) == before


def test_a_file_that_the_dockerfile_copies_and_git_does_not_have_is_named_as_a_step(
    tmp_path: Path,
) -> None:
    dockerfile = (
        "FROM python:3.12-slim AS build\nENV HOME_OF=app\nWORKDIR /srv\n"
        "COPY --chown=1:1 manage.py \\\n    .env.app ./\nCOPY /mysite deploymen[t].json ./\nCOPY . .\n"
        "FROM python:3.12-slim\nENV HOME_OF=app\nCOPY --from=build /srv/absent /srv/\n"
        "ADD https://example.org/a /a\n"
        'COPY ["$HOME_OF/a", "$AWAY/b", "/srv/"]\n'
    )
    there = {"Dockerfile": dockerfile, ".gitignore": ".env.app\n"}
    folder = start_project(tmp_path / "shop", there)
    (folder / ".env.app").write_text("SECRET=1\n")
    steps = [each for each in adopt(folder).said if "it copies" in each]
    assert [each.partition(", which")[0] for each in steps] == [
        "Left as it is: Dockerfile:4: it copies .env.app",
        "Left as it is: Dockerfile:12: it copies app/a",
    ]


def test_a_script_that_waits_for_the_bases_database_is_named_as_a_step(tmp_path: Path) -> None:
    script = '#!/bin/sh\nwhile ! nc -z $SQL_HOST $SQL_PORT; do sleep 1; done\necho $SQL_HOST\nexec "$@"\n'
    files_of = {
        "start.sh": script,
        "Dockerfile": 'FROM python:3.12\nWORKDIR /app\nCOPY . .\nENTRYPOINT ["/app/start.sh"]\n',
    }
    given = f"{MANIFEST}\nvariables: {{SQL_HOST: db.example.com}}\n"
    said = adopt(start_project(tmp_path / "shop", files_of, manifest=given)).said
    (step,) = [each for each in said if "waits for $SQL_HOST" in each]
    assert step.startswith("Left as it is: start.sh:2: it waits for $SQL_HOST, which copilot/web/manifest")
    said = adopt(start_project(tmp_path / "other", files_of)).said
    assert not [each for each in said if "waits for" in each]


def test_models_without_tables_of_their_own_need_no_migrations(tmp_path: Path) -> None:
    head = "from django.db import models\n\n\nclass Dated(models.Model):\n    at = models.DateTimeField()\n"
    abstract = f"{head}\n    class Meta:\n        abstract = True\n"
    files_of = {
        "core/models.py": abstract,
        "books/models.py": f"{abstract}\n\nclass Book(models.Model):\n    title = models.TextField()\n",
    }
    said = adopt(start_project(tmp_path / "shop", files_of)).said
    (step,) = [each for each in said if "Git has no migrations of" in each]
    assert step.startswith("Left as it is: books/migrations: ")


def _adopted_block(folder: Path) -> Any:
    adopted(folder)
    return yaml.safe_load((folder / "copilot/web/manifest.yml").read_text())["environments"]["test"]
