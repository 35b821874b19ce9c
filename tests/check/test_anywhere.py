"""`check` of workspaces that have little, or need what only their account or their CI has."""

from __future__ import annotations

from pathlib import Path

import pytest

from copilot_testenv.check import project as projects
from copilot_testenv.check import renderer, templates, workflow
from copilot_testenv.check.project import Project
from copilot_testenv.copilot.templates import Template
from copilot_testenv.core import workspace_files
from copilot_testenv.core.process import Command, RealShell, Result
from copilot_testenv.core.settings import load
from copilot_testenv.session import Session
from tests.fakes import FakeReport

RULES = tuple(rule for rule in workflow.RULES if rule not in templates.RULES)  # cfn-lint takes a second
WEB = "name: web\ntype: Load Balanced Web Service\nhttp: {path: /}\nimage: {location: nginx:1.29, port: 80}\n"
CERTIFICATE = "arn:aws:acm:eu-west-1:123456789012:certificate/11111111-1111-4111-8111-111111111111"


def write(root: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def rendered(root: Path) -> Project:
    session = Session(load(root, {}, checking=True), RealShell(), FakeReport(), {})
    project = projects.read(session.settings, shell=session.shell)
    with renderer.opened(session, project) as copilot:
        projects.render(project, copilot)
    return project


def errors(project: Project) -> list[str]:
    judged = workflow.judge(project, RULES)
    return [f"{one.rule} {one}" for one in judged if one.severity == "error" and one.rule != "runtime"]


@pytest.fixture(params=["bare", "named"])
def root(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A folder without Git; one that names the application, and one that does not."""
    if request.param == "named":
        write(tmp_path, {"copilot/.workspace": "application: shop\n"})
    return tmp_path


def test_a_workspace_of_one_manifest_gets_a_verdict(root: Path) -> None:
    write(root, {"copilot/web/manifest.yml": WEB})
    project = rendered(root)
    assert isinstance(project.rendered["web", "test"], Template)
    assert errors(project) == []


def test_only_protected_environments_without_manifests_get_a_verdict(root: Path) -> None:
    write(root, {"copilot/web/manifest.yml": WEB + "environments: {production: {count: 2}, staging: {}}\n"})
    project = rendered(root)
    assert [name for _, name in project.rendered] == ["production", "staging"]
    assert errors(project) == []
    assert not project.has_test_profile


SERVICES = {
    "Backend Service": "image: {location: nginx:1.29, port: 80}",
    "Worker Service": "image: {location: nginx:1.29}",
    "Scheduled Job": "image: {location: nginx:1.29}\non: {schedule: '@daily'}",
    "Request-Driven Web Service": "image: {location: public.ecr.aws/nginx/nginx:1.29, port: 80}",
    "Static Site": "files: [{source: site, recursive: true}]",
}


def test_a_workspace_of_every_type_of_service_gets_a_verdict(tmp_path: Path) -> None:
    write(tmp_path, {"site/index.html": ""})
    for number, (kind, rest) in enumerate(SERVICES.items()):
        write(tmp_path, {f"copilot/s{number}/manifest.yml": f"name: s{number}\ntype: {kind}\n{rest}\n"})
    project = rendered(tmp_path)
    assert [type(found) for found in project.rendered.values()] == [Template] * len(SERVICES)
    assert errors(project) == []


ENVIRONMENT = "name: prod\ntype: Environment\n"
CASES = {
    "imported certificate": (
        f"{WEB}environments: {{prod: {{http: {{alias: [shop.example.com, a.b.shop.example.org]}}}}}}\n",
        f"{ENVIRONMENT}http: {{public: {{certificates: [{CERTIFICATE}]}}}}\n",
    ),
    "certificate of a variable": (
        f"{WEB}environments: {{prod: {{http: {{alias: 'shop.${{DOMAIN}}'}}}}}}\n",
        f"{ENVIRONMENT}http: {{public: {{certificates: ['${{CERTIFICATE}}']}}}}\n",
    ),
    "wildcard": (f"{WEB}environments: {{prod: {{http: {{alias: '*.example.com'}}}}}}\n", ENVIRONMENT),
    "several levels": (
        f"{WEB}environments: {{prod: {{http: {{alias: api.eu.shop.example.co.uk}}}}}}\n",
        ENVIRONMENT,
    ),
    "hosted zone without a manifest": (
        f"{WEB}environments: {{prod: {{http: {{alias: [{{name: a.example.com, hosted_zone: Z1}}]}}}}}}\n",
        "",
    ),
    "variables of CI": (
        (
            "name: web\ntype: Load Balanced Web Service\n"
            "http: {path: /, healthcheck: {interval: '${EVERY}'}}\n"
            "image: {location: 'registry.example.com/web:${TAG}', port: 80}\n"
            "variables: {REVISION: '${GIT_SHA}'}\nnetwork: {vpc: {security_groups: ['${GROUP}']}}\n"
            "environments: {prod: {}}\n"
        ),
        ENVIRONMENT,
    ),
    "access logs": (
        f"{WEB}environments: {{prod: {{}}}}\n",
        f"{ENVIRONMENT}http: {{public: {{access_logs: {{bucket_name: logs-of-us, prefix: shop}}}}}}\n",
    ),
    "a topic of another repository": (
        (
            "name: web\ntype: Worker Service\nimage: {location: nginx:1.29}\nenvironments: {prod: {}}\n"
            "subscribe:\n  topics: [{name: orders, service: checkout},"
            " {name: paid, service: bank, queue: {fifo: true}}]\n"
        ),
        ENVIRONMENT,
    ),
    "a reference as a value": (
        f"{WEB}variables: {{TABLE: !Ref Table, HOST: !GetAtt Database.Endpoint}}\nenvironments: {{}}\n",
        ENVIRONMENT,
    ),
    "a load balancer of one's own": (
        WEB.replace("path: /", "path: /, alb: ours, alias: a.example.com") + "environments: {prod: {}}\n",
        ENVIRONMENT,
    ),
    "an imported network": (
        f"{WEB}environments: {{prod: {{}}}}\n",
        ENVIRONMENT
        + "network: {vpc: {id: vpc-0123, subnets: {public: [{id: subnet-1}, {id: subnet-2}],"
        + " private: [{id: subnet-3}, {id: subnet-4}]}}}\n",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_only_the_account_or_ci_knows_is_no_error(tmp_path: Path, case: str) -> None:
    service, environment = CASES[case]
    write(tmp_path, {"copilot/.workspace": "application: shop\n", "copilot/web/manifest.yml": service})
    if environment:
        write(tmp_path, {"copilot/environments/prod/manifest.yml": environment})
    project = rendered(tmp_path)
    assert isinstance(project.rendered["web", "prod"], Template), project.rendered
    assert errors(project) == []


def test_the_variables_of_ci_are_said_and_not_taken_from_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAG", "of-this-process")
    write(tmp_path, {"copilot/web/manifest.yml": WEB.replace("nginx:1.29", "'nginx:${TAG}'")})
    project = rendered(tmp_path)
    found = project.rendered["web", "test"]
    assert isinstance(found, Template)
    assert "of-this-process" not in found.text
    assert project.notes == ["Variables that are set where you deploy got a stand-in: ${TAG}."]


def test_an_override_by_the_cdk_is_not_run_and_the_rest_is_judged(tmp_path: Path) -> None:
    cdk = {"copilot/web/overrides/cdk.json": "{}", "copilot/web/overrides/stack.ts": ""}
    write(tmp_path, {"copilot/web/manifest.yml": WEB, **cdk})
    project = rendered(tmp_path)
    assert isinstance(project.rendered["web", "test"], Template)
    assert errors(project) == []
    assert "copilot/web/overrides" in project.notes[0]


def test_the_workspace_is_found_from_any_folder_of_a_monorepo(tmp_path: Path) -> None:
    write(tmp_path, {"infra/copilot/web/manifest.yml": WEB, "app/src/x.py": "", "copilot/notes.txt": ""})
    infra = tmp_path / "infra"
    assert workspace_files.nearest(infra / "copilot/web") == [infra]
    assert workspace_files.nearest(tmp_path) == [infra]
    write(tmp_path, {"shop/copilot/api/manifest.yml": WEB, "node_modules/a/copilot/b/manifest.yml": WEB})
    assert workspace_files.nearest(tmp_path) == [infra, tmp_path / "shop"]
    assert workspace_files.nearest(tmp_path / "app/src") == []
    (tmp_path / ".git").mkdir()
    assert workspace_files.nearest(tmp_path / "app/src") == [infra, tmp_path / "shop"]


def test_one_manifest_that_is_no_yaml_or_has_another_name_hides_nothing_of_the_others(tmp_path: Path) -> None:
    write(tmp_path, {"copilot/.workspace": "application: shop\n", "copilot/web/manifest.yml": WEB})
    write(
        tmp_path,
        {"copilot/a/manifest.yml": "name: [", "copilot/b/manifest.yml": WEB.replace("path: /", "path: b")},
    )
    project = rendered(tmp_path)
    assert list(project.rendered) == [("web", "test")]
    assert isinstance(project.rendered["web", "test"], Template)
    assert [one.partition(" ")[0] for one in errors(project)] == ["yaml", "name"]


def test_an_unchanged_service_is_not_rendered_again_and_an_edited_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "shop"
    write(root, {"copilot/.workspace": "application: shop\n", "copilot/web/manifest.yml": WEB})
    write(
        root,
        {"copilot/api/manifest.yml": WEB.replace("name: web", "name: api").replace("path: /", "path: api")},
    )
    first = rendered(root)
    started: list[str] = []
    run = RealShell.run

    def counted(shell: RealShell, command: Command) -> Result:
        started.append(command.name)
        return run(shell, command)

    monkeypatch.setattr(RealShell, "run", counted)
    assert rendered(root).rendered == first.rendered
    assert "copilot svc package" not in started
    write(root, {"copilot/web/manifest.yml": WEB + "count: 2\n"})
    assert rendered(root).rendered != first.rendered
    assert started.count("copilot svc package") == 1


@pytest.mark.parametrize("git", [True, False])
def test_a_dockerfile_beside_the_workspace_is_a_file_of_the_repository(tmp_path: Path, *, git: bool) -> None:
    build = "image: {build: {dockerfile: ../app/Dockerfile, context: ../app}, port: 80}"
    web = WEB.replace("image: {location: nginx:1.29, port: 80}", build)
    write(tmp_path, {"infra/copilot/web/manifest.yml": web, "app/Dockerfile": "FROM nginx:1.29\n"})
    if git:
        (tmp_path / ".git").mkdir()
    assert errors(rendered(tmp_path / "infra")) == []
    (tmp_path / "app/Dockerfile").unlink()
    assert [one.partition(" ")[0] for one in errors(rendered(tmp_path / "infra"))] == ["dockerfile"]
