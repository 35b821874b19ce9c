from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from copilot_testenv.aws import Aws
from copilot_testenv.core.process import Command, RealShell, Result
from copilot_testenv.core.settings import Settings
from copilot_testenv.deployers.container_images import Builder, Ended, containers
from copilot_testenv.deployers.deployer import never
from tests.fakes import FakeShell
from tests.hidden import SECRET, pieces

MANIFEST = {
    "name": "web",
    "image": {"build": {"dockerfile": "Dockerfile", "args": {"ENV": "${COPILOT_ENVIRONMENT_NAME}"}}},
    "platform": "linux/arm64",
    "sidecars": {
        "startup": {"image": {"build": {"dockerfile": "Dockerfile", "args": {"ENV": "test"}}}},
        "proxy": {"image": {"location": "nginx:1"}},
        "redis": {"image": "redis:7"},
        "same": {"image": {"build": {"dockerfile": "Dockerfile", "args": {"ENV": "test"}}}},
    },
    "environments": {"test": {"sidecars": {"proxy": {"image": {"build": "proxy/Dockerfile"}}}}},
}


class Registry(Aws):
    def registry(self) -> tuple[str, str]:
        return "1.dkr.ecr.eu-west-1.amazonaws.com", SECRET

    def image_digest(self, repository: str, tag: str) -> str:
        return f"sha256:{repository}-{tag}"


def built(settings: Settings, shell: FakeShell) -> dict[str, str]:
    parts = containers(MANIFEST, "web", "test")
    builder = Builder(shell, settings, {}, Registry({}))
    return builder.build(Path("/w"), parts, "tag", lambda _: None, never)


def test_each_image_is_built_once_and_named_by_its_digest(settings: Settings) -> None:
    shell = FakeShell()
    found = built(settings, shell)
    assert set(found) == {"web", "startup", "proxy", "same"}
    assert found["startup"] == found["same"] != found["web"]
    assert found["web"] == "1.dkr.ecr.eu-west-1.amazonaws.com/demo/web@sha256:demo/web-tag"
    verbs = [line.split()[1] for line in shell.lines]
    assert verbs == ["login", *["build", "push"] * 3]
    assert "--platform linux/arm64" in shell.lines[1]
    assert "--build-arg ENV=test /w -f /w/Dockerfile" in shell.lines[1]
    assert "/w/proxy -f /w/proxy/Dockerfile" in next(line for line in shell.lines if "proxy-tag" in line)


def test_the_registrys_password_is_no_argument_and_is_not_shown(settings: Settings) -> None:
    shell = FakeShell()
    built(settings, shell)
    shown = json.dumps([[*command.argv, repr(command), str(command)] for command in shell.ran])
    assert not any(piece in shown for piece in pieces(SECRET))
    assert shell.ran[0].stdin == SECRET


def test_a_build_that_fails_ends_with_its_result(settings: Settings) -> None:
    with pytest.raises(Ended) as ended:
        built(settings, FakeShell({"docker build": Result(1, "no space")}))
    assert ended.value.result == Result(1, "no space")


def test_on_aws_the_images_are_for_fargates_processors(settings: Settings) -> None:
    shell = FakeShell()
    built(replace(settings, target="aws"), shell)
    assert all(command.env["DOCKER_DEFAULT_PLATFORM"] == "linux/amd64" for command in shell.ran)


def test_where_dockers_helper_for_ecr_logs_in_nothing_else_does(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    for config, logs_in in (
        ("[]", True),
        ('{"credHelpers": {"1.dkr.ecr.eu-west-1.amazonaws.com": "ecr-login"}}', False),
        ('{"credsStore": "ecr-login"}', False),
        ('{"credsStore": "desktop"}', True),
    ):
        (tmp_path / "config.json").write_text(config)
        shell = FakeShell()
        built(settings, shell)
        assert any("docker login" in line for line in shell.lines) is logs_in


def test_a_command_reads_what_it_is_given_and_no_more() -> None:
    code = "import sys; print(sys.stdin.read() + '!')"
    ran = RealShell().run(Command(("python3", "-c", code), stdin="a secret"))
    assert ran.stdout == "a secret!\n"
    assert RealShell().run(Command(("python3", "-c", code))).stdout == "!\n"
