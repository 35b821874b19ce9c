from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from copilot_sandbox.agent.namespace import Way
from copilot_sandbox.errors import SandboxError
from copilot_sandbox.images import build as builder
from copilot_sandbox.images import build_variables, venv_cache
from copilot_sandbox.images.store import ImageStore
from copilot_sandbox.images.tree import CopyError, Entry, Tree
from copilot_sandbox.images.venv_cache import MARKER
from copilot_sandbox.images.venvs import InstallError, pip_arguments
from copilot_sandbox.model import Image
from tests.sandbox.fake_control_plane import FakeControlPlane, container, running_agent, service, until


@pytest.fixture(autouse=True)
def _no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pip finds two small wheels made here, and nothing else."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    for name in ("tiny", "other"):
        make_wheel(tmp_path / "wheels", name)


def make_wheel(folder: Path, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    info = f"{name}-1.0.dist-info"
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.py", f"def main():\n    print('this is {name}')\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/entry_points.txt", f"[console_scripts]\n{name}={name}:main\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


class Project:
    """A build context and what its last build said."""

    def __init__(self, folder: Path) -> None:
        self.context = folder / "context"
        self.state = folder / ".sandbox"
        self.context.mkdir()
        self.said: list[str] = []

    def write(self, **files: str) -> None:
        for name, text in files.items():
            self.put(name, text)

    def put(self, path: str, text: str = "") -> Path:
        file = self.context / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def build(
        self, dockerfile: str, *, arguments: dict[str, str] | None = None, target: str | None = None
    ) -> Image:
        self.said = []
        file = self.put("Dockerfile", dockerfile)
        digest = builder.build(
            self.context, file, self.state, say=self.said.append, arguments=arguments, target=target
        )
        image = ImageStore(self.state).load(digest)
        assert image is not None
        return image


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def files(image: Image) -> list[str]:
    return sorted(
        f"/{each.relative_to(image.root)}"
        for each in image.root.rglob("*")
        if each.is_symlink() or each.is_file()
    )


def run(image: Image, program: str) -> str:
    assert image.venv is not None
    return subprocess.run([image.venv / "bin" / program], capture_output=True, text=True, check=True).stdout


def test_files_stand_where_the_dockerfile_copies_them(project: Project) -> None:
    project.put("manage.py", "main")
    project.put("demo/settings.py")
    project.put("demo/deep/a.txt")

    image = project.build(
        "FROM x\nWORKDIR /app\nCOPY manage.py ./run.py\nCOPY demo demo/\nCOPY demo/deep/a.txt /etc/\n"
    )

    assert files(image) == ["/app/demo/deep/a.txt", "/app/demo/settings.py", "/app/run.py", "/etc/a.txt"]
    assert (image.root / "app/run.py").read_text() == "main"
    assert image.workdir == "/app"
    assert image.paths == ("/app", "/etc/a.txt")


def test_a_dockerignore_keeps_files_out_and_takes_some_in_again(project: Project) -> None:
    project.put(".dockerignore", "*\n!demo\n**/*.pyc\n")
    project.put("secret.env")
    project.put("demo/a.py")
    project.put("demo/a.pyc")

    assert files(project.build("FROM x\nCOPY . /app\n")) == ["/app/demo/a.py"]


def test_the_sandboxs_own_folder_is_never_in_an_image(project: Project) -> None:
    project.state = project.context / ".sandbox"
    digests = {project.build("FROM x\nCOPY . /app/\n").digest for _ in range(2)}

    assert len(digests) == 1


def test_copying_what_is_left_out_fails_like_a_missing_file_in_dockers_words(project: Project) -> None:
    project.put(".dockerignore", "secret.env")
    project.put("secret.env")

    for source in ("secret.env", "absent"):
        with pytest.raises(
            SandboxError, match=f'line 2: COPY: failed to calculate checksum of ref: "/{source}": not found'
        ):
            project.build(f"FROM x\nCOPY {source} /app/\n")


def test_a_wildcard_copies_what_there_is_and_nothing_is_fine(project: Project) -> None:
    project.put("a.txt")
    project.put("b.txt")

    assert files(project.build("FROM x\nCOPY [ab].txt deployment.jso[n] /app/\n")) == [
        "/app/a.txt",
        "/app/b.txt",
    ]


def test_several_sources_need_a_folder(project: Project) -> None:
    project.put("a")
    project.put("b")

    with pytest.raises(SandboxError, match="must be a directory and end with a /"):
        project.build("FROM x\nCOPY a b /app\n")


@pytest.mark.parametrize("source", ["../secret", "a/../../secret", "/../secret", "./../secret"])
def test_a_source_outside_of_the_context_is_refused(project: Project, source: str) -> None:
    (project.context.parent / "secret").write_text("not for the image")

    with pytest.raises(SandboxError, match="forbidden path outside the build context"):
        project.build(f"FROM x\nCOPY {source} /app/\n")


@pytest.mark.parametrize("target", ["/etc", "../outside", "../../../../../../../../etc"])
@pytest.mark.parametrize("source", ["way", "way/passwd"])
def test_a_source_through_a_link_out_of_the_context_is_refused(
    project: Project, target: str, source: str
) -> None:
    (project.context.parent / "outside").mkdir()
    (project.context / "way").symlink_to(target)

    with pytest.raises(SandboxError, match="forbidden path outside the build context"):
        project.build(f"FROM x\nCOPY {source} /app/\n")


def test_a_source_that_is_a_link_within_the_context_is_followed(project: Project) -> None:
    project.put("real/a.txt", "content")
    (project.context / "way").symlink_to("real")

    image = project.build("FROM x\nCOPY way/a.txt way /app/\n")

    assert files(image) == ["/app/a.txt"]
    assert not (image.root / "app/a.txt").is_symlink()


def test_links_in_a_copied_folder_stay_links_and_are_never_written_through(project: Project) -> None:
    outside = project.context.parent / "outside"
    outside.mkdir()
    project.put("demo/a.txt")
    (project.context / "demo/way").symlink_to(outside)

    image = project.build("FROM x\nCOPY demo /app\nCOPY demo/a.txt /app/way/a.txt\n")

    assert (image.root / "app/way").is_symlink()
    assert list(outside.iterdir()) == []
    assert (image.root / str(outside).lstrip("/") / "a.txt").exists()
    assert any("demo/way is a link to" in line for line in project.said)


def test_a_destination_cannot_leave_the_root(project: Project) -> None:
    project.put("a.txt")

    image = project.build("FROM x\nWORKDIR /app\nCOPY a.txt ../../../../var/evil.txt\n")

    assert files(image) == ["/var/evil.txt"]


def test_a_link_that_leads_to_itself_ends_in_an_error() -> None:
    with pytest.raises(CopyError, match="too many levels"):
        Tree({"/": Entry("folder"), "/a": Entry("link", target="/a")}).resolve("/a/b")


def test_equal_content_gives_an_equal_digest_whatever_the_order_and_the_times(tmp_path: Path) -> None:
    digests = set()
    for number, names in enumerate((["b", "a", "c"], ["c", "b", "a"])):
        (tmp_path / str(number)).mkdir()
        project = Project(tmp_path / str(number))
        for name in names:
            file = project.put(f"demo/{name}", name)
            os.utime(file, (number * 1000, number * 1000))
            file.chmod(0o664 if number else 0o600)
        digests.add(project.build("FROM x\nENV B=1 A=2\nCOPY . /app\n").digest)

    assert len(digests) == 1


def test_any_difference_gives_another_digest(project: Project) -> None:
    file = project.put("run.sh", "a")
    text = "FROM x\nCOPY run.sh /app/\n"
    digests = [project.build(text).digest]
    file.chmod(0o755)
    digests.append(project.build(text).digest)
    file.write_text("b")
    digests.append(project.build(text).digest)
    digests += [project.build(text + more).digest for more in ("ENV A=1\n", "CMD a\n", "WORKDIR /x\n")]

    assert len(set(digests)) == len(digests)


def test_the_digest_is_that_of_the_manifest_and_the_manifest_names_its_parts(project: Project) -> None:
    digest = project.build("FROM x\n").digest.removeprefix("sha256:")
    text = (project.state / "images" / digest / "manifest.json").read_bytes()
    config = (project.state / "images" / digest / "config.json").read_bytes()

    assert hashlib.sha256(text).hexdigest() == digest
    assert json.loads(text)["config"]["digest"] == f"sha256:{hashlib.sha256(config).hexdigest()}"


def test_a_script_stays_executable_and_chmod_is_done(project: Project) -> None:
    project.put("run.sh").chmod(0o700)
    project.put("plain.sh")

    image = project.build("FROM x\nCOPY run.sh /app/\nCOPY --chmod=755 --chown=1:1 --link plain.sh /app/\n")

    assert [(image.root / "app" / name).stat().st_mode & 0o777 for name in ("run.sh", "plain.sh")] == [
        0o755
    ] * 2


def test_variables_come_from_env_then_arg_then_the_command_line(project: Project) -> None:
    image = project.build(
        "ARG TAG=1\nFROM x:${TAG}\nARG TAG\nARG WHO=nobody\nARG UNSET\n"
        "ENV WHO_IS=$WHO TAG_IS=$TAG U=${UNSET:-d}\n"
        'ENV WHO_IS="$WHO_IS!" PATH=/own:$PATH\n',
        arguments={"WHO": "me", "UNDECLARED": "x"},
    )

    assert {**image.env, "PATH": image.env["PATH"][:19]} == {
        "WHO_IS": "me!",
        "TAG_IS": "1",
        "U": "d",
        "PATH": "/own:/usr/local/bin",
    }


def test_the_command_has_a_shell_form_and_an_exec_form(project: Project) -> None:
    plain = project.build("FROM x\nCMD a $B\n")
    listed = project.build('FROM x\nSHELL ["/bin/bash", "-c"]\nENTRYPOINT ["e", "$F"]\nCMD c d\n')

    assert (plain.entrypoint, plain.cmd) == ((), ("/bin/sh", "-c", "a $B"))
    assert (listed.entrypoint, listed.cmd) == (("e", "$F"), ("/bin/bash", "-c", "c d"))


def test_an_entrypoint_takes_the_base_images_command_away(project: Project) -> None:
    assert project.build("FROM python:3\n").cmd == ("python3",)
    assert project.build("FROM python:3\nENTRYPOINT e\n").cmd == ()
    assert project.build("FROM python:3\nCMD c\nENTRYPOINT e\n").cmd == ("/bin/sh", "-c", "c")


def test_volumes_and_nested_working_folders_are_made(project: Project) -> None:
    image = project.build('FROM x\nWORKDIR /app\nWORKDIR sub\nVOLUME ["/data", "/app/static"]\n')

    assert image.workdir == "/app/sub"
    assert image.paths == ("/app", "/app/static", "/data")
    assert all((image.root / path).is_dir() for path in ("app/sub", "data", "app/static"))


def test_stages_hand_files_on_and_only_those_needed_are_built(project: Project) -> None:
    project.put("a.txt", "a")

    image = project.build(
        "FROM x AS base\nWORKDIR /src\nCOPY a.txt .\nFROM base AS unneeded\nCOPY absent .\n"
        "FROM y\nCOPY --from=base /src/a.txt /app/\nCOPY --from=0 /src /copy\n"
        "COPY --from=base /usr/lib/made.so /app/\nCOPY --from=ghcr.io/a/uv:latest /uv /bin/\n"
    )

    assert files(image) == ["/app/a.txt", "/copy/a.txt"]
    assert project.said == [
        "sandbox: not done here: COPY --from=base /usr/lib/made.so: nothing is there (line 9)",
        "sandbox: not done here: COPY --from=ghcr.io/a/uv:latest /uv /bin/: that image is not here (line 10)",
    ]


def test_a_target_stage_is_built_as_the_last(project: Project) -> None:
    text = "FROM x AS one\nENV A=1\nFROM one AS two\nENV A=2\n"

    assert project.build(text, target="one").env == {"A": "1"}
    assert project.build(text).env == {"A": "2"}
    with pytest.raises(SandboxError, match="target stage 'three' could not be found"):
        project.build(text, target="three")


def test_heredocs_become_files(project: Project) -> None:
    image = project.build(
        "FROM x\nENV A=1\nCOPY <<EOF <<'RAW' /app/\n\"$A\"\nEOF\n$A\nRAW\nCOPY <<E /app/named\nx\nE\n"
    )

    assert {name: (image.root / "app" / name).read_text() for name in ("EOF", "RAW", "named")} == {
        "EOF": '"1"\n',
        "RAW": "$A\n",
        "named": "x\n",
    }


def test_what_cannot_be_done_is_listed_with_its_line(project: Project) -> None:
    project.put("files.tar.gz")

    project.build(
        "FROM x\nRUN apt-get update && apt-get install -y postgresql-client\nADD https://example.org/a /a\n"
        "ADD files.tar.gz /b/\nRUN python manage.py collectstatic\nUSER app\n"
        "EXPOSE 80\nHEALTHCHECK CMD true\nLABEL a=b\n"
    )

    assert project.said == [
        "sandbox: not done here: RUN apt-get update && apt-get install -y postgresql-client (line 2)",
        "sandbox: not done here: ADD https://example.org/a /a (line 3)",
        "sandbox: not done here: ADD files.tar.gz /b/ (line 4)",
        "sandbox: not done here: RUN python manage.py collectstatic (line 5)",
        "sandbox: not done here: USER app (line 6)",
    ]


def test_another_python_than_the_hosts_is_told(project: Project) -> None:
    project.build("FROM python:3.2-slim AS a\nFROM a\n")
    here = f"{sys.version_info.major}.{sys.version_info.minor}"

    assert project.said == [
        f"sandbox: python:3.2-slim is Python 3.2; here it runs on Python {here} ({sys.executable})"
    ]
    project.build(f"FROM docker.io/library/python:{here}-slim\n")
    assert project.said == []


def test_pip_installs_into_the_images_environment_byte_compiled(project: Project) -> None:
    wheel = project.context.parent / "wheels" / "tiny-1.0-py3-none-any.whl"
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    project.put("requirements/base.txt", f"tiny==1.0 --hash=sha256:{digest}\n")
    project.put("requirements.txt", "-r requirements/base.txt\n")

    image = project.build(
        "FROM x\nWORKDIR /app\nCOPY requirements requirements\nCOPY requirements.txt .\n"
        "RUN set -eux && pip install --no-cache-dir --require-hashes -r requirements.txt && apt-get clean\n"
    )

    assert run(image, "tiny") == "this is tiny\n"
    assert image.venv is not None
    assert list(image.venv.rglob("__pycache__/tiny.*.pyc"))
    assert project.said[0] == "sandbox: not done here: RUN apt-get clean (line 5)"


def test_an_equal_environment_is_made_once_and_a_changed_requirement_makes_another(project: Project) -> None:
    text = "FROM x\nCOPY . /app\nRUN pip install -r /app/requirements.txt\n"
    project.put("requirements.txt", "tiny\n")
    first = project.build(text)
    project.put("source.py", "changed")
    second = project.build(text)

    assert second.venv == first.venv
    assert second.digest != first.digest
    assert project.said == []
    project.put("requirements.txt", "tiny\nother\n")
    third = project.build(text)
    assert third.venv != first.venv
    assert run(third, "other") == "this is other\n"


def test_a_change_in_an_included_requirements_file_makes_another_environment(project: Project) -> None:
    text = "FROM x\nCOPY . /app\nRUN cd /app && pip install -r a.txt -c limits.txt\n"
    project.write(**{"a.txt": "-r b.txt\n", "b.txt": "tiny\n", "limits.txt": "tiny==1.0\n"})
    first = project.build(text)

    project.put("b.txt", "tiny\n# more\n")
    second = project.build(text)
    project.put("limits.txt", "tiny<2\n")

    assert len({first.venv, second.venv, project.build(text).venv}) == 3


def test_every_needed_stage_installs_into_the_one_environment(project: Project) -> None:
    project.put("requirements.txt", "tiny\n")

    image = project.build(
        "FROM x AS build\nRUN python -m venv /opt/venv\nENV PATH=/opt/venv/bin:$PATH\n"
        "COPY requirements.txt .\nRUN --mount=type=cache,target=/root/.cache/pip \\\n"
        "  pip install --prefix /install -r requirements.txt\n"
        "FROM x AS tests\nRUN pip install nothing-like-it\n"
        "FROM x\nCOPY --from=build /install /usr/local\n"
        'RUN ["python3", "-m", "pip", "install", "other==1.0"]\n'
    )

    assert run(image, "tiny") + run(image, "other") == "this is tiny\nthis is other\n"


def test_a_requirements_file_may_be_mounted_instead_of_copied(project: Project) -> None:
    project.put("requirements.txt", "tiny\n")

    image = project.build(
        "FROM x\nWORKDIR /app\nRUN --mount=type=bind,source=requirements.txt,target=requirements.txt \\\n"
        "  python -m pip install -r requirements.txt\n"
    )

    assert run(image, "tiny") == "this is tiny\n"
    assert files(image) == []


def test_a_wheel_out_of_the_context_is_installed_by_path_or_wildcard(project: Project) -> None:
    make_wheel(project.context, "local")

    for argument in ("./local-1.0-py3-none-any.whl", "/app/local-1.0-py3-none-any.whl", "/app/*.whl"):
        image = project.build(f"FROM x\nWORKDIR /app\nCOPY *.whl ./\nRUN pip install {argument}\n")
        assert run(image, "local") == "this is local\n"


def test_a_failed_install_ends_with_pips_own_lines_and_leaves_no_environment(project: Project) -> None:
    text = "FROM x\nRUN pip install 'absent>=1'\n"
    for _ in range(2):
        with pytest.raises(InstallError, match=r"(?s)line 2.*No matching distribution found for absent"):
            project.build(text)

    assert not (project.state / "images").exists()


def test_an_interrupted_environment_is_made_anew(project: Project) -> None:
    text = "FROM x\nRUN pip install tiny\n"
    image = project.build(text)
    assert image.venv is not None
    (image.venv / ".complete").unlink()
    (image.venv / "bin" / "tiny").unlink()

    assert ImageStore(project.state).load(image.digest) is None
    assert run(project.build(text), "tiny") == "this is tiny\n"


def test_two_builds_at_once_make_one_environment(project: Project) -> None:
    file = project.put("Dockerfile", "FROM x\nCOPY . /app\nRUN pip install tiny\n")
    said: list[list[str]] = [[], [], []]
    digests: set[str] = set()

    def build(number: int) -> None:
        digests.add(builder.build(project.context, file, project.state, say=said[number].append))

    threads = [threading.Thread(target=build, args=[number]) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(digests) == 1
    assert sum(len(lines) for lines in said) == 1
    image = ImageStore(project.state).load(digests.pop())
    assert image is not None
    assert run(image, "tiny") == "this is tiny\n"
    assert list((project.state / "images").glob("unfinished-*")) == []


def test_pip_does_not_go_through_the_embedded_aws(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    handed_on = build_variables.forwarded()
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(project.context / "ca.crt"))
    for name, value in handed_on.items():
        monkeypatch.setenv(name, value)

    env = build_variables.step_variables(project.context, project.state, {"PIP_RETRIES": "1"})

    assert env["HTTPS_PROXY"] == "http://proxy.example:3128"
    assert "AWS_CA_BUNDLE" not in env
    assert env["PIP_NO_INDEX"] == "1"  # the user's own settings stay
    assert env["PIP_RETRIES"] == "1"
    monkeypatch.delenv("SANDBOX_USER_HTTPS_PROXY")
    assert "HTTPS_PROXY" not in build_variables.step_variables(project.context, project.state, {})


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ("pip install a", ("a",)),
        ("pip3.12 --quiet install --user -t /x a --root=/y b", ("--quiet", "a", "b")),
        ("/opt/venv/bin/python -u -m pip install -e . --no-cache-dir", (".",)),
        ("pip install --editable=./x", ("./x",)),
        ("pip install -t/x --target=/y a", ("a",)),
        ("pip download a", None),
        ("pipx install a", None),
        ("python -m piptools sync", None),
        ("echo pip install a", None),
        ("", None),
    ],
)
def test_a_pip_install_is_recognised_and_its_place_left_out(
    words: str, arguments: tuple[str, ...] | None
) -> None:
    assert pip_arguments(words.split()) == arguments


