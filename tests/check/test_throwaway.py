from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

import pytest

from copilot_testenv.check import throwaway
from copilot_testenv.core.settings import Settings
from copilot_testenv.rendering import Renderer
from copilot_testenv.state import last_copy
from tests.check.rendered import accepted, marked, places, rendered

HTTP = "http: {path: /, healthcheck: {path: /healthz, grace_period: 120s}}\n"
IMAGE = "image: {build: Dockerfile, port: 8000}\n"
DOCKERFILE = 'FROM python:3.13\nCMD ["gunicorn", "shop.wsgi"]\n'
COPY = "{image: {build: Dockerfile}, essential: false, command: python manage.py copy_stage_db}"
RESET = "{image: {build: Dockerfile}, essential: false, command: python manage.py reset_db --noinput}"


class Case(NamedTuple):
    """A manifest, and files beside it; the marked lines are told in `stage`, with these words."""

    manifest: str
    says: str = ""
    files: Mapping[str, str] = MappingProxyType({})
    path: str = "copilot/web/manifest.yml"


WIPED = {
    "a reset in the base, for every environment": Case(
        """
sidecars:
  startup:
    image: {build: Dockerfile}
    essential: false
    command: [sh, -c, 'python manage.py reset_db --noinput && python manage.py migrate']  # HERE
""",
        "startup runs `reset_db` whenever a task starts, outside of test (in stage)",
    ),
    "a copy below another environment": Case(
        """
sidecars:
  startup: {image: {build: Dockerfile}, essential: false, command: python manage.py migrate}
environments:
  stage:
    sidecars:
      startup:
        command: exec python -W error manage.py --settings=shop.settings copy_stage_db  # HERE
""",
        "`copy_stage_db`",
    ),
    "the main container's own command": Case(
        """
command: sh -c "django-admin flush --noinput; exec gunicorn shop.wsgi"  # HERE
""",
        "web runs `flush`",
    ),
    "an entry point": Case(
        """
entrypoint: [sh, -c, 'dropdb --if-exists shop; createdb shop']  # HERE
""",
        "`dropdb`",
    ),
    "SQL that is piped": Case(
        """
sidecars:
  startup:
    image: postgres:17.1
    essential: false
    command: [sh, -c, 'echo "DROP DATABASE shop" | psql "$DATABASE_URL"']  # HERE
""",
        "`DROP DATABASE`",
    ),
    "SQL that is an argument": Case(
        """
sidecars:
  startup:
    image: postgres:17.1
    essential: false
    command: [psql, -c, 'drop schema public cascade']  # HERE
""",
        "`DROP SCHEMA`",
    ),
    "a restore over what is there": Case(
        """
sidecars:
  startup:
    image: postgres:17.1
    essential: false
    command: pg_restore -Fc --clean -d shop /dump  # HERE
""",
        "`pg_restore --clean`",
    ),
    "the image's command": Case(
        "",
        "web runs `sqlflush`",
        {
            "Dockerfile": "FROM python:3.13 AS base\nCMD python manage.py sqlflush  # HERE\n"
            "FROM base\nUSER app\n"
        },
        "Dockerfile",
    ),
    "a script that the image's entry point calls": Case(
        "",
        "`reset_db`",
        {
            "Dockerfile": 'FROM python:3.13\nENTRYPOINT ["/app/docker/entrypoint.sh"]\nCMD ["gunicorn"]\n',
            "docker/entrypoint.sh": '#!/bin/sh\n# python manage.py flush\nif [ "$RESET" ]; then\n'
            '  python manage.py reset_db --noinput  # HERE\nfi\nexec "$@"\n',
        },
        "docker/entrypoint.sh",
    ),
    "a script that a command calls": Case(
        "command: bash bin/start now\n",
        "`copy_stage_db --fresh`",
        {"bin/start": "#!/usr/bin/env bash\npython manage.py copy_stage_db --fresh  # HERE\n"},
        "bin/start",
    ),
}
KEPT = {
    "what only speaks of it": Case(
        """
command: [sh, -c, 'echo "never DROP DATABASE or manage.py flush here"; python manage.py help flush; gunicorn']
variables: {STARTUP: python manage.py reset_db}
"""
    ),
    "what only looks": Case(
        """
sidecars:
  startup:
    image: {build: Dockerfile}
    essential: false
    command: [sh, -c, 'python manage.py copy_stage_db --plan && psql -c "select 1" && pg_restore -Fc -d x d']
"""
    ),
    "a reset in the test environment": Case(
        f"""
environments:
  test: {{sidecars: {{startup: {COPY}}}}}
"""
    ),
    "a command that takes the place of the image's": Case(
        "command: gunicorn shop.wsgi\n",
        files={"Dockerfile": "FROM python:3.13\nCMD python manage.py flush\n"},
    ),
    "another stage's command": Case(
        "",
        files={
            "Dockerfile": "FROM python:3.13 AS tests\nCMD python manage.py flush\nFROM python:3.13\nCMD x\n"
        },
    ),
    "a script out of the repository, and one that is no script": Case(
        "command: sh -c '../../outside.sh; /etc/passwd; manage.py migrate; ./data.bin'\n",
        files={"data.bin": "manage.py flush\0", "manage.py": "#!/usr/bin/env python\n# manage.py flush\n"},
    ),
}


