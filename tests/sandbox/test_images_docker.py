from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
from botocore.config import Config

from copilot_sandbox import boot
from copilot_sandbox.images import build_variables, registry
from copilot_sandbox.images import docker as docker_module
from copilot_sandbox.images.docker import _BuildOptions, write_docker
from copilot_sandbox.images.store import ImageStore
from copilot_sandbox.state import OWNER, State

REPOSITORY = "123456789012.dkr.ecr.us-east-1.amazonaws.com/demo/web"
DIGEST_FORMAT = "'{{json (index .RepoDigests 0)}}'"
AWS = """
from http.server import ThreadingHTTPServer
from moto.moto_proxy.proxy3 import ProxyRequestHandler
server = ThreadingHTTPServer(("127.0.0.1", 0), ProxyRequestHandler)
print(server.server_port, flush=True)
server.serve_forever()
"""


@pytest.fixture(scope="module")
def aws() -> Iterator[dict[str, str]]:
    """moto's own TLS proxy, with the repository that Copilot would have made."""
    from moto.moto_proxy.certificate_creator import CertificateCreator  # noqa: PLC0415 - slow, and only here

    server = subprocess.Popen(
        [sys.executable, "-c", AWS], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    with server:
        assert server.stdout is not None
        env = {
            "HTTPS_PROXY": f"http://127.0.0.1:{int(server.stdout.readline())}",
            "AWS_CA_BUNDLE": CertificateCreator.cacert,
            "AWS_ACCESS_KEY_ID": "sandbox",
            "AWS_SECRET_ACCESS_KEY": "sandbox",
        }
        with ecr(env) as client:
            client.create_repository(repositoryName="demo/web")
        yield env
        server.kill()


@contextmanager
def ecr(aws: Mapping[str, str]) -> Iterator[Any]:
    client: Any = boto3.client(
        "ecr",
        region_name="us-east-1",
        aws_access_key_id="sandbox",
        aws_secret_access_key="sandbox",
        verify=aws["AWS_CA_BUNDLE"],
        config=Config(proxies={"https": aws["HTTPS_PROXY"]}),
    )
    yield client
    client.close()


class Docker:
    """The program as Copilot finds it."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / ".sandbox"
        self.program = write_docker(folder / "bin", self.state)
        self.context = folder / "context"
        self.context.mkdir()
        (self.context / "Dockerfile").write_text("FROM x\nCOPY a.txt /app/\n")
        (self.context / "a.txt").write_text("a")

    def run(self, *words: str, stdin: str = "", env: Mapping[str, str] | None = None) -> tuple[int, str, str]:
        done = subprocess.run(
            [self.program, *words],
            input=stdin,
            env={"PATH": os.defpath, **(env or {})},
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def build(self, *tags: str) -> str:
        words = [word for tag in tags for word in ("-t", f"{REPOSITORY}:{tag}")]
        code, out, err = self.run("build", *words, str(self.context), "-f", str(self.context / "Dockerfile"))
        assert (code, err) == (0, "")
        return out.split("writing image ")[1].split()[0]


@pytest.fixture
def docker(tmp_path: Path) -> Docker:
    (tmp_path / "a folder").mkdir()
    return Docker(tmp_path / "a folder")


def ecr_images(aws: Mapping[str, str]) -> dict[str, set[str]]:
    with ecr(aws) as client:
        found = client.describe_images(repositoryName="demo/web")["imageDetails"]
    return {image["imageDigest"]: set(image.get("imageTags", ())) for image in found}


def test_info_says_that_an_engine_answers_within_copilots_quotes(docker: Docker) -> None:
    code, out, _ = docker.run("info", "-f", "'{{json .}}'")

    assert code == 0
    assert out.startswith("'{")
    assert "ServerErrors" not in json.loads(out.strip().strip("'"))


def test_version_tells_the_platform_that_svc_init_asks_for(docker: Docker) -> None:
    code, out, _ = docker.run("version", "-f", "'{{json .Server}}'")

    assert code == 0
    assert json.loads(out.strip().strip("'"))["Os"] == "linux"
    assert docker.run("version")[0] == 1


def test_login_takes_the_password_from_standard_input(docker: Docker) -> None:
    assert docker.run("login", "-u", "AWS", "--password-stdin", "registry", stdin="pw")[:2] == (
        0,
        "Login Succeeded\n",
    )
    assert docker.run("login", "-u", "AWS", "-p", "pw", "registry")[0] == 1


def test_the_five_calls_of_a_deploy_succeed_in_copilots_order(docker: Docker, aws: dict[str, str]) -> None:
    names = [word for tag in ("latest", "abc") for word in ("-t", f"{REPOSITORY}:{tag}")]
    labels = ["--label", "com.aws.copilot.image.container.name=web", "--platform", "linux/amd64"]
    more = ["--build-arg", "A=1", "--target", "last", "--cache-from", "x:1", "--progress", "plain"]
    (docker.context / "Dockerfile").write_text("FROM x AS last\nARG A\nENV A=$A\n")

    built = docker.run(
        "build", *names, *more, *labels, str(docker.context), "-f", str(docker.context / "Dockerfile")
    )
    pushed = [docker.run("push", f"{REPOSITORY}:{tag}", "--quiet", env=aws) for tag in ("latest", "abc")]
    inspected = docker.run("inspect", "--format", DIGEST_FORMAT, f"{REPOSITORY}:latest")

    digest = built[1].split("writing image ")[1].split()[0]
    assert [each[0] for each in (built, *pushed, inspected)] == [0, 0, 0, 0]
    assert inspected[1] == f"'\"{REPOSITORY}@{digest}\"'\n"
    assert ecr_images(aws)[digest] == {"latest", "abc"}
    images = [
        ImageStore(docker.state).find(f"{REPOSITORY}{name}") for name in (f"@{digest}", ":abc", ":latest", "")
    ]
    assert [image and (image.digest, image.env) for image in images] == [(digest, {"A": "1"})] * 4


def test_a_tag_moves_and_pushing_the_same_again_is_fine(docker: Docker, aws: dict[str, str]) -> None:
    store = ImageStore(docker.state)
    first = docker.build("moving")
    for _ in range(2):
        assert docker.run("push", f"{REPOSITORY}:moving", env=aws)[0] == 0
    (docker.context / "a.txt").write_text("b")
    second = docker.build("moving")
    before = store.find(f"{REPOSITORY}:moving")
    code, out, _ = docker.run("push", f"{REPOSITORY}:moving", env=aws)

    assert code == 0
    assert f"moving: digest: {second}" in out
    assert before is not None
    assert before.digest == first
    found = {digest for digest, tags in ecr_images(aws).items() if "moving" in tags}
    assert found == {second}
    after = store.find(f"{REPOSITORY}:moving")
    assert after is not None
    assert after.digest == second
    assert store.find(f"{REPOSITORY}@{first}") is not None


def test_what_was_built_but_not_pushed_cannot_be_pulled(docker: Docker) -> None:
    docker.build("local")

    assert ImageStore(docker.state).find(f"{REPOSITORY}:local") is None
    assert (
        "it was built, but not pushed"
        in docker.run("inspect", "--format", DIGEST_FORMAT, f"{REPOSITORY}:local")[2]
    )


@pytest.mark.parametrize(
    ("words", "env", "why"),
    [
        (["ps"], {}, "`docker ps` is not answered in the sandbox"),
        ([], {}, "not answered"),
        (["push", f"{REPOSITORY}:absent"], {}, "does not exist locally"),
        (["push", f"{REPOSITORY}:here"], {}, "HTTPS_PROXY and AWS_CA_BUNDLE"),
        (["push", "elsewhere:1"], {}, "not an ECR repository"),
        (["inspect", "x"], {}, "answered with --format"),
        (["inspect", "--format", DIGEST_FORMAT, "x:absent"], {}, "No such object"),
        (["info"], {}, "as Copilot calls it"),
        (["build", "-"], {}, "exactly one folder"),
        (["build", "--squash", "."], {}, "`docker build --squash` is not supported"),
        (["build", "-t"], {}, "needs a value"),
        (["build", "/nonexistent"], {}, "failed to read dockerfile"),
    ],
)
def test_anything_else_ends_with_one_clear_line(
    docker: Docker, words: list[str], env: dict[str, str], why: str
) -> None:
    docker.build("here")
    docker.run("build", "-t", "elsewhere:1", str(docker.context))

    code, out, err = docker.run(*words, env=env)

    assert (code, out) == (1, "")
    assert why in err
    assert err.count("\n") == 1


def test_ecrs_refusal_and_its_absence_are_told(docker: Docker, aws: dict[str, str]) -> None:
    other = REPOSITORY.replace("demo/web", "demo/none")
    docker.run("build", "-t", f"{other}:1", "-t", f"{REPOSITORY}:1", str(docker.context))

    assert "ECR refused demo/none:1" in docker.run("push", f"{other}:1", env=aws)[2]
    gone = {**aws, "HTTPS_PROXY": "http://127.0.0.1:1"}
    assert "did not answer" in docker.run("push", f"{REPOSITORY}:1", env=gone)[2]
    assert ImageStore(docker.state).find(f"{REPOSITORY}:1") is None


def test_a_failed_build_exits_with_1_and_tags_nothing(docker: Docker) -> None:
    (docker.context / "a.txt").unlink()

    code, _, err = docker.run("build", "-t", f"{REPOSITORY}:x", str(docker.context))

    assert code == 1
    assert '"/a.txt": not found' in err
    assert "does not exist locally" in docker.run("push", f"{REPOSITORY}:x")[2]


def test_a_failed_build_is_not_done_again_for_copilots_retries(docker: Docker) -> None:
    words = ("build", "-t", f"{REPOSITORY}:x", str(docker.context))
    (docker.context / "a.txt").unlink()
    first, again = docker.run(*words), docker.run(*words)

    assert '"/a.txt": not found' in first[2]
    assert again == first
    (docker.context / "Dockerfile").write_text("FROM x\n")
    assert docker.run(*words)[0] == 0


def test_two_containers_of_one_dockerfile_are_built_once(
    docker: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []
    is_building = threading.Event()

    def build_image(_state: Path, options: _BuildOptions, _dockerfile: Path) -> str:
        built.append(options.last("--target") or "")
        is_building.set()
        time.sleep(0.3)
        return f"sha256:{len(built)}"

    monkeypatch.setattr(docker_module, "_build_image", build_image)

    def build(tag: str, *flags: str) -> None:
        words = ("build", "-t", f"{REPOSITORY}:{tag}", *flags, str(docker.context))
        assert docker_module.main([str(docker.state), *words]) == 0

    first = threading.Thread(target=build, args=("web",))
    first.start()
    assert is_building.wait(10)
    build("startup", "--label", "com.aws.copilot.image.container.name=startup")
    first.join()
    assert built == [""]
    assert registry.tagged(docker.state, f"{REPOSITORY}:web") == "sha256:1"
    assert registry.tagged(docker.state, f"{REPOSITORY}:startup") == "sha256:1"
    build("other", "--target", "dev")
    build("later")  # its files may have changed since
    assert built == ["", "dev", ""]


def test_what_an_image_lacks_is_said_last_because_copilot_shows_the_last_lines(docker: Docker) -> None:
    (docker.context / "Dockerfile").write_text("FROM x\nADD https://example.org/a /a\nUSER app\n")
    code, out, _ = docker.run("build", "-t", f"{REPOSITORY}:x", str(docker.context))
    assert code == 0
    assert [line.partition(" ")[2][:15] for line in out.splitlines()[:2]] == [
        "not done here: ",
        "line 2 copied n",
    ]


def test_the_calls_that_a_deploy_waits_for_import_nothing_slow(docker: Docker) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import copilot_sandbox.images.docker;"
        " print({'dataclasses', 'ssl', 'http', 'subprocess', 'tempfile'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, boot.SOURCES], capture_output=True, text=True, check=True
    )

    assert done.stdout == "set()\n"
    assert " -I -S " in docker.program.read_text()


def test_a_builds_programs_have_the_sandboxs_mark(
    docker: Docker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert f"export {OWNER}='{docker.state.resolve()}'\n" in docker.program.read_text()
    assert OWNER not in build_variables.step_variables(tmp_path, tmp_path, {})
    monkeypatch.setenv(OWNER, str(docker.state))
    assert build_variables.step_variables(tmp_path, tmp_path, {})[OWNER] == str(docker.state)


@pytest.mark.nightly
def test_a_build_under_way_ends_with_the_sandbox(docker: Docker) -> None:
    """A reset finds a build's programs by the sandbox's mark: this program, pip, and a build back end."""
    backend = 'build-backend = "slow"\nbackend-path = ["."]'
    (docker.context / "pyproject.toml").write_text(f"[build-system]\nrequires = []\n{backend}\n")
    (docker.context / "slow.py").write_text("import time\n\ntime.sleep(600)\n")
    (docker.context / "Dockerfile").write_text(
        "FROM python:3.12\nWORKDIR /app\nCOPY . .\nRUN pip install --no-build-isolation .\n"
    )
    words = ["build", "-t", f"{REPOSITORY}:a", str(docker.context)]
    with subprocess.Popen(
        [docker.program, *words],
        env={"PATH": os.defpath},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as build:
        try:
            below = psutil.Process(build.pid)
            end = time.monotonic() + 30
            while not any(map(is_back_end, below.children(recursive=True))):
                assert time.monotonic() < end
                assert build.poll() is None
                time.sleep(0.05)
            started = below.children(recursive=True)
            State(docker.state.parent).sweep()
            _, left = psutil.wait_procs(started, timeout=5)
            assert left == []
            assert build.wait(timeout=5) == -signal.SIGKILL
        finally:
            build.kill()


def is_back_end(process: psutil.Process) -> bool:
    try:
        return any("_in_process" in word for word in process.cmdline())
    except psutil.Error:
        return False
