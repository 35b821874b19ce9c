from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from copilot_testenv import rendering
from copilot_testenv.copilot import sidecars
from copilot_testenv.copilot.templates import Template
from copilot_testenv.core.errors import Failed, Refused, SettingsError, UsageError, UserError
from copilot_testenv.core.process import RealShell
from copilot_testenv.core.settings import load
from copilot_testenv.deploys import sidecar_config
from copilot_testenv.deploys.sidecar_config import Options
from copilot_testenv.rendering import Renderer
from copilot_testenv.session import Session
from tests.clone import ROOT
from tests.fakes import FakeReport
from tests.manifests import SHAPES, tabs_before_comments

OURS = (ROOT / "copilot/web/manifest.yml").read_bytes().decode()
WITHOUT_REDIS, _ = sidecars.remove(OURS, sidecars.load("redis", None), "test", "manifest.yml")


@pytest.fixture
def root(tmp_path: Path, renderer: Renderer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with this repository's manifests, which the one Copilot judges."""
    shutil.copytree(ROOT / "copilot", tmp_path / "copilot")
    shutil.copy(ROOT / "manage.py", tmp_path)

    @contextmanager
    def opened(*_: object, **_more: object) -> Iterator[Renderer]:
        yield renderer

    monkeypatch.setattr(rendering, "open_renderer", opened)
    return tmp_path


def run(root: Path, **options: Any) -> FakeReport:
    report = FakeReport()
    sidecar_config.sidecar_config(Session(load(root, {}), RealShell(), report, {}), Options(**options))
    return report


def refused(root: Path, error: type[UserError], **options: Any) -> str:
    """The one line that this ends with; nothing is changed."""
    before = {file: file.read_bytes() for file in root.rglob("*") if file.is_file()}
    with pytest.raises(error) as caught:
        run(root, **options)
    assert {file: file.read_bytes() for file in root.rglob("*") if file.is_file()} == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def manifest(root: Path) -> Path:
    return root / "copilot/web/manifest.yml"


def test_without_flags_every_environments_containers_and_their_differences_are_shown(root: Path) -> None:
    printed = run(root).printed
    assert [each.split(" [")[0] for each in printed] == [
        "web in production", "web in stage", "web in test", "What differs",
    ]  # fmt: skip
    assert "'web', '2', 'built at deploy', 'yes', 'redis: start, startup: success', '8000/tcp'" in printed[2]
    assert "['redis', 'is there', 'no', 'no', 'yes']" in printed[3]
    assert "secrets/" not in "".join(printed)


def test_as_json_one_document_holds_all_of_it(root: Path) -> None:
    (printed,) = run(root, json=True).printed
    found = json.loads(printed)
    assert list(found) == ["service", "environments", "refused", "differences"]
    assert [each["name"] for each in found["environments"]["test"]["containers"]] == [
        "redis",
        "startup",
        "web",
    ]
    redis, _, web = found["environments"]["test"]["containers"]
    assert list(redis) == [
        "name", "image", "essential", "starts", "depends_on", "ports", "variables", "secrets",
    ]  # fmt: skip
    assert (redis["image"], redis["ports"]) == (
        "public.ecr.aws/docker/library/redis:7.4.1-alpine",
        ["6379/tcp"],
    )
    assert (web["image"], web["starts"], web["secrets"]) == (
        None,
        2,
        ["DATABASE_URL", "SECRET_KEY", "STAGE_DATABASE_URL"],
    )
    here = {"production": False, "stage": False, "test": True}
    assert {"container": "redis", "what": "container", "environments": here} in found["differences"]


def test_a_diagram_of_one_environment_is_mermaid(root: Path) -> None:
    (printed,) = run(root, environment="test", diagram=True).printed
    assert printed.splitlines()[:2] == ["flowchart LR", '  subgraph e0["test"]']
    assert "production" not in printed


def test_an_environment_that_copilot_refuses_is_told_behind_the_others(root: Path) -> None:
    manifest(root).write_text(OURS.replace("redis: start", "rediss: start"))
    with pytest.raises(SettingsError, match=r"Copilot refuses web in test: .*rediss"):
        run(root)
    report = FakeReport()
    with pytest.raises(SettingsError):
        sidecar_config.sidecar_config(Session(load(root, {}), RealShell(), report, {}), Options(json=True))
    found = json.loads(report.printed[0])
    assert (list(found["environments"]), list(found["refused"])) == (["production", "stage"], ["test"])


@pytest.mark.nightly_from(2)
@pytest.mark.parametrize("name", sidecars.names())
def test_copilot_renders_each_of_the_catalogue_in_our_manifest_with_all_it_needs(
    root: Path, name: str
) -> None:
    manifest(root).write_bytes(WITHOUT_REDIS.encode())
    entry = sidecars.load(name, None)
    report = run(root, add=name, environment="test")
    assert f"test has {name}" in report.said[1]
    found = json.loads(run(root, environment="test", json=True).printed[0])["environments"]["test"][
        "containers"
    ]
    by_name = {each["name"]: each for each in found}
    assert set(by_name) == {name, "startup", "web"}
    # The base's condition is not lost: Copilot merges depends_on key by key.
    assert by_name["web"]["depends_on"] == {
        "startup": "success",
        **({name: entry.ready} if entry.ready else {}),
    }
    for user in ("web", "startup"):
        assert set(entry.variables) <= set(by_name[user]["variables"])
    assert by_name[name]["image"] == entry.sidecar.get("image")
    if entry.runs_project:
        assert by_name[name]["secrets"] == by_name["web"]["secrets"]
    run(root, remove=name, environment="test")
    assert manifest(root).read_bytes() == WITHOUT_REDIS.encode()


def test_copilot_reads_a_tab_before_a_comment_as_we_do(root: Path) -> None:
    manifest(root).write_bytes(tabs_before_comments(SHAPES["commented"]).encode())
    manifest(root).write_text(
        manifest(root)
        .read_text()
        .replace("image:", "type: Load Balanced Web Service\nhttp: {path: /}\nimage:", 1)
    )
    run(root, add="redis", environment="test")
    assert "\t# its name" in manifest(root).read_text()


def test_a_plan_shows_the_change_that_copilot_accepts_and_makes_none(root: Path) -> None:
    report = run(root, add="mailpit", environment="test", plan=True)
    assert "+        mailpit: start" in report.printed[0]
    assert report.said[-1].startswith("Copilot accepts this. Nothing was changed")
    assert manifest(root).read_text() == OURS


def test_an_edit_as_json_holds_the_change_and_what_was_kept(root: Path) -> None:
    manifest(root).write_text(OURS.replace("REDIS_HOST: localhost", "REDIS_HOST: 127.0.0.1"))
    report = run(root, remove="redis", environment="test", json=True)
    found = json.loads(report.printed[0])
    assert list(found) == ["service", "environment", "sidecar", "edit", "path", "written", "diff", "kept"]
    assert found["kept"] == [
        "environments.test.variables.REDIS_HOST", "environments.test.sidecars.startup.variables.REDIS_HOST",
    ]  # fmt: skip
    assert "Not removed, because the values differ" in report.said[1]


def test_an_edit_keeps_the_files_rights_and_follows_a_link_within_the_repository(root: Path) -> None:
    real = root / "shared.yml"
    manifest(root).rename(real)
    real.chmod(0o640)
    manifest(root).symlink_to("../../shared.yml")
    run(root, add="mailpit", environment="test")
    assert manifest(root).is_symlink()
    assert "mailpit" in real.read_text()
    assert real.stat().st_mode & 0o777 == 0o640
    assert {file.name for file in root.iterdir()} == {"copilot", "manage.py", "shared.yml"}


def test_a_link_that_leads_out_of_the_repository_is_not_followed(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "manifest.yml"
    shutil.move(manifest(root), outside)
    manifest(root).symlink_to(outside)
    assert "leads out of the repository" in refused(root, SettingsError, add="mailpit", environment="test")


def test_what_copilot_refuses_is_not_written(root: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.yml"
    own.write_text("sidecar: {image: 'x:1', essential: true}\nready: success\n")
    why = refused(root, SettingsError, add="own", file=str(own), environment="test")
    assert why.startswith("Copilot refuses copilot/web/manifest.yml with this edit, so nothing was changed: ")
    assert "essential container" in why


def test_a_variable_with_the_name_of_a_secret_is_refused(root: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.yml"
    own.write_text("sidecar: {image: 'x:1'}\nvariables: {DATABASE_URL: 'postgres://localhost/app'}\n")
    why = refused(root, Refused, add="own", file=str(own), environment="test")
    assert why.startswith("DATABASE_URL would be a variable and a secret of ")


def test_a_service_without_tasks_can_have_no_sidecar(
    root: Path, renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(renderer), "service", lambda *_: Template("Resources: {}", {}))
    assert "only services that run on ECS" in refused(root, Refused, add="mailpit", environment="test")
    assert run(root).said[-1].startswith("Copilot gives every container")


def test_a_manifest_that_was_changed_meanwhile_is_left_alone(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = sidecar_config._judge

    def edit(*given: Any) -> None:
        judge(*given)
        manifest(root).write_text(f"{OURS}# by somebody else\n")

    monkeypatch.setattr(sidecar_config, "_judge", edit)
    with pytest.raises(Refused, match="was changed meanwhile"):
        run(root, add="mailpit", environment="test")
    assert manifest(root).read_text() == f"{OURS}# by somebody else\n"


def test_a_folder_that_cannot_be_written_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "mkstemp", full)
    why = refused(root, Failed, add="mailpit", environment="test")
    assert why == "copilot/web/manifest.yml could not be written: No space left on device."


@pytest.mark.parametrize(
    ("options", "error", "why"),
    [
        ({"add": "redis", "remove": "redis"}, UsageError, "one edit at a time"),
        ({"json": True, "diagram": True}, UsageError, "--json or --diagram"),
        ({"plan": True}, UsageError, "belong to --add and --remove"),
        ({"file": "x.yml"}, UsageError, "belong to --add and --remove"),
        ({"add": "redis", "diagram": True, "environment": "test"}, UsageError, "--diagram only shows"),
        ({"add": "redis"}, UsageError, "--env"),
        ({"service": "api"}, SettingsError, "not a service of this workspace (web)"),
        (
            {"environment": "tset"},
            SettingsError,
            "not an environment of this workspace (production, stage, test)",
        ),
        ({"add": "redis", "environment": "production"}, Refused, "protected environment"),
        ({"remove": "redis", "environment": "stage"}, Refused, "protected environment"),
        ({"add": "kafka", "environment": "test"}, UsageError, "--from"),
        ({"add": "x", "file": "missing.yml", "environment": "test"}, SettingsError, "cannot be read"),
        ({"add": "redis", "environment": "test"}, Refused, "already has a sidecar redis"),
        ({"add": "valkey", "environment": "test"}, Refused, "redis already listens on port 6379"),
        ({"remove": "mailpit", "environment": "test"}, Refused, "has no sidecar mailpit"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line_and_changes_nothing(
    root: Path, options: dict[str, Any], error: type[UserError], why: str
) -> None:
    assert why in refused(root, error, **options)


@pytest.mark.parametrize("text", [b"\xff\xfe", b"environments: [", b"", b"- 1\n"])
def test_a_manifest_that_is_none_is_told_in_one_line(root: Path, text: bytes) -> None:
    manifest(root).write_bytes(text)
    assert "manifest" in refused(root, SettingsError, add="mailpit", environment="test")


def test_what_the_sandbox_cannot_run_is_said_with_the_edit(root: Path) -> None:
    assert "The sandbox cannot run axllent/mailpit" in run(root, add="mailpit", environment="test").said[-1]
    assert not any("cannot run" in line for line in run(root, add="postgres", environment="test").said)


WORKER = """name: worker
type: Backend Service
image: {build: Dockerfile}
command: python manage.py work
secrets:
  DATABASE_URL: /copilot/${COPILOT_APPLICATION_NAME}/${COPILOT_ENVIRONMENT_NAME}/secrets/DATABASE_URL
"""


def with_worker(root: Path, text: str = WORKER, name: str = "worker") -> None:
    (root / "copilot" / name).mkdir(exist_ok=True)
    (root / "copilot" / name / "manifest.yml").write_text(text)


def test_a_worker_service_becomes_a_sidecar_that_copilot_renders_is_renewed_and_goes_without_a_trace(
    root: Path,
) -> None:
    with_worker(root)
    report = run(root, from_service="worker", environment="test")
    assert "+        command: python manage.py work" in report.printed[0]
    assert any("share its CPU units and memory" in line for line in report.said)
    assert "Name worker in `services` of the committed settings" in report.said[-1]
    found = json.loads(run(root, environment="test", json=True).printed[0])
    shown = {each["name"]: each for each in found["environments"]["test"]["containers"]}
    assert shown["worker"]["depends_on"] == {"redis": "start", "startup": "success"}
    assert {"REDIS_HOST", "EMAIL_BACKEND"} <= set(shown["worker"]["variables"])
    assert run(root, from_service="worker", environment="test").said[-1].endswith("no change.")
    with_worker(root, WORKER.replace("py work", "py work --fast"))
    again = json.loads(run(root, from_service="worker", environment="test", json=True).printed[0])
    assert (again["edit"], again["written"], again["from_service"]) == ("add", True, "worker")
    assert [line for line in again["diff"].splitlines() if line.startswith(("+ ", "- "))][-1].endswith(
        "--fast"
    )
    run(root, remove="worker", environment="test")
    assert manifest(root).read_text() == OURS


def test_the_committed_services_need_no_reminder_and_a_plan_writes_nothing(root: Path) -> None:
    with_worker(root)
    (root / "copilot-testenv.toml").write_text('services = ["web", "worker"]\n')
    report = run(root, from_service="worker", environment="test", plan=True)
    assert report.said[-1].startswith("Copilot accepts this. Nothing was changed")
    assert manifest(root).read_text() == OURS
    assert "committed settings" not in run(root, from_service="worker", environment="test").said[-1]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"add": "redis"}, UsageError, "one edit at a time"),
        ({"file": "worker.yml"}, UsageError, "--from belongs to --add and --remove"),
        ({"diagram": True}, UsageError, "--diagram only shows"),
        ({"environment": ""}, UsageError, "with --env"),
        ({"from_service": "web"}, UsageError, "cannot be its own sidecar"),
        ({"from_service": "../web"}, SettingsError, "is not a service of this workspace"),
        ({"from_service": "beat"}, SettingsError, "is not a service of this workspace"),
        ({"environment": "stage"}, Refused, "is a protected environment"),
    ],
)
def test_a_service_that_cannot_be_a_sidecar_there_changes_nothing(
    root: Path, options: dict[str, Any], error: type[UserError], words: str
) -> None:
    with_worker(root)
    assert words in refused(root, error, **{"from_service": "worker", "environment": "test", **options})
