"""Generated manifests of each type, with the real Copilot as the judge."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from copilot_testenv import rendering
from copilot_testenv.check import containers as containers_rules
from copilot_testenv.check import keys, templates, values, workflow
from copilot_testenv.check import project as projects
from copilot_testenv.copilot.commands import program
from copilot_testenv.copilot.task_definition import containers
from copilot_testenv.copilot.templates import Refusal, Template
from copilot_testenv.core.process import RealShell, Variables
from copilot_testenv.core.settings import load
from copilot_testenv.rendering import Renderer
from copilot_testenv.session import Session
from tests.check.manifests import DOMAIN, ENV_FILE, KINDS, TOPIC, manifests
from tests.fakes import FakeReport

# cfn-lint judges templates, not whether Copilot packages, and takes a second for each.
RULES = tuple(rule for rule in workflow.RULES if rule not in templates.RULES)
STRANGE = "not_a_key"
PLACES = st.sampled_from([(), ("image",), ("environments", "test"), ("environments", "production")])


@pytest.fixture(scope="module")
def copilot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Renderer, Path]]:
    """The real Copilot, and a workspace with three environments for the service `web`."""
    root = tmp_path_factory.mktemp("workspace")
    for name in ("test", "production", "stage"):
        (root / "copilot/environments" / name).mkdir(parents=True)
        (root / f"copilot/environments/{name}/manifest.yml").write_text(f"name: {name}\ntype: Environment\n")
    (root / "copilot/.workspace").write_text("application: demo\n")
    (root / "copilot/web").mkdir()
    (root / ENV_FILE).write_text("A=b\n")
    session = Session(load(root, {}), RealShell(), FakeReport(), {})
    needs = {"subscribe": {}, "http": {"alias": [f"a.{DOMAIN}", f"b.{DOMAIN}"]}}
    with rendering.open_renderer(session, [TOPIC, needs]) as renderer:
        yield renderer, root


@pytest.mark.nightly
@pytest.mark.e2e
@pytest.mark.hypothesis
@pytest.mark.parametrize("kind", KINDS)
def test_check_and_copilot_agree_on_generated_manifests(kind: str, copilot: tuple[Renderer, Path]) -> None:
    renderer, root = copilot
    tally: Counter[str] = Counter()

    # One failure as it comes: to shrink it would take a hundred more renderings.
    @settings(
        max_examples=settings().max_examples // 2,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(manifests(kind), PLACES)
    def agree(made: tuple[dict[str, Any], bool], place: tuple[str, ...]) -> None:
        manifest, slips = made
        environment = ("test", "production", "stage")[tally.total() % 3]
        write(root, manifest)
        project = projects.read(renderer.settings)
        assert not list(keys.unknown(project))
        assert slips or not list(values.unread(project))
        found = renderer.service(root, "web", environment)
        project.rendered["web", environment] = found
        told = workflow.judge(project, RULES)
        errors = {one.rule for one in told if one.severity == "error"}
        if tally.total() % 10 == 0:
            text = getattr(found, "text", None)
            assert lasting(packaged(root, environment, renderer.variables)) == lasting(text)
        if isinstance(found, Refusal):
            # A rule that tells it with its line does so in place of Copilot's own words.
            assert ("copilot" in errors) != containers_rules.is_reported(found), found.why
            assert errors & {"copilot", "dependency", "startup"}, found.why
            tally["refused"] += 1
        else:
            assert all(one.rule != "copilot" for one in told)
            assert shown(found) == held(found)
            tally["packaged"] += 1
        _below(manifest, place)[STRANGE] = 1
        write(root, manifest)
        (strange,) = keys.unknown(projects.read(renderer.settings))
        assert f"`{'.'.join((*place, STRANGE))}`" in strange.what

    agree()
    assert min(tally["packaged"], tally["refused"]) > tally.total() / 10  # neither is left untried


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("slip", "rule"),
    [
        ("http: {path: /, grace_period: 7777s}", "unknown-key"),
        ("http: {path: /, deregistration_delay: 7777}", "unread-value"),
        ("http: {path: /, allowed_source_ips: 7777::/32}", "unread-value"),
    ],
)
def test_copilot_drops_without_a_word_what_check_refuses(
    slip: str, rule: str, copilot: tuple[Renderer, Path]
) -> None:
    renderer, root = copilot
    (root / "copilot/web/manifest.yml").write_text(
        f"name: web\ntype: {KINDS[0]}\nimage: {{location: nginx, port: 80}}\n{slip}\n"
        "environments: {test: {}, stage: {}, production: {}}\n"
    )
    found = renderer.service(root, "web", "test")
    assert isinstance(found, Template)
    assert "7777" not in str(found.resources)
    assert rule in [one.rule for one in workflow.judge(projects.read(renderer.settings), RULES)]


def packaged(root: Path, environment: str, variables: Variables) -> str | None:
    """The template, by a plain call that shares nothing with ours; None where Copilot ends with an error."""
    words = ["svc", "package", "--app", "demo", "--name", "web", "--env", environment, "--tag", "rendered"]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [program(), *words, "--output-dir", folder],
            cwd=root,
            env={name: value for name, value in {**os.environ, **variables}.items() if value is not None},
            check=False,
            capture_output=True,
        )
        return (Path(folder) / f"web-{environment}.stack.yml").read_text() if done.returncode == 0 else None


def lasting(text: str | None) -> str | None:
    """The template without the number that Copilot draws anew where a service scales."""
    return text and re.sub(r"UpdateID: \S+", "", text)


def write(root: Path, manifest: dict[str, Any]) -> None:
    (root / "copilot/web/manifest.yml").write_text(yaml.safe_dump(manifest, sort_keys=False))


def shown(template: Template) -> dict[str, tuple[object, ...]]:
    """What `sidecar-config` shows of each container."""
    return {
        one.name: (one.image, one.essential, dict(one.depends_on), one.ports, one.variables, one.secrets)
        for one in containers(template)
    }


def held(template: Template) -> dict[str, tuple[object, ...]]:
    """What the task definition holds of each container, read from the template's text alone."""
    resources = yaml.load(template.text, Loader=_Plain)["Resources"].values()  # noqa: S506 - a safe one
    (task,) = (one for one in resources if one["Type"] == "AWS::ECS::TaskDefinition")
    given = template.parameters
    found: dict[str, tuple[object, ...]] = {}
    for one in task["Properties"]["ContainerDefinitions"]:
        image, name = one["Image"], one["Name"]
        found[given.get(name, name)] = (
            given.get(image, image) or None,
            one.get("Essential", True),
            {
                given.get(other["ContainerName"], other["ContainerName"]): other["Condition"].lower()
                for other in one.get("DependsOn") or ()
            },
            tuple(f"{port['ContainerPort']}/{port['Protocol']}" for port in one.get("PortMappings") or ()),
            tuple(sorted(variable["Name"] for variable in one.get("Environment") or ())),
            tuple(sorted(secret["Name"] for secret in one.get("Secrets") or ())),
        )
    return found


class _Plain(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """A safe loader that drops tags: `!Ref x` is the text x."""


def _untagged(loader: Any, _suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_mapping(node, deep=True)


_Plain.add_multi_constructor("!", _untagged)


def _below(manifest: dict[str, Any], place: tuple[str, ...]) -> dict[str, Any]:
    for name in place:
        manifest = manifest[name]
    return manifest