@pytest.mark.parametrize(
    "step",
    [
        "pip install a || true",
        "if x; then pip install a; fi",
        "pip install $(cat a)",
        "(pip install a)",
        "x 'a",
    ],
)
def test_a_step_that_is_not_plainly_pip_is_listed_and_never_half_done(project: Project, step: str) -> None:
    image = project.build(f"FROM x\nRUN {step}\n")

    assert image.venv is None
    assert len(project.said) == 1


def test_separators_in_quotes_do_not_cut_a_step(project: Project) -> None:
    project.build("FROM x\nRUN echo 'a && pip install b; c'\n")

    assert project.said == ["sandbox: not done here: RUN echo 'a && pip install b; c' (line 2)"]


def test_a_file_that_changes_during_the_build_fails_it(project: Project, tmp_path: Path) -> None:
    file = project.put("a.txt", "before")
    tree = Tree({"/": Entry("folder"), "/a.txt": Entry("file", 0o644, file, sha256="0" * 64)})

    with pytest.raises(CopyError, match="changed while the image was built"):
        tree.write(tmp_path)


def test_old_images_go_with_their_environments_and_those_in_use_stay(project: Project) -> None:
    kept = project.build("FROM x\nRUN pip install tiny\n")
    old = project.build("FROM x\nRUN pip install other\n")
    new = project.build("FROM x\n")
    for number, image in enumerate((kept, old, new)):
        os.utime(image.root.parent / "config.json", (number, number))
    store = ImageStore(project.state)

    assert store.prune([kept.digest], newest=1) == 1
    assert store.load(old.digest) is None
    assert [store.load(each.digest) for each in (kept, new)] == [kept, new]
    assert kept.venv is not None
    assert old.venv is not None
    assert old.venv.is_dir()  # another clone may use it
    for each in (kept.venv, old.venv):
        os.utime(each / MARKER, (0, 0))
    store.prune([kept.digest], newest=1)
    assert [each.name for each in (project.state / "venvs").iterdir() if each.is_dir()] == [kept.venv.name]