@pytest.mark.parametrize("case", WIPED.values(), ids=WIPED)
def test_a_reset_or_copy_outside_of_test_is_told_where_it_is_written(
    renderer: Renderer, settings: Settings, case: Case
) -> None:
    files = {"Dockerfile": DOCKERFILE, **case.files}
    project = accepted(
        rendered(renderer, settings, HTTP + IMAGE + case.manifest, files, environments=("stage",))
    )
    found = list(throwaway.wiped(project))
    assert places(found) == marked(settings.root, case.path)
    assert case.says in found[0].what
    assert found[0].severity == "error"


@pytest.mark.parametrize("case", KEPT.values(), ids=KEPT)
def test_what_resets_nothing_outside_of_test_is_not_told(
    renderer: Renderer, settings: Settings, case: Case
) -> None:
    (settings.root.parent / "outside.sh").write_text("python manage.py flush\n")
    files = {"Dockerfile": DOCKERFILE, **case.files}
    project = rendered(
        renderer, settings, HTTP + IMAGE + case.manifest, files, environments=("stage", "test")
    )
    assert list(throwaway.wiped(accepted(project))) == []


def test_a_redis_sidecar_belongs_to_test_only(renderer: Renderer, settings: Settings) -> None:
    manifest = """
sidecars:
  cache:  # HERE
    image: docker.io/valkey/valkey:8.0.1
  redis:  # HERE
    image: example.org/our/cache:1
  redis-exporter: {image: 'oliver006/redis_exporter:1.2.3'}
environments:
  test: {sidecars: {another: {image: 'redis:7.4.1'}}}
"""
    project = rendered(
        renderer, settings, HTTP + IMAGE + manifest, environments=("production", "stage", "test")
    )
    found = list(throwaway.redis(accepted(project)))
    assert places(found) == marked(settings.root)
    assert all("(in production, stage)" in finding.what for finding in found)


CROWDED = {
    "several tasks": ("count: 2  # HERE", f"{RESET}", "2 tasks are started, and each runs reset_db"),
    "several Spot tasks": ("count: {spot: 3}  # HERE", f"{RESET}", "3 tasks"),
    "autoscaling": (
        "count: {range: 1-3, cpu_percentage: 70}  # HERE",
        f"{RESET}",
        "autoscaling may start tasks at any time",
    ),
}


@pytest.mark.parametrize(("count", "startup", "says"), CROWDED.values(), ids=CROWDED)
def test_more_than_one_task_with_a_reset_at_start_is_an_error(
    renderer: Renderer, settings: Settings, count: str, startup: str, says: str
) -> None:
    manifest = f"""
environments:
  test:
    {count}
    deployment: {{rolling: recreate}}
    sidecars: {{startup: {startup}}}
"""
    (found,) = throwaway.restarted(accepted(rendered(renderer, settings, HTTP + IMAGE + manifest)))
    assert [(found.path, found.line)] == marked(settings.root)
    assert says in found.what
    assert found.severity == "error"


@pytest.mark.parametrize(
    ("startup", "severity"), [(RESET, "error"), (COPY, "warning")], ids=["reset_db", "copy_stage_db"]
)
@pytest.mark.parametrize("written", [True, False], ids=["rolling: default", "nothing"])
def test_a_rolling_deployment_goes_on_over_a_database_that_is_replaced(
    renderer: Renderer, settings: Settings, startup: str, severity: str, *, written: bool
) -> None:
    manifest = f"""
environments:
  test:{"" if written else "  # HERE"}
    {"deployment: {rolling: default}  # HERE" if written else "cpu: 256"}
    sidecars: {{startup: {startup}}}
"""
    (found,) = throwaway.restarted(accepted(rendered(renderer, settings, HTTP + IMAGE + manifest)))
    assert [(found.path, found.line)] == marked(settings.root)
    assert found.severity == severity


