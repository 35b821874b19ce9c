from __future__ import annotations

from pathlib import Path

from copilot_testenv.check import project as projects
from copilot_testenv.check.finding import Finding
from copilot_testenv.check.services import in_step
from copilot_testenv.copilot import service_sidecar
from copilot_testenv.copilot.sidecars import Entry
from copilot_testenv.core.settings import load

WORKER = """name: worker
type: Worker Service
image: {build: Dockerfile}
command: python manage.py work
variables: {LIMIT: 0755}
"""


def write(root: Path, worker: str = WORKER, services: str = "web, worker") -> None:
    (root / "copilot/worker").mkdir(exist_ok=True)
    (root / "copilot/worker/manifest.yml").write_text(worker)
    listed = ", ".join(f'"{name.strip()}"' for name in services.split(","))
    (root / "copilot-testenv.toml").write_text(f"services = [{listed}]\n")


def place(root: Path) -> None:
    """As `sidecar-config --from-service worker --env test` does."""
    own, host = (service_sidecar.read(root, name, "test") for name in ("worker", "web"))
    entry = Entry("worker", "", service_sidecar.make(root, own, host, "test").sidecar)
    file = root / "copilot/web/manifest.yml"
    file.write_text(service_sidecar.put(file.read_text(), entry, "test", "web"))


def found(root: Path) -> list[Finding]:
    return list(in_step(projects.read(load(root, {}))))


def test_a_sidecar_that_is_what_the_services_manifest_says_is_no_finding(shipped: Path) -> None:
    write(shipped)
    place(shipped)
    assert found(shipped) == []


def test_a_changed_manifest_is_a_finding_at_the_sidecars_line_without_its_values(shipped: Path) -> None:
    write(shipped)
    place(shipped)
    write(shipped, WORKER.replace("py work", "py work --fast").replace("0755", "0700"))
    (finding,) = found(shipped)
    lines = (shipped / "copilot/web/manifest.yml").read_text().splitlines()
    assert (finding.path, lines[finding.line - 1].strip()) == ("copilot/web/manifest.yml", "worker:")
    assert str(finding).endswith(
        "the sidecar worker is not what copilot/worker/manifest.yml says now: command, variables.LIMIT "
        "differ: run `invoke sidecar-config --from-service worker --env test`"
    )


def test_a_change_of_the_web_services_block_is_one_too_and_a_persons_essential_is_none(shipped: Path) -> None:
    write(shipped)
    place(shipped)
    file = shipped / "copilot/web/manifest.yml"
    head, _, tail = file.read_text().partition("      worker:\n")
    file.write_text(f"{head}      worker:\n{tail.replace('essential: false', 'essential: true')}")
    assert found(shipped) == []
    file.write_text(file.read_text().replace("      REDIS_HOST: localhost", "      REDIS_HOST: 127.0.0.1", 1))
    (finding,) = found(shipped)
    assert "variables.REDIS_HOST differs" in finding.what


def test_a_service_that_no_branch_has_is_a_finding(shipped: Path) -> None:
    write(shipped)
    (finding,) = found(shipped)
    assert (
        "worker belongs to a branch (`services` of the settings) and has no sidecar in test" in finding.what
    )
    write(shipped, services="web, beat")
    (finding,) = found(shipped)
    assert (finding.what.split(",")[0], finding.instead) == (
        "`services` of the settings names beat", "write one of worker",
    )  # fmt: skip
    write(shipped, WORKER.replace("Worker Service", "Scheduled Job"))
    (finding,) = found(shipped)
    assert finding.what == "worker is a Scheduled Job, and no Worker Service or Backend Service"


def test_without_the_setting_a_sidecar_with_a_services_name_is_its_teams_own(shipped: Path) -> None:
    write(shipped)
    (shipped / "copilot-testenv.toml").write_text("service = 'web'\n")
    assert found(shipped) == []


def own(root: Path, text: str, name: str = "worker") -> list[str]:
    write(root, text)
    (root / "copilot-testenv.toml").write_text(f'own_services = ["{name}"]\n')
    return [str(each) for each in found(root)]


BESIDE = f"{WORKER}environments: {{test: {{}}}}\n"


def test_a_service_of_its_own_needs_no_sidecar(shipped: Path) -> None:
    assert own(shipped, BESIDE) == []
    assert own(shipped, BESIDE.replace("LIMIT: 0755", "REDIS_HOST: web.test.demo.local")) == []
    with_redis = (
        BESIDE.replace("LIMIT: 0755", "REDIS_HOST: localhost") + "sidecars: {redis: {image: redis}}\n"
    )
    assert own(shipped, with_redis) == []


def test_a_service_of_its_own_that_cannot_be_deployed_is_a_finding(shipped: Path) -> None:
    (unknown,) = own(shipped, BESIDE, "wroker")
    assert "names wroker, and the workspace has no such service: write some of worker" in unknown
    (kind,) = own(shipped, BESIDE.replace("Worker Service", "Scheduled Job"))
    assert "which is a Scheduled Job: name a Worker Service or a Backend Service or a Load Balanced" in kind
    (block,) = own(shipped, WORKER)
    assert "has no block for it: write `environments.test`" in block


def test_a_service_of_its_own_that_is_a_sidecar_too_is_a_finding(shipped: Path) -> None:
    write(shipped)
    place(shipped)
    (finding,) = own(shipped, BESIDE)
    assert "worker is deployed to test (`own_services` of the settings), and is a sidecar too" in finding
    assert "run `invoke sidecar-config --remove worker --env test`" in finding


def test_a_variable_that_names_localhost_has_no_server_in_a_task_of_one_container(shipped: Path) -> None:
    for value in ("localhost", "redis://127.0.0.1:6379/0"):
        (finding,) = own(shipped, BESIDE.replace("LIMIT: 0755", f'REDIS: "{value}"'))
        assert finding.startswith("copilot/worker/manifest.yml:5: services: REDIS names localhost")
        assert "write web.${COPILOT_ENVIRONMENT_NAME}.${COPILOT_APPLICATION_NAME}.local" in finding
