from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from copilot_testenv.copilot import service_sidecar
from copilot_testenv.copilot.service_sidecar import Made
from copilot_testenv.copilot.sidecars import Entry
from copilot_testenv.core.errors import Refused, SettingsError

WEB = """name: web
type: Load Balanced Web Service
image:
  build: Dockerfile
  port: 8000
  depends_on: {startup: success}
variables:
  DJANGO_SETTINGS_MODULE: shop.settings
  API_URL: http://worker.${COPILOT_SERVICE_DISCOVERY_ENDPOINT}:9000
secrets: {DATABASE_URL: /all/DATABASE_URL}
sidecars:
  startup: {essential: false, image: {build: Dockerfile}, command: python manage.py migrate}
environments:
  test:
    image:
      depends_on: {redis: start}
    variables: {REDIS_URL: 'redis://localhost:6379/0', EMAIL_BACKEND: console, WEB_CONCURRENCY: 1}
    secrets: {DATABASE_URL: /test/DATABASE_URL}
    sidecars:
      redis: {image: 'redis:7.4', port: 6379}
"""
WORKER = """name: worker
type: Worker Service
image:
  build: {dockerfile: worker/Dockerfile, context: .}
  healthcheck: {command: [CMD, 'true'], retries: 2}
entrypoint: [tini, --]
command: celery --app shop worker --concurrency 2
variables: {DJANGO_SETTINGS_MODULE: shop.worker, LIMIT: 0755, RATIO: 1.10, VERBOSE: yes, SINCE: 2026-01-01}
secrets: {DATABASE_URL: /all/DATABASE_URL, REDIS_URL: /all/REDIS_URL}
"""


def made(folder: Path, worker: str = WORKER, web: str = WEB, name: str = "worker") -> Made:
    for each, text in (("web", web), (name, worker)):
        (folder / "copilot" / each).mkdir(parents=True, exist_ok=True)
        (folder / "copilot" / each / "manifest.yml").write_text(text)
    own, host = (service_sidecar.read(folder, each, "test") for each in (name, "web"))
    return service_sidecar.make(folder, own, host, "test")


def said(found: Made, words: str) -> bool:
    return any(words in step for step in found.steps)


def test_image_command_and_health_check_are_the_services_and_it_waits_as_the_web_container_does(
    tmp_path: Path,
) -> None:
    found = made(tmp_path).sidecar
    assert found["image"] == {"build": {"dockerfile": "worker/Dockerfile", "context": "."}}
    assert found["entrypoint"] == ["tini", "--"]
    assert found["command"] == "celery --app shop worker --concurrency 2"
    assert found["healthcheck"]["retries"] == "2"
    assert found["depends_on"] == {"startup": "success", "redis": "start"}
    assert found["essential"] is False


def test_this_environments_redis_database_and_mail_come_from_the_web_services_block(tmp_path: Path) -> None:
    found = made(tmp_path).sidecar
    assert found["variables"]["REDIS_URL"] == "redis://localhost:6379/0"
    assert found["variables"]["EMAIL_BACKEND"] == "console"
    assert found["variables"]["DJANGO_SETTINGS_MODULE"] == "shop.worker"
    assert "WEB_CONCURRENCY" not in found["variables"]
    assert "API_URL" not in found["variables"]
    # A name is a variable or a secret, never both.
    assert found["secrets"] == {"DATABASE_URL": "/test/DATABASE_URL"}


def test_the_services_own_block_counts_before_the_web_services(tmp_path: Path) -> None:
    block = """environments:
  test:
    command: celery --app shop worker --pool solo
    image: {location: 'registry.example.com/worker:1.2'}
    secrets: {REDIS_URL: /test/OTHER}
"""
    found = made(tmp_path, WORKER + block)
    assert found.sidecar["command"] == "celery --app shop worker --pool solo"
    assert found.sidecar["image"] == "registry.example.com/worker:1.2"
    assert found.sidecar["secrets"]["REDIS_URL"] == "/test/OTHER"
    assert "REDIS_URL" not in found.sidecar["variables"]
    assert not said(found, "has no block")


def test_numbers_dates_and_switches_are_written_as_they_stand(tmp_path: Path) -> None:
    """YAML reads 0755 as 493, and Copilot as a text of four digits."""
    entry = Entry("worker", "", made(tmp_path).sidecar)
    text = service_sidecar.put(WEB, entry, "test", "web")
    for line in ("LIMIT: 0755", "RATIO: 1.10", "VERBOSE: yes", "SINCE: 2026-01-01", "retries: 2"):
        assert f"{line}\n" in text
    assert service_sidecar.put(text, entry, "test", "web") == text