def test_clones_share_the_environments_that_they_build(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    clones = [tmp_path / "one", tmp_path / "two"]
    (project.context / "Dockerfile").write_text("FROM x\nRUN pip install tiny\n")
    said: list[str] = []
    for clone in clones:
        clone.mkdir()
        venv_cache.share(clone)
        digest = builder.build(project.context, project.context / "Dockerfile", clone, say=said.append)
        image = ImageStore(clone).load(digest)
        assert image
        assert image.venv
        assert image.venv.parent == tmp_path / "cache/copilot-sandbox/venvs"
    assert [line for line in said if "pip install" in line] == said[:1]  # the second clone installs nothing
    monkeypatch.setenv("PIP_FIND_LINKS", f"{tmp_path / 'wheels'} {tmp_path}")
    builder.build(project.context, project.context / "Dockerfile", clones[1], say=said.append)
    assert len(said) == 2  # what another index gives is another environment
    assert (tmp_path / "cache/copilot-sandbox").stat().st_mode & 0o077 == 0


def test_environments_stay_with_the_clone_where_the_cache_is_somebody_elses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/copilot-sandbox").symlink_to(tmp_path / "elsewhere")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    venv_cache.share(tmp_path)
    assert venv_cache.venv_folder(tmp_path, "1") == tmp_path / "venvs/1"
    assert list((tmp_path / "elsewhere").iterdir()) == []


TARGET = "FROM python:3\nRUN pip install tiny && pip install {} other\nENV LIBRARIES=/opt/x\nWORKDIR /app\n"
LOOK = """
import importlib.util, os, sys
print("tiny" if importlib.util.find_spec("tiny") else "no tiny")
print("other" if importlib.util.find_spec("other") else "no other")
sys.path.append(os.environ["LIBRARIES"])
import other
other.main()
print(sorted(os.listdir(os.environ["LIBRARIES"])))
"""


@pytest.mark.parametrize("option", ["--target /opt/x", "-t /opt/x", "-t/opt/x", "--target=/opt/../opt/x/"])
def test_a_target_is_apart_from_the_environment(project: Project, option: str) -> None:
    image = project.build(TARGET.format(option))

    assert image.venv
    assert not list(image.venv.glob("lib/*/site-packages/other*"))
    assert list(image.venv.glob("lib/*/site-packages/tiny*"))
    assert (image.root / "opt/x/other.py").resolve().is_relative_to(image.venv / "targets")
    assert image.paths == ("/app", "/opt/x")
    assert project.said[-1] == "sandbox: 2 pip install step(s) done in a new virtual environment"


@pytest.mark.parametrize("way", ["namespace", "loopback"])
def test_a_container_finds_a_target_by_its_variable_and_not_without(
    project: Project, tmp_path: Path, way: Way
) -> None:
    image = project.build(TARGET.format("--target /opt/x"))
    plane = FakeControlPlane()
    plane.wanted = [service(container("web", ("python", "-c", LOOK)))]
    with running_agent(plane, tmp_path / "agent", way, image=image):
        until(lambda: len(plane.lines("web")) >= 4)
    assert plane.lines("web")[:3] == ["tiny", "no other", "this is other"]
    assert "'other.py'" in plane.lines("web")[3]


def test_a_target_goes_with_the_stage_that_it_is_copied_from(project: Project) -> None:
    image = project.build(
        "FROM python:3 AS build\nWORKDIR /deps\nRUN pip install --target . tiny\n"
        "FROM python:3\nCOPY --from=build /deps /srv/libraries\nCOPY --from=build /deps/tiny.py /srv/\n"
    )

    assert (image.root / "srv/libraries/tiny.py").read_text().startswith("def main")
    assert not (image.root / "deps").exists()


def test_a_target_that_the_interpreter_looks_in_is_the_environment(project: Project) -> None:
    packages = "/usr/local/lib/python3.13/site-packages"
    direct = f"FROM python:3\nRUN pip install --target {packages} tiny\n"
    build = "FROM python:3 AS build\nRUN pip install -t /deps tiny\n"
    for dockerfile in (direct, f"{build}FROM python:3\nCOPY --from=build /deps {packages}\n"):
        assert run(project.build(dockerfile), "tiny") == "this is tiny\n"


def test_what_the_image_has_at_a_target_stays_and_equal_images_have_one_digest(
    project: Project, tmp_path: Path
) -> None:
    project.put("own.py", "own")
    dockerfile = (
        "FROM x\nRUN pip install --target /opt/x tiny\nCOPY own.py /opt/x/tiny.py\nCOPY own.py /opt/x/\n"
    )
    image = project.build(dockerfile)
    project.state = tmp_path / "another"

    assert (image.root / "opt/x/tiny.py").read_text() == "own"
    assert (image.root / "opt/x/own.py").read_text() == "own"
    assert (image.root / "opt/x/bin/tiny").exists()
    assert project.build(dockerfile).digest == image.digest


def test_a_target_is_linked_anew_where_the_environments_have_moved(project: Project, tmp_path: Path) -> None:
    dockerfile = "FROM x\nRUN pip install --target /opt/x tiny\n"
    project.build(dockerfile)
    (project.state / "venvs").rename(tmp_path / "gone")
    shutil.rmtree(tmp_path / "gone")
    (tmp_path / "elsewhere").mkdir()
    (project.state / "venvs").symlink_to(tmp_path / "elsewhere")
    image = project.build(dockerfile)

    assert (image.root / "opt/x/tiny.py").resolve().is_relative_to(tmp_path / "elsewhere")


def test_a_cache_that_the_user_has_removed_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    venv_cache.share(tmp_path)
    shutil.rmtree(tmp_path / "cache")
    venv_cache.share(tmp_path)
    assert (tmp_path / "venvs").is_dir()


@pytest.mark.parametrize(
    ("base", "version"),
    [("nginx:1.27-alpine", "1.27-alpine"), ("public.ecr.aws/nginx/nginx", "latest"),
     ("nginxinc/nginx-unprivileged:1.27@sha256:0", "1.27")],
)  # fmt: skip
def test_what_is_built_from_nginx_starts_as_nginx_does(project: Project, base: str, version: str) -> None:
    image = project.build(f"FROM {base}\nCOPY Dockerfile /etc/nginx/conf.d/default.conf\n")
    assert image.env["NGINX_VERSION"] == version
    assert (image.entrypoint, image.cmd) == (("docker-entrypoint.sh",), ("nginx", "-g", "daemon off;"))


def test_what_is_only_called_like_nginx_is_none(project: Project) -> None:
    assert "NGINX_VERSION" not in project.build("FROM my-nginx:1\n").env