@pytest.mark.parametrize(
    "manifest",
    [
        # The copy is once per release: a second task waits for it and keeps it.
        f"count: 3\ndeployment: {{rolling: recreate}}\nsidecars: {{startup: {COPY}}}",
        f"count: 1\ndeployment: {{rolling: recreate}}\nsidecars: {{startup: {RESET}}}",
        "environments: {test: {count: 3}}",
        f"count: 3\nenvironments: {{stage: {{sidecars: {{startup: {RESET}}}}}}}",
    ],
    ids=["a copy", "one task", "nothing at start", "another environment"],
)
def test_what_no_restart_hurts_is_not_told(renderer: Renderer, settings: Settings, manifest: str) -> None:
    project = rendered(renderer, settings, HTTP + IMAGE + manifest, environments=("stage", "test"))
    assert list(throwaway.restarted(accepted(project))) == []


GRACE = f"""
http:
  path: /
  healthcheck:
    path: /healthz
    grace_period: 120s  # HERE
image: {{build: Dockerfile, port: 8000}}
sidecars: {{startup: {COPY}}}
"""


def test_a_grace_period_below_the_last_copy_is_told(renderer: Renderer, settings: Settings) -> None:
    on_aws = replace(settings, target="aws", service="web-feature", slug="feature")
    last_copy.keep(on_aws, "2026-11-20T10:00:00Z", 150.2, print)
    last_copy.keep(settings, "2026-11-21T10:00:00Z", 2.0, print)
    project = accepted(rendered(renderer, settings, GRACE, environments=("stage", "test")))
    (found,) = throwaway.grace(project)
    assert [(found.path, found.line)] == marked(settings.root)
    assert "120 s is shorter than the last copy of staging's data, which took 150.2 s (in test)" in found.what
    assert found.instead.endswith("`360s`")


@pytest.mark.parametrize(
    ("manifest", "took"),
    [
        (GRACE, 119.9),
        (GRACE, None),
        (GRACE.replace("copy_stage_db", "migrate"), 150),
        (GRACE.replace("copy_stage_db", "migrate"), None),
    ],
    ids=["long enough", "nothing was measured", "nothing is copied", "neither"],
)
def test_a_grace_period_that_suffices_is_not_told(
    renderer: Renderer, settings: Settings, manifest: str, took: float | None
) -> None:
    if took is not None:
        last_copy.keep(settings, "2026-11-20T10:00:00Z", took, print)
    project = accepted(rendered(renderer, settings, manifest))
    assert list(throwaway.grace(project)) == []
    unmeasured = ["No copy was measured on this machine, so grace periods were not judged."]
    assert project.notes == (unmeasured if took is None and "copy_stage_db" in manifest else [])


COPY = """
    http: {path: /}
    image: {location: 'x:1', port: 80}
    cpu: 256
    memory: 512
    count: 1
    sidecars:
      startup:
        image: x:1
        essential: false
        command: ['sh', '-c', 'python manage.py copy_stage_db && python manage.py migrate']
"""


def test_a_copy_that_is_not_told_where_staging_is_is_warned_of(
    renderer: Renderer, settings: Settings
) -> None:
    (told,) = throwaway.source(accepted(rendered(renderer, settings, COPY)))
    assert (told.rule, told.severity) == ("copy-source", "warning")
    given = COPY + "        secrets: {STAGE_DATABASE_URL: /copilot/demo/test/secrets/STAGE_DATABASE_URL}\n"
    assert list(throwaway.source(accepted(rendered(renderer, settings, given)))) == []


def test_a_copy_whose_source_is_its_target_is_an_error(renderer: Renderer, settings: Settings) -> None:
    same = (
        COPY
        + "        secrets: {STAGE_DATABASE_URL: /copilot/demo/test/a, DATABASE_URL: /copilot/demo/test/a}\n"
    )
    (told,) = throwaway.source(accepted(rendered(renderer, settings, same)))
    assert (told.rule, told.severity) == ("copy-source", "error")
    assert "one address as STAGE_DATABASE_URL and as DATABASE_URL" in told.what
    other = same.replace("DATABASE_URL: /copilot/demo/test/a}", "DATABASE_URL: /copilot/demo/test/b}")
    assert list(throwaway.source(accepted(rendered(renderer, settings, other)))) == []
