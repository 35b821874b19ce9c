from __future__ import annotations

from typing import NamedTuple

import pytest

from copilot_testenv.check import containers, verdict
from copilot_testenv.core.settings import Settings
from copilot_testenv.rendering import Renderer
from tests.check.rendered import Rule, accepted, marked, places, rendered

DOCKERFILE = {"Dockerfile": 'FROM python:3.13\nCMD ["gunicorn", "shop.wsgi"]\n'}
HTTP = "http: {path: /, healthcheck: /healthz}\n"


class Case(NamedTuple):
    """A manifest whose marked lines are told, with these words."""

    rule: Rule
    manifest: str
    says: str = ""
    severity: str = "error"


REFUSED = {
    "a container that is not there": Case(
        containers.dependencies,
        """
image:
  build: Dockerfile
  port: 8000
  depends_on:
    rediss: start  # HERE
sidecars:
  redis: {image: 'redis:7.4.1'}
""",
        "and there is no container of that name (in test): write redis",
    ),
    "two that wait for each other": Case(
        containers.dependencies,
        """
image: {build: Dockerfile, port: 8000, depends_on: {a: start}}
sidecars:
  a:
    image: redis:7.4.1
    depends_on:
      b: start  # HERE
  b:
    image: redis:7.4.1
    depends_on:
      a: start
""",
        "wait for each other",
    ),
    "one that waits for itself": Case(
        containers.dependencies,
        """
image: {build: Dockerfile, port: 8000}
sidecars:
  a:
    image: redis:7.4.1
    depends_on: {a: start}  # HERE
""",
        "waits for itself",
    ),
    "an essential one that is awaited until it ends": Case(
        containers.dependencies,
        """
image:
  build: Dockerfile
  port: 8000
  depends_on: {startup: success}
sidecars:
  startup:  # HERE
    image: {build: Dockerfile}
    command: [python, manage.py, migrate]
""",
        "write `essential: false` under `sidecars.startup`",
    ),
    "the service itself awaited until it ends": Case(
        containers.dependencies,
        """
image: {build: Dockerfile, port: 8000}
sidecars:
  after:
    image: redis:7.4.1
    depends_on:
      web: success  # HERE
""",
        "which is the service itself and does not end",
    ),
}
TOLD = {
    "an essential container that migrates and ends": Case(
        containers.startup,
        """
image: {build: Dockerfile, port: 8000}
sidecars:
  startup:
    image: {build: Dockerfile}
    essential: true  # HERE
    command: ['sh', '-c', 'python manage.py migrate && python manage.py collectstatic --noinput']
""",
        "the task ends with it",
    ),
    "an essential container that migrates and goes on with a command of the project's own": Case(
        containers.startup,
        """
image: {build: Dockerfile, port: 8000}
sidecars:
  startup:  # HERE
    image: {build: Dockerfile}
    command: [sh, -c, 'echo now; python manage.py migrate && python manage.py create_tenants']
""",
    ),
    "an essential container whose script ends with a migration": Case(
        containers.startup,
        """
image: {build: Dockerfile, port: 8000}
sidecars:
  startup:
    image: {build: Dockerfile}  # the script is scripts/start.sh
    command: /app/scripts/start.sh
environments:
  test:
    sidecars:
      startup:
        essential: true  # HERE
""",
    ),
    "a server awaited until it ends": Case(
        containers.dependencies,
        """
image:
  build: Dockerfile
  port: 8000
  depends_on:
    cache: complete  # HERE
sidecars:
  cache: {image: 'redis:7.4.1', essential: false}
""",
        "it is a server, which does not end (in test): write `start`",
    ),
    "one that ends awaited as healthy": Case(
        containers.dependencies,
        """
image: {build: Dockerfile, port: 8000}
sidecars:
  startup:
    image: {build: Dockerfile}
    essential: false
    command: python manage.py migrate
    healthcheck: {command: ['CMD', 'true']}
environments:
  test:
    image:
      depends_on:
        startup: healthy  # HERE
""",
        "it ends when it is done (in test): write `success`",
    ),
    "one without a health check awaited as healthy": Case(
        containers.dependencies,
        """
image:
  build: Dockerfile
  port: 8000
  depends_on:
    redis: healthy  # HERE
sidecars:
  redis: {image: 'redis:7.4.1'}
""",
        "write one as `sidecars.redis.healthcheck.command`",
    ),
    "a variable and a secret that the startup sidecar lacks": Case(
        containers.givens,
        """
image: {build: Dockerfile, port: 8000, depends_on: {startup: success}}
variables:
  LOG_LEVEL: INFO  # HERE
  WEB_CONCURRENCY: 2
  SHARED: 1
secrets:
  DATABASE_URL: /copilot/${COPILOT_ENVIRONMENT_NAME}/DATABASE_URL  # HERE
sidecars:
  startup:
    image: {build: Dockerfile}
    essential: false
    command: [sh, -c, ./bin/start]
    variables: {SHARED: 1}
""",
        "repeat it under `sidecars.startup.",
    ),
    "what one environment gives to the service only": Case(
        containers.givens,
        """
image: {build: Dockerfile, port: 8000}
sidecars:
  startup: {image: 'app:1.0', essential: false, command: python manage.py migrate}
environments:
  test:
    variables:
      REDIS_HOST: localhost  # HERE
""",
        "repeat it under `environments.test.sidecars.startup.variables`",
    ),
    "what a worker lacks, which may not need it": Case(
        containers.givens,
        """
image: {build: Dockerfile, port: 8000}
variables:
  LOG_LEVEL: INFO  # HERE
sidecars:
  worker: {image: {build: {dockerfile: Dockerfile}}, command: celery -A shop worker}
""",
        "worker runs the project too and lacks the variable LOG_LEVEL",
        "warning",
    ),
    "the file of variables that the startup sidecar lacks": Case(
        containers.givens,
        """
image: {build: Dockerfile, port: 8000}
env_file: web.env  # HERE
sidecars:
  startup: {image: {build: Dockerfile}, essential: false, command: python manage.py migrate}
""",
        "lacks what web.env gives",
    ),
    "images without a version": Case(
        containers.images,
        """
image:
  location: example.org:5000/shop  # HERE
  port: 8000
sidecars:
  a: {image: 'redis:latest'}  # HERE
  b:
    image: {location: 'nginx:stable-alpine'}  # HERE
  c: {image: 'app:v2-latest'}  # HERE
  d: {image: 'app:nightly20261124'}  # HERE
""",
        "has no pinned tag",
        "warning",
    ),
    "a sidecar that is named as a host": Case(
        containers.hosts,
        """
image: {build: Dockerfile, port: 8000}
variables:
  REDIS_HOST: redis  # HERE
  BROKER_URL: redis://:made-up@redis:6379/0  # HERE
  CACHE: redis
sidecars:
  redis: {image: 'redis:7.4.1'}
""",
        "write `localhost`",
    ),
}
SILENT = {
    "a sidecar that migrates first and then serves": Case(
        containers.startup,
        """
image: {build: Dockerfile, port: 8000}
sidecars:
  admin: {image: {build: Dockerfile}, command: [sh, -c, python manage.py migrate && gunicorn shop.admin]}
  tasks: {image: {build: Dockerfile}, command: [sh, -c, manage.py migrate && manage.py run_huey]}
  queue: {image: {build: Dockerfile}, command: [sh, -c, python manage.py migrate && ./forever]}
  own: {image: {build: Dockerfile}, command: python manage.py listen}
  clock: {image: {build: Dockerfile}, command: [sh, -c, echo python manage.py migrate; ./forever]}
""",
    ),
    "what can be met": Case(
        containers.dependencies,
        """
image: {build: Dockerfile, port: 8000, depends_on: {startup: success, redis: healthy, probe: complete}}
sidecars:
  redis: {image: 'redis:7.4.1', healthcheck: {command: ['CMD', 'redis-cli', 'ping']}}
  startup: {image: {build: Dockerfile}, essential: false, command: python manage.py migrate}
  probe: {image: 'nginx:1.27', essential: false, command: [nginx, -t]}
""",
    ),
    "sidecars that do not run the project, or are given all by other ways": Case(
        containers.givens,
        """
image: {build: Dockerfile, port: 8000}
variables: {LOG_LEVEL: INFO, GUNICORN_CMD_ARGS: '--workers 2'}
secrets: {DATABASE_URL: '/copilot/${COPILOT_ENVIRONMENT_NAME}/DATABASE_URL'}
sidecars:
  datadog: {image: 'datadog/agent:7.1', secrets: {DD_API_KEY: '/copilot/${COPILOT_ENVIRONMENT_NAME}/KEY'}}
  proxy: {image: {build: proxy/Dockerfile}}
  startup:
    image: {build: Dockerfile}
    essential: false
    command: python manage.py migrate
    env_file: startup.env
    variables: {DATABASE_URL: 'sqlite:'}
""",
    ),
    "images with a version, by digest, or of Copilot's own choice": Case(
        containers.images,
        f"""
image: {{location: 'example.org:5000/shop@sha256:{"a" * 64}', port: 8000}}
sidecars:
  a: {{image: 'redis:7'}}
  b: {{image: 'example.org:5000/redis:7.4.1-alpine'}}
  c: {{image: 'app:1-maintained'}}
logging: {{destination: {{Name: cloudwatch}}}}
""",
    ),
    "a host that is no sidecar": Case(
        containers.hosts,
        """
image: {build: Dockerfile, port: 8000}
variables: {REDIS_HOST: localhost, CACHE_BACKEND: redis, BROKER_URL: 'redis://localhost:6379/0'}
sidecars:
  redis: {image: 'redis:7.4.1'}
""",
    ),
}
FILES = {
    **DOCKERFILE,
    "proxy/Dockerfile": "FROM nginx:1.27\n",
    "scripts/start.sh": '#!/bin/sh\nif [ "$1" ]; then\n  python manage.py migrate\nfi\necho through\n',
    "web.env": "A=1\n",
    "startup.env": "LOG_LEVEL=INFO\n",
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_what_copilot_refuses_of_dependencies_is_told_once_with_its_line(
    renderer: Renderer, settings: Settings, case: Case
) -> None:
    project = rendered(renderer, settings, HTTP + case.manifest, FILES)
    found = list(case.rule(project))
    assert places(found) == marked(settings.root)
    assert case.says in str(found[0])
    assert list(verdict.refused(project)) == []


def test_what_copilot_refuses_for_another_reason_is_left_to_its_own_words(
    renderer: Renderer, settings: Settings
) -> None:
    project = rendered(renderer, settings, HTTP + "image: {build: Dockerfile, port: eighty}\n")
    assert list(containers.dependencies(project)) == []
    assert len(list(verdict.refused(project))) == 1


@pytest.mark.parametrize("case", TOLD.values(), ids=TOLD)
def test_a_mistake_is_told_with_its_line(renderer: Renderer, settings: Settings, case: Case) -> None:
    project = accepted(rendered(renderer, settings, HTTP + case.manifest, FILES))
    found = list(case.rule(project))
    assert places(found) == marked(settings.root)
    assert all(case.says in str(finding) for finding in found)
    assert {finding.severity for finding in found} == {case.severity}


@pytest.mark.parametrize("case", SILENT.values(), ids=SILENT)
def test_what_only_comes_near_is_not_told(renderer: Renderer, settings: Settings, case: Case) -> None:
    project = accepted(rendered(renderer, settings, HTTP + case.manifest, FILES))
    assert list(case.rule(project)) == []


def test_a_startup_sidecar_that_is_essential_everywhere_is_told_in_the_base(
    renderer: Renderer, settings: Settings
) -> None:
    manifest = """
image: {build: Dockerfile, port: 8000}
sidecars:
  startup:  # HERE
    image: {build: Dockerfile}
    command: python manage.py migrate
environments:
  test: {sidecars: {startup: {variables: {A: b}}}}
"""
    project = rendered(renderer, settings, HTTP + manifest, environments=("stage", "test"))
    (found,) = containers.startup(accepted(project))
    assert places([found]) == marked(settings.root)


def test_one_mistake_of_several_environments_is_told_once_with_their_names(
    renderer: Renderer, settings: Settings
) -> None:
    manifest = "image: {location: shop, port: 8000}\n"
    project = rendered(renderer, settings, HTTP + manifest, environments=("stage", "test"))
    (found,) = containers.images(project)
    assert str(found) == (
        "copilot/web/manifest.yml:4: image: the image shop has no pinned tag, so that it may be another one "
        "tomorrow (in stage, test): write its version, as in `shop:VERSION`"
    )
