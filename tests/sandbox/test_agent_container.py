from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from copilot_sandbox.agent.container import arguments, compose
from copilot_sandbox.agent.task_output import as_in_image
from copilot_sandbox.agent.wire import ContainerSpec
from copilot_sandbox.model import Container, HealthCheck, Image, Mount
from tests.sandbox.fake_control_plane import container, make_image


def composed(
    one: Container, image: Image, host: str | None = None, secrets: dict[str, str] | None = None
) -> ContainerSpec:
    return compose(
        one,
        image,
        directory=Path("/t/web"),
        home=Path("/t/.h0"),
        volumes={"static": Path("/t/volumes/static")},
        secrets=secrets or {},
        owner_env={"SANDBOX_OWNER": "/t"},
        host=host,
        tools=[Path("/pg/bin")],
    )


@pytest.mark.parametrize(
    ("entry_point", "command", "expected"),
    [
        (None, None, ["entry", "cmd"]),
        (None, ("mine",), ["entry", "mine"]),
        (("other",), None, ["other"]),
        (("other",), ("mine",), ["other", "mine"]),
    ],
)
def test_entry_point_and_command_replace_the_images_as_in_docker(
    tmp_path: Path,
    entry_point: tuple[str, ...] | None,
    command: tuple[str, ...] | None,
    expected: list[str],
) -> None:
    image = make_image(tmp_path, entrypoint=("entry",), cmd=("cmd",))
    assert arguments(container("web", command, entry_point=entry_point), image) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/app", "/t/web/root/app"),
        ("/app/manage.py", "/t/web/root/app/manage.py"),
        ("cd /app && python /app/x.py", "cd /t/web/root/app && python /t/web/root/app/x.py"),
        ("--chdir=/app", "--chdir=/t/web/root/app"),
        ("/app/a:/app/b", "/t/web/root/app/a:/t/web/root/app/b"),
        ("sqlite:////app/db.sqlite3", "sqlite:////t/web/root/app/db.sqlite3"),
        ("file:///app/x", "file:///t/web/root/app/x"),
        ("/application", "/application"),
        ("/app-two", "/app-two"),
        ("/srv/app", "/srv/app"),
        ("https://example.org/app", "https://example.org/app"),
        ("me@example.org:/app2", "me@example.org:/app2"),
    ],
)
def test_the_images_paths_are_moved_under_the_containers_root(
    tmp_path: Path, text: str, expected: str
) -> None:
    spec = composed(container("web", ("run", text), environment={"PLACE": text}), make_image(tmp_path))
    assert spec["argv"][1] == expected
    assert spec["env"]["PLACE"] == expected


def test_paths_of_the_image_are_moved_in_the_scripts_that_the_command_starts_and_nowhere_else(
    tmp_path: Path,
) -> None:
    image = make_image(tmp_path / "image", entrypoint=("/app/start.sh",), cmd=("uwsgi", "--ini", "uwsgi.ini"))
    (tmp_path / "secret.sh").write_text("#!/bin/sh\ncd /app\n")
    texts = {
        "start.sh": '#!/bin/sh\n. /app/bin/wait\n/app/link.sh\nexec "$@" --chdir /app\n',
        "bin/wait": "#!/usr/bin/env bash\npython /app/manage.py check\n",
        "uwsgi.ini": "[uwsgi]\nchdir = /app\n",
        "other.sh": "#!/bin/sh\ncd /app\n",
        "manage.py": "#!/usr/bin/env python\nPLACE = '/app'\n",
    }
    for name, text in texts.items():
        file = image.root / "app" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (image.root / "app/link.sh").symlink_to(tmp_path / "secret.sh")
    found = composed(container("web", None), image)["texts"]
    assert found == {
        f"/app/{name}": texts[name].replace("/app", "/t/web/root/app")
        for name in ("start.sh", "bin/wait", "uwsgi.ini")
    }


def test_a_mounted_path_is_moved_and_linked_to_its_volume(tmp_path: Path) -> None:
    one = container("web", ("ls", "/var/data/x"), mounts=(Mount("static", "/var/data", read_only=True),))
    spec = composed(one, make_image(tmp_path))
    assert spec["argv"] == ["ls", "/t/web/root/var/data/x"]
    assert spec["mounts"] == {"/var/data": "/t/volumes/static"}


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ('  File "/t/web/root/app/shop/models.py", line 7', '  File "/app/shop/models.py", line 7'),
        ('File "/venvs/1/lib/python3.11/site-packages/django/x.py"',
         'File "/usr/local/lib/python3.11/site-packages/django/x.py"'),
        ("/t/volumes/static/a.css and /t/web/root", "/var/data/a.css and /"),
        ("/t/web/rooted, /t/volumes/static-2", "/t/web/rooted, /t/volumes/static-2"),
    ],
)  # fmt: skip
def test_a_log_has_the_paths_of_the_image(tmp_path: Path, line: str, shown: str) -> None:
    mounts = (Mount("static", "/var/data", read_only=True),)
    spec = composed(
        container("web", ("x",), mounts=mounts), replace(make_image(tmp_path), venv=Path("/venvs/1"))
    )
    assert as_in_image(line, spec["paths"]) == shown