def test_without_a_block_what_only_other_environments_have_comes_too_but_no_value_of_production(
    tmp_path: Path,
) -> None:
    blocks = """environments:
  stage:
    variables: {BUCKET: stage-media}
    secrets: {API_KEY: /stage/API_KEY}
  production:
    variables: {BUCKET: live-media, ONLY_LIVE: '1'}
"""
    found = made(tmp_path, WORKER + blocks)
    assert found.sidecar["variables"]["BUCKET"] == "stage-media"
    assert "ONLY_LIVE" not in found.sidecar["variables"]
    assert found.sidecar["secrets"]["API_KEY"] == f"{service_sidecar.SECRETS}API_KEY"
    assert said(found, "and of other environments BUCKET, API_KEY: write that block")


def test_what_addons_would_give_is_a_secret_and_a_step(tmp_path: Path) -> None:
    folder = tmp_path / "copilot/worker/addons"
    folder.mkdir(parents=True)
    (folder / "bucket.yml").write_text(
        "Resources:\n  Media: {Type: 'AWS::S3::Bucket'}\nOutputs:\n  MediaName: {Value: !Ref Media}\n"
        "  RedisUrl: {Value: !Ref Media}\n"
    )
    found = made(tmp_path)
    assert found.sidecar["secrets"]["MEDIA_NAME"] == f"{service_sidecar.SECRETS}MEDIA_NAME"
    assert said(found, "give MEDIA_NAME a value in test")


def test_what_a_sidecar_cannot_have_is_a_step(tmp_path: Path) -> None:
    more = """platform: linux/arm64
subscribe: {topics: [{name: orders, service: web}]}
publish: {topics: [{name: done}]}
sidecars: {datadog: {image: 'datadog/agent:7.1'}}
storage: {volumes: {cache: {path: /cache, read_only: false}}}
taskdef_overrides: [{path: Cpu, value: 1}]
"""
    patches = tmp_path / "copilot/worker/overrides/cfn.patches.yml"
    patches.parent.mkdir(parents=True)
    patches.write_text(
        "- {op: replace, path: /Resources/EnvControllerFunction/Properties/Runtime, value: x}\n"
    )
    assert not said(made(tmp_path), "overrides of worker")
    assert not said(made(tmp_path, f"{WORKER}platform: linux/x86_64\n"), "`platform`")
    found = made(tmp_path, WORKER + more)
    for words in (
        "COPILOT_QUEUE_URI",
        "add its `publish`",
        "(datadog)",
        "overrides of worker",
        "no volume cache",
        "`platform`",
        "share its CPU units and memory in test (256 and 512 MiB)",
    ):
        assert said(found, words), words


def test_a_volume_that_the_task_has_is_mounted(tmp_path: Path) -> None:
    volume = "storage: {volumes: {cache: {path: /cache, read_only: false}}}\n"
    found = made(tmp_path, WORKER + volume, WEB.replace("environments:\n", f"{volume}environments:\n"))
    assert found.sidecar["mount_points"] == [
        {"source_volume": "cache", "path": "/cache", "read_only": "false"}
    ]
    assert not said(found, "volume")


def test_a_backend_service_keeps_its_port_and_who_names_it_is_told(tmp_path: Path) -> None:
    backend = WORKER.replace("Worker Service", "Backend Service").replace(
        "image:\n", "image:\n  port: 9000\n"
    )
    found = made(tmp_path, backend)
    assert found.sidecar["port"] == "9000"
    assert said(
        found, "API_URL of web: these lead to services of other tasks, and a sidecar is at localhost."
    )


def test_a_broker_that_is_a_service_of_its_own_is_told_where_the_worker_names_it(tmp_path: Path) -> None:
    (tmp_path / "copilot/redis").mkdir(parents=True)
    (tmp_path / "copilot/redis/manifest.yml").write_text(
        "name: redis\ntype: Backend Service\nimage: {location: 'redis:7.4', port: 6379}\n"
    )
    broker = "BROKER: 'redis://redis.${COPILOT_SERVICE_DISCOVERY_ENDPOINT}:6379'"
    found = made(tmp_path, WORKER.replace("variables: {", f"variables: {{{broker}, "))
    assert said(found, "BROKER of worker: these lead to services of other tasks")


def test_somebody_elses_image_gets_none_of_the_projects_variables_and_secrets(tmp_path: Path) -> None:
    redis = "name: worker\ntype: Backend Service\nimage: {location: 'redis:7.4', port: 6380}\n"
    found = made(tmp_path, f"{redis}variables: {{EMAIL_BACKEND: smtp}}\n").sidecar
    assert (found["variables"], found.get("secrets")) == ({"EMAIL_BACKEND": "console"}, None)
    assert "depends_on" not in found


