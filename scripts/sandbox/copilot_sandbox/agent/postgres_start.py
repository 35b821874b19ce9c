"""The postgres image's entry point: creates the database on first use, then becomes the server."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

from copilot_sandbox.agent import privileges
from copilot_sandbox.agent.filesystem import CLONE_NEWUSER

REFUSED = (
    "postgres does not run as root, and this system lets no other user reach {path}: "
    "run the sandbox as an ordinary user"
)


def drop_root(directory: Path) -> None:
    """Change to a user other than root, which Postgres refuses; that user may still write `directory`.

    In a new user namespace, root's files belong to the mapped user. If the system refuses one, as in a chroot
    and in most containers, change to `nobody` and keep root's right to enter the folders above. If that does
    not suffice, end the process.
    """
    if os.geteuid() != 0:
        return
    nobody = pwd.getpwnam("nobody")  # initdb wants a user that exists
    try:
        privileges.call("unshare", CLONE_NEWUSER)
    except OSError:
        program = shutil.which("postgres")
        os.chown(directory, nobody.pw_uid, nobody.pw_gid)
        privileges.become(nobody.pw_uid, nobody.pw_gid)
        if not can_list(directory):
            sys.exit(REFUSED.format(path=directory))
        if program is not None and not os.access(program, os.X_OK):
            sys.exit(REFUSED.format(path=program))
        return
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/gid_map").write_text(f"{nobody.pw_gid} 0 1")
    Path("/proc/self/uid_map").write_text(f"{nobody.pw_uid} 0 1")


def can_list(directory: Path) -> bool:
    """Return True if this process may list `directory`; `os.access` may not count capabilities."""
    try:
        os.scandir(directory).close()
    except PermissionError:
        return False
    return True


def initialise(data: Path, user: str, database: str) -> None:
    password = os.environ.get("POSTGRES_PASSWORD", "")
    method = os.environ.get("POSTGRES_HOST_AUTH_METHOD", "")
    if not password and method != "trust":
        # The text of docker-library/postgres, docker-entrypoint.sh.
        sys.exit(
            "Error: Database is uninitialized and superuser password is not specified.\n"
            "       You must specify POSTGRES_PASSWORD to a non-empty value for the superuser."
        )
    if method == "trust" and os.environ.get("SANDBOX_HOST"):
        sys.exit(
            "POSTGRES_HOST_AUTH_METHOD=trust is unsafe: this system gives a task no network of its own, so "
            "every user of this machine could connect. Set POSTGRES_PASSWORD in its place."
        )
    options = ["--encoding=UTF8", "--locale=C.UTF-8", f"--username={user}", "--no-sync", "--no-instructions"]
    receiver, sender = os.pipe()
    os.write(sender, f"{password or 'none'}\n".encode())
    os.close(sender)
    subprocess.run(
        ["initdb", "-D", data, *options, "--auth=scram-sha-256", f"--pwfile=/dev/fd/{receiver}"],  # noqa: S607 -- on the container's own PATH
        check=True,
        pass_fds=[receiver],
    )
    os.close(receiver)
    with (data / "pg_hba.conf").open("a") as rules:
        rules.write(f"host all all all {method or 'scram-sha-256'}\n")
    if method == "trust":
        (data / "pg_hba.conf").write_text("host all all all trust\n")
    if database != "postgres":
        name = database.replace('"', '""')
        subprocess.run(
            ["postgres", "--single", "-D", data, "postgres"],  # noqa: S607 -- on the container's own PATH
            input=f'CREATE DATABASE "{name}"\n'.encode(),
            check=True,
            stdout=subprocess.DEVNULL,
        )


def main(arguments: list[str]) -> None:
    """Run `arguments`, by default the server. Create the server's database if there is none."""
    argv = list(arguments)
    if not argv or argv[0].startswith("-"):
        argv.insert(0, "postgres")
    if argv[0] != "postgres":
        os.execvp(argv[0], argv)  # noqa: S606 -- an entry point executes its arguments
    data = Path(os.environ["PGDATA"])
    data.mkdir(parents=True, exist_ok=True)
    data.chmod(0o700)
    drop_root(data)
    user = os.environ.get("POSTGRES_USER") or "postgres"
    if not (data / "PG_VERSION").exists():
        try:
            initialise(data, user, os.environ.get("POSTGRES_DB") or user)
        except subprocess.CalledProcessError as error:
            sys.exit(
                f"the database could not be made: {error.cmd[0]} ended with exit code {error.returncode}"
            )
    listen = os.environ.get("SANDBOX_HOST") or "*"
    # No socket file, because its path would be too long. No fsync, because the data is deleted with the task.
    settings = [
        f"listen_addresses={listen}",
        "unix_socket_directories=",
        "fsync=off",
        "logging_collector=off",
    ]
    argv += ["-D", str(data), *(word for each in settings for word in ("-c", each))]
    os.execvp(argv[0], argv)  # noqa: S606 -- an entry point executes its arguments
