"""A build installs what pip is told to, into the image's own environment."""

from __future__ import annotations

import hashlib

import pytest

from copilot_sandbox.images import build_variables
from copilot_sandbox.images.pip_commands import pip_arguments
from copilot_sandbox.images.venvs import InstallError
from tests.sandbox.builds import Project, files, make_source_archive, make_wheel, run

pytestmark = pytest.mark.usefixtures("_no_index")


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


def test_requirements_that_powershell_wrote_in_utf_16_are_installed(project: Project) -> None:
    project.put("base.txt", "tiny\n")
    project.put("requirements.txt").write_text("-r base.txt\nother\n", encoding="utf-16")
    image = project.build("FROM x\nCOPY *.txt ./\nRUN pip install -r requirements.txt\n")
    assert run(image, "tiny") + run(image, "other") == "this is tiny\nthis is other\n"


def test_a_wheel_that_pip_builds_of_a_source_archive_is_kept_in_the_clones_cache(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_CACHE_DIR")
    make_source_archive(project.context.parent / "wheels", "built")

    image = project.build("FROM x\nRUN pip install built\n")

    assert run(image, "built") == "this is built\n"
    assert [each.name for each in (project.state / "pip").rglob("*.whl")] == ["built-1.0-py3-none-any.whl"]


@pytest.mark.nightly
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


@pytest.mark.nightly
def test_a_requirements_file_may_be_mounted_instead_of_copied(project: Project) -> None:
    project.put("requirements.txt", "tiny\n")

    image = project.build(
        "FROM x\nWORKDIR /app\nRUN --mount=type=bind,source=requirements.txt,target=requirements.txt \\\n"
        "  python -m pip install -r requirements.txt\n"
    )

    assert run(image, "tiny") == "this is tiny\n"
    assert files(image) == []


@pytest.mark.nightly
def test_a_package_that_cannot_be_built_here_is_told_with_its_own_reason_and_what_to_do(
    project: Project,
) -> None:
    system = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    project.put("pyproject.toml", system)
    project.put("backend.py", "def build_wheel(*_):\n    raise OSError('no header mysql.h')\n")
    with pytest.raises(InstallError) as failed:
        project.build("FROM x\nWORKDIR /app\nCOPY . .\nRUN pip install .\n")
    last = str(failed.value).splitlines()[-1]
    assert "no header mysql.h. A package has no wheel here" in last
    assert "no apt-get is carried out" in last


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
    ("step", "shown"),
    [
        ("if unknown-program; then pip install a; fi", "pip install a"),
        ("pip install $(unknown-program)", "pip install $(unknown-program)"),
        ("x 'a; pip install b", "x 'a; pip install b"),
        ("conda install -y a", "conda install -y a"),
        ("find . -name r.txt -exec pip install -r {} +", "find . -name r.txt -exec pip install -r {} +"),
        ("some-program | pip install -r /dev/stdin", "pip install -r /dev/stdin"),
        ("apt-get install -y libpq-dev python3-psycopg2", "apt-get install -y libpq-dev python3-psycopg2"),
        ("while true; do pip install a; done", "while true; do pip install a; done"),
    ],
)
def test_a_step_that_would_have_installed_packages_is_named_with_its_line(
    project: Project, step: str, shown: str
) -> None:
    image = project.build(f"FROM x\nRUN {step}\n")

    assert image.venv is None
    assert f"sandbox: line 2 installed nothing here: `{shown}`: " in project.said[-1]


@pytest.mark.parametrize(("version", "is_of_python"), [("1.0", True), ("2.0", False)])
def test_a_version_that_does_not_exist_is_not_blamed_on_this_python(
    project: Project, version: str, *, is_of_python: bool
) -> None:
    page = '<a href="newer-1.0-py3-none-any.whl" data-requires-python="&gt;=3.99">newer</a>'
    project.put("wheels/index.html", page)
    with pytest.raises(InstallError, match=f"requirement newer=={version}") as caught:
        project.build(
            "FROM python:3\nCOPY wheels /wheels\n"
            f"RUN pip install --no-index --find-links=/wheels/index.html newer=={version}\n"
        )
    assert "require a different python version: 1.0" in str(caught.value)
    assert ("; the sandbox " in str(caught.value)) is is_of_python


@pytest.mark.nightly
def test_an_install_that_may_fail_is_said_when_it_does(project: Project) -> None:
    image = project.build("FROM x\nRUN pip install absent || true\nRUN (pip install tiny)\n")

    assert run(image, "tiny") == "this is tiny\n"
    assert project.said[0].startswith(
        "sandbox: line 2: an install that the Dockerfile allows to fail: `pip install absent` failed"
    )


def test_separators_in_quotes_do_not_cut_a_step(project: Project) -> None:
    project.build("FROM x\nRUN echo 'a && pip install b; c'\n")

    assert project.said == []