def test_what_waits_for_the_service_is_not_waited_for(tmp_path: Path) -> None:
    web = WEB.replace("startup: {", "startup: {depends_on: {worker: start}, ")
    assert made(tmp_path, WORKER, web).sidecar["depends_on"] == {"redis": "start"}


@pytest.mark.parametrize(
    "secret",
    ["/copilot/shop/prod/secrets/KEY", "/shop/eu-one/KEY", "{secretsmanager: 'shop/eu-one/key'}",
     "{from_cfn: shop-eu-one-Key}"],
)  # fmt: skip
def test_a_secret_of_another_environment_is_replaced_by_one_of_this(tmp_path: Path, secret: str) -> None:
    worker = WORKER.replace("REDIS_URL: /all/REDIS_URL}", f"KEY: {secret}}}")
    web = WEB.replace("environments:\n", "environments:\n  eu-one: {}\n")
    found = made(tmp_path, worker, web)
    assert found.sidecar["secrets"]["KEY"] == f"{service_sidecar.SECRETS}KEY"
    assert said(found, "KEY would be secrets of another environment")
    # The web service's own, where it has one of this environment.
    web = web.replace("secrets: {DATABASE_URL: /all/DATABASE_URL}", "secrets: {KEY: /shop/KEY}")
    assert made(tmp_path, worker, web).sidecar["secrets"]["KEY"] == "/shop/KEY"
    block = f"environments: {{test: {{secrets: {{KEY: {secret}}}}}}}\n"
    assert not said(made(tmp_path, worker + block, web), "another environment")


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (("Worker Service", "Load Balanced Web Service"), Refused, "has an address of its own"),
        (("Worker Service", "Scheduled Job"), Refused, "does not run in a test environment"),
        (("Worker Service", "Static Site"), Refused, "is a Static Site"),
        (("  build: {dockerfile: worker/Dockerfile, context: .}\n", ""), SettingsError, "no `image.build`"),
        (("secrets: {", "x-a: {"), None, ""),
        (("secrets: {DATABASE_URL: /all/DATABASE_URL, ", "secrets: [{"), SettingsError, "is not a mapping"),
        (("retries: 2", "retries: *x"), SettingsError, "cannot be read"),
    ],
)
def test_a_manifest_that_cannot_be_a_sidecar_is_refused_in_one_line(
    tmp_path: Path, change: tuple[str, str], error: type[Exception] | None, words: str
) -> None:
    worker = WORKER.replace(*change).replace(
        "REDIS_URL}\n", "REDIS_URL}]\n" if "[{" in change[1] else "REDIS_URL}\n"
    )
    if error is None:
        assert made(tmp_path, worker).sidecar
        return
    with pytest.raises(error, match=words) as caught:
        made(tmp_path, worker)
    assert "\n" not in str(caught.value)


def test_a_manifest_that_is_a_link_out_of_the_repository_is_not_read(tmp_path: Path) -> None:
    made(tmp_path / "shop")
    outside = tmp_path / "outside.yml"
    (tmp_path / "shop/copilot/worker/manifest.yml").rename(outside)
    (tmp_path / "shop/copilot/worker/manifest.yml").symlink_to(outside)
    with pytest.raises(SettingsError, match="leads out of the repository"):
        service_sidecar.read(tmp_path / "shop", "worker", "test")


def test_renewing_replaces_the_sidecar_alone_and_keeps_a_persons_essential(tmp_path: Path) -> None:
    first = service_sidecar.put(WEB, Entry("worker", "", made(tmp_path).sidecar), "test", "web")
    edited = first.replace("essential: false\n        entry", "essential: true\n        entry")
    newer = made(tmp_path, WORKER.replace("concurrency 2", "concurrency 4"), edited).sidecar
    found = service_sidecar.read(tmp_path, "web", "test").block or {}
    assert service_sidecar.differences(found["sidecars"]["worker"], newer) == ["command"]
    after = service_sidecar.put(edited, Entry("worker", "", newer), "test", "web")
    assert content(after) == {**content(edited), "command": "celery --app shop worker --concurrency 4"}
    assert (content(after)["essential"], after.startswith(WEB)) == (True, True)


def test_a_port_that_the_task_has_already_is_refused(tmp_path: Path) -> None:
    backend = WORKER.replace("Worker Service", "Backend Service").replace(
        "image:\n", "image:\n  port: 8000\n"
    )
    with pytest.raises(Refused, match="already listens on port 8000"):
        service_sidecar.put(WEB, Entry("worker", "", made(tmp_path, backend).sidecar), "test", "web")


def content(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text)["environments"]["test"]["sidecars"]["worker"]
    return found