def test_a_system_directory_is_moved_only_where_the_image_has_the_file(tmp_path: Path) -> None:
    (tmp_path / "usr/local/bin").mkdir(parents=True)
    (tmp_path / "usr/local/bin/start").touch()
    image = make_image(tmp_path, paths=("/usr/local/bin",))
    spec = composed(container("web", ("/usr/local/bin/start", "/usr/local/bin/python3")), image)
    assert spec["argv"] == ["/t/web/root/usr/local/bin/start", "/usr/local/bin/python3"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [(None, "/t/web/root/app"), ("/app/sub", "/t/web/root/app/sub"), ("/new", "/t/web/root/new")],
)
def test_the_working_directory_is_under_the_root(tmp_path: Path, path: str | None, expected: str) -> None:
    spec = composed(container("web", ("true",), working_directory=path), make_image(tmp_path))
    assert spec["cwd"] == expected


def test_an_image_without_workdir_starts_at_its_root(tmp_path: Path) -> None:
    assert composed(container("web", ("true",)), make_image(tmp_path, workdir=""))["cwd"] == "/t/web/root"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("localhost", "127.9.8.7"),
        ("redis://localhost:6379/0", "redis://127.9.8.7:6379/0"),
        ("0.0.0.0:8000", "127.9.8.7:8000"),
        ("--bind=127.0.0.1:80", "--bind=127.9.8.7:80"),
        ("redis://:pw@localhost/1", "redis://:pw@127.9.8.7/1"),
        ("localhost.localdomain", "localhost.localdomain"),
        ("mylocalhost", "mylocalhost"),
        ("localhost-dev", "localhost-dev"),
        ("10.0.0.0.0", "10.0.0.0.0"),
        ("127.0.0.10", "127.0.0.10"),
        ("1127.0.0.1", "1127.0.0.1"),
        ("Connect to localhost.", "Connect to 127.9.8.7."),
    ],
)
def test_localhost_becomes_the_tasks_address_as_a_whole_host_only(
    tmp_path: Path, text: str, expected: str
) -> None:
    spec = composed(
        container("web", ("run", text), environment={"PLACE": text}),
        make_image(tmp_path),
        host="127.9.8.7",
        secrets={"SECRET": text},
    )
    assert spec["argv"][1] == spec["env"]["PLACE"] == spec["env"]["SECRET"] == expected


def test_in_a_namespace_localhost_stays(tmp_path: Path) -> None:
    spec = composed(container("web", ("run", "localhost")), make_image(tmp_path))
    assert spec["argv"] == ["run", "localhost"]


@pytest.mark.parametrize(
    "value",
    [
        "postgres://me:localhost@/db?host=%2Ftmp%2Fx",
        "postgres://me:localhost@/db?host=/tmp/x",
        "unix:///run/localhost",
    ],
)
def test_a_secret_that_names_a_unix_socket_is_never_changed(tmp_path: Path, value: str) -> None:
    spec = composed(
        container("web", ("run",)), make_image(tmp_path), host="127.9.8.7", secrets={"DATABASE_URL": value}
    )
    assert spec["env"]["DATABASE_URL"] == value


def test_who_may_call_is_no_address_to_connect_to(tmp_path: Path) -> None:
    one = container("web", ("run",), environment={"DJANGO_ALLOWED_HOSTS": "localhost"})
    assert composed(one, make_image(tmp_path), host="127.9.8.7")["env"]["DJANGO_ALLOWED_HOSTS"] == "localhost"


def test_the_images_programs_come_before_the_tools_and_the_systems(tmp_path: Path) -> None:
    image = make_image(
        tmp_path, venv=Path("/venvs/1"), env={"PATH": "/app/bin:/usr/bin"}, paths=("/app", "/app/bin")
    )
    path = composed(container("web", ("run",)), image)["env"]["PATH"].split(":")
    assert path[:3] == ["/venvs/1/bin", "/t/web/root/app/bin", "/pg/bin"]
    assert "/usr/bin" in path[3:]


def test_the_manifests_variables_win_over_the_images_and_the_mark_over_all(tmp_path: Path) -> None:
    one = container("web", ("run",), environment={"A": "manifest", "SANDBOX_OWNER": "forged"})
    env = composed(one, make_image(tmp_path, env={"A": "image", "B": "image"}))["env"]
    assert (env["A"], env["B"], env["SANDBOX_OWNER"]) == ("manifest", "image", "/t")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("CMD-SHELL", "test -f /app/x || exit 1"), ["/bin/sh", "-c", "test -f /t/web/root/app/x || exit 1"]),
        (("CMD", "curl", "localhost"), ["curl", "127.9.8.7"]),
        (("curl", "x"), ["curl", "x"]),
    ],
)
def test_a_health_check_is_run_as_docker_would(
    tmp_path: Path, command: tuple[str, ...], expected: list[str]
) -> None:
    one = container("web", ("run",), health_check=HealthCheck(command))
    check = composed(one, make_image(tmp_path), host="127.9.8.7")["health"]
    assert check is not None
    assert check["argv"] == expected


def test_a_health_check_of_none_is_none(tmp_path: Path) -> None:
    one = container("web", ("run",), health_check=HealthCheck(("NONE",)))
    assert composed(one, make_image(tmp_path))["health"] is None
