"""`check --fix` on manifests: what has one right answer is corrected, and no other byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from copilot_testenv.check import cures
from copilot_testenv.core.settings import Settings
from copilot_testenv.rendering import Renderer
from tests.check.projects import with_manifest
from tests.check.rendered import TOP, rendered

BEFORE = """\
# ours: é
name: web
type: Load Balanced Web Servise   # the shop
"htttp": {path: /, helthcheck: {'grace_peroid': 90s}}
image: {build: Dockerfile, port: 8000}
variables: {helthcheck: 1}
environments:
  test:
    deployment: {rolling: "recraete"}
"""
AFTER = """\
# ours: é
name: web
type: Load Balanced Web Service   # the shop
"http": {path: /, healthcheck: {'grace_period': 90s}}
image: {build: Dockerfile, port: 8000}
variables: {helthcheck: 1}
environments:
  test:
    deployment: {rolling: "recreate"}
"""


def test_misspelt_words_are_corrected_and_no_other_byte(workspace: Path) -> None:
    (change,) = cures.words(with_manifest(workspace, BEFORE))
    assert (change.before, change.after) == (BEFORE, AFTER)
    assert list(cures.words(with_manifest(workspace, AFTER))) == []


def test_breaks_of_lines_and_the_mark_at_the_beginning_stay(workspace: Path) -> None:
    project = with_manifest(workspace, BEFORE)
    file = workspace / "copilot/web/manifest.yml"
    file.write_bytes(b"\xef\xbb\xbf" + BEFORE.replace("\n", "\r\n").encode())
    (change,) = cures.words(project)
    assert change.after.encode() == b"\xef\xbb\xbf" + AFTER.replace("\n", "\r\n").encode()


@pytest.mark.parametrize(
    "keys",
    [
        "http: {path: /}\nhtpp: {path: /}",  # there are both
        "x-http: {path: /}",
        "colour: red",  # nothing is near
        "depends_on: {redis: start}",  # it belongs elsewhere
        "platform: linux",
    ],
)
def test_what_has_no_one_answer_stays(workspace: Path, keys: str) -> None:
    assert list(cures.words(with_manifest(workspace, f"{TOP}{keys}\n"))) == []


def test_a_startup_sidecar_becomes_one_that_may_end_and_a_copy_replaces_the_old_task(
    settings: Settings, renderer: Renderer
) -> None:
    manifest = """\
image: {build: Dockerfile, port: 8000, depends_on: {startup: success}}
http: {path: /}
sidecars:
  startup:
    image: {build: Dockerfile}
    command: [sh, -c, 'python manage.py copy_stage_db && python manage.py migrate']
  web2: {image: 'nginx:1.27'}
environments:
  test:
    count: 1
"""
    project = rendered(renderer, settings, manifest)
    (change,) = cures.additions(project)
    added = set(change.after.splitlines()) - set(change.before.splitlines())
    assert added == {"    essential: false"}
    project = rendered(renderer, settings, change.after.removeprefix(TOP))
    (change,) = cures.additions(project)
    added = set(change.after.splitlines()) - set(change.before.splitlines())
    assert added == {"    deployment:", "      rolling: recreate"}
    project = rendered(renderer, settings, change.after.removeprefix(TOP))
    assert list(cures.additions(project)) == []


def test_a_startup_sidecar_repeats_what_the_service_has_in_the_same_block(
    settings: Settings, renderer: Renderer
) -> None:
    manifest = """\
image: {build: Dockerfile, port: 8000, depends_on: {startup: success}}
http: {path: /}
variables:
  LEVEL: '1'
  PORT: '8000'
secrets:
  KEY: {secretsmanager: 'demo/key'}
sidecars:
  startup:
    essential: false
    image: {build: Dockerfile}
    command: [sh, -c, 'python manage.py migrate']
    variables:
      OWN: a
  shell: {image: 'busybox:1.37', command: [python, manage.py, runserver]}
environments:
  test:
    deployment: {rolling: recreate}
    variables:
      LEVEL: '2'
      HOST: {from_cfn: demo-test-Host}
"""
    project = rendered(renderer, settings, manifest)
    (change,) = cures.additions(project)
    secrets = "    secrets:\n      KEY:\n        secretsmanager: demo/key\n"
    own = """\
    sidecars:
      startup:
        variables:
          HOST:
            from_cfn: demo-test-Host
          LEVEL: '2'
"""
    assert change.after == TOP + manifest.replace("      OWN: a\n", f"      OWN: a\n{secrets}") + own
    project = rendered(renderer, settings, change.after.removeprefix(TOP))
    assert list(cures.additions(project)) == []
