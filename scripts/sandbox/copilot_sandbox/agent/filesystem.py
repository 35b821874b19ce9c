"""A file system for the processes of a branch: the system read-only, their own folders, nothing else.

A new root is built from an allow-list: the system's programs and libraries, the few files of /etc that
programs need, and the folders that the caller names. Everything else of the machine is absent: homes,
checkouts, sockets of daemons, the sandbox's own secrets. Paths are the machine's own, so nothing has to
be translated. The processes also have their own PID namespace, so /proc shows no other processes.

This module needs only the standard library and `privileges`: it runs before all others, in a process with
one thread.
Sources: mount_namespaces(7), pivot_root(2), mount_setattr(2), pid_namespaces(7).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import signal
import stat
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from copilot_sandbox.agent import privileges
from copilot_sandbox.agent.privileges import call

if TYPE_CHECKING:
    from collections.abc import Iterable

CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER, CLONE_NEWNET = 0x00020000, 0x20000000, 0x10000000, 0x40000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 1, 2, 4, 8
_MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 0x20, 0x1000, 0x4000, 0x40000
_MNT_DETACH = 2
_MOUNT_SETATTR = 442  # the same number on all of Linux's architectures
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV = 1, 2, 4
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "arm64": 41, "riscv64": 41, "ppc64le": 203, "s390x": 217}
_PR_SET_PDEATHSIG = 1

_SYSTEM = ("/bin", "/lib", "/lib32", "/lib64", "/libx32", "/nix", "/opt", "/sbin", "/usr")
_SYSTEM_FILES = ("/sys/devices/system", "/sys/fs/cgroup")  # tell the number of CPUs and the memory
# Parts of /proc that root without capabilities could change, or that show the whole machine; Docker's list.
# Source: https://github.com/moby/moby/blob/master/daemon/pkg/oci/defaults.go
_PROC_READ_ONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger")
_PROC_HIDDEN = ("kcore", "keys", "latency_stats", "sched_debug", "timer_list", "timer_stats")
_ETC = (
    "ImageMagick-6", "ImageMagick-7", "alternatives", "bash.bashrc", "ca-certificates",
    "ca-certificates.conf", "crypto-policies", "debian_version", "fonts", "gai.conf", "group",
    "host.conf", "hostname",
    "inputrc", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "lsb-release", "locale.conf", "localtime",
    "magic", "mime.types", "nginx", "nsswitch.conf", "os-release", "passwd", "pip.conf", "pki", "profile",
    "protocols", "resolv.conf", "rpc", "services", "shells", "ssl", "terminfo", "timezone", "xdg",
)  # fmt: skip
# A bare system has no hosts file, and localhost then has no address. A container of ECS always has one.
_HOSTS = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
_DEVICES = ("full", "null", "random", "tty", "urandom", "zero")
_LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}


class Shown(NamedTuple):
    """The visible paths besides the system's: absolute paths of folders and files of this machine."""

    readable: list[str]
    writable: list[str]
    hidden: list[str]  # absent even if a system folder contains them: homes, checkouts
    scratch: str  # a folder of the caller; its `tmp` becomes /tmp
    hosts: str = ""  # more lines for /etc/hosts


def interpreter() -> list[str]:
    """Return the folders that this Python needs to run."""
    folders = {sys.prefix, sys.base_prefix}
    link = sys.executable
    while link:
        folders.add(os.path.dirname(os.path.dirname(link)))  # noqa: PTH120 - as text
        target = os.path.join(os.path.dirname(link), os.readlink(link)) if os.path.islink(link) else ""  # noqa: PTH114, PTH115, PTH118, PTH120 - as text
        link = os.path.normpath(target) if target else ""
    homes = {"/", str(Path.home())}
    return sorted(each for each in folders - homes if not _is_below(each, _SYSTEM))


def enter(shown: Shown, *, network: bool) -> None:
    """Continue this process in the new file system. Raises OSError if the system does not allow it.

    The process forks twice. The first parent waits and passes on the exit code. The second parent is process
    1 of the new namespace and reaps orphaned processes. Without `network` the caller already has a network
    namespace and, if it is not root, a user namespace.
    """
    if network:
        _new_user()
    call("unshare", CLONE_NEWNS | CLONE_NEWPID)
    _mount("none", "/", flags=_MS_REC | _MS_PRIVATE)
    child = _fork()
    if child:
        _wait_for_child(child)
    call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    _build(shown)
    child = _fork()
    if child:
        _reap(child)
    privileges.drop()


def _new_user() -> None:
    """Enter a user namespace unless this process is root; there it has the right to mount."""
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        return
    call("unshare", CLONE_NEWUSER)
    # user_namespaces(7): an ordinary user may map only himself, and must give up setgroups first.
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")


def _build(shown: Shown) -> None:
    """Build the new root and enter it. The old root is then unreachable."""
    root, temporary = Path(shown.scratch, "root"), Path(shown.scratch, "tmp")
    for folder in (root, temporary):
        folder.mkdir(exist_ok=True)
    _mount("tmpfs", root, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=755,size=16m")
    for path in (*_SYSTEM, *_SYSTEM_FILES, *(f"/etc/{name}" for name in _ETC)):
        _show(root, path)
    machine = Path("/etc/hosts")
    hosts = machine.read_text(encoding="utf-8", errors="replace") if machine.is_file() else _HOSTS
    (_folder(root, "/etc") / "hosts").write_text(f"{hosts.rstrip()}\n{shown.hosts}", encoding="utf-8")
    for path in shown.hidden:
        if os.path.isdir(path) and _is_below(os.path.realpath(path), _SYSTEM):  # noqa: PTH112 - as text
            _mount(
                "tmpfs", root / os.path.realpath(path).lstrip("/"), "tmpfs", _MS_NOSUID, "mode=755,size=1m"
            )
    _make_devices(root / "dev")
    for path in ("/tmp", "/var/tmp"):  # noqa: S108 - the container's own
        _mount(str(temporary), _folder(root, path), flags=_MS_BIND)
    # Outer folders come first, because mounting them later would hide the inner ones.
    for path in sorted({*shown.readable, *shown.writable}):
        _show(root, path, writable=path in shown.writable)
    _folder(root, "/root")
    _make_proc(root)
    old = root / ".old"
    old.mkdir()
    os.chdir(root)
    number = _PIVOT_ROOT.get(os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, f"this sandbox knows no pivot_root for {os.uname().machine}")
    _syscall(number, os.fsencode(root), os.fsencode(old))
    os.chdir("/")
    call("umount2", b"/.old", _MNT_DETACH)
    Path("/.old").rmdir()
    _mount("none", "/", flags=_MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | _MS_NODEV)


def _make_proc(root: Path) -> None:
    proc = _folder(root, "/proc")
    try:
        _mount("proc", proc, "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    except OSError:
        # Where a container hides parts of its /proc, an ordinary user can't mount a new one. The kernel shows
        # other processes' memory in the old one only to processes that may trace them; here none may.
        _mount("/proc", proc, flags=_MS_BIND | _MS_REC)
    for name in _PROC_READ_ONLY:
        if (proc / name).exists():
            _mount(str(proc / name), proc / name, flags=_MS_BIND | _MS_REC)
            _set_attributes(proc / name, _ATTR_RDONLY)
    for name in _PROC_HIDDEN:
        if (proc / name).exists():
            _mount("/dev/null", proc / name, flags=_MS_BIND)


def _show(root: Path, path: str, *, writable: bool = False) -> None:
    """Make a path of the machine visible in the new root, if it exists."""
    target = root / path.lstrip("/")
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return
    if stat.S_ISLNK(mode) and not writable:
        # /bin → usr/bin, /etc/resolv.conf → ../run/systemd/resolve/stub-resolv.conf
        with contextlib.suppress(FileExistsError):
            _folder(root, os.path.dirname(path))  # noqa: PTH120 - as text
            target.symlink_to(os.readlink(path))  # noqa: PTH115 - as text
        real = os.path.realpath(path)
        if os.path.exists(real) and not _is_below(real, _SYSTEM):  # noqa: PTH110 - as text
            _show(root, real)
        return
    if stat.S_ISDIR(mode):
        _folder(root, path)
    elif not target.exists():  # it exists if a folder around it is already mounted
        _folder(root, os.path.dirname(path))  # noqa: PTH120 - as text
        target.touch()
    # A writable folder is bound without the mounts below it, which would include the new root itself.
    _mount(path, target, flags=_MS_BIND if writable else _MS_BIND | _MS_REC)
    _set_attributes(target, _ATTR_NOSUID | _ATTR_NODEV | (0 if writable else _ATTR_RDONLY))


def _is_below(path: str, folders: Iterable[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def _folder(root: Path, path: str) -> Path:
    folder = root / path.lstrip("/")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _make_devices(folder: Path) -> None:
    folder.mkdir()
    _mount("tmpfs", folder, "tmpfs", _MS_NOSUID, "mode=755,size=64k")
    for name in _DEVICES:
        if os.path.exists(f"/dev/{name}"):  # noqa: PTH110 - as text
            (folder / name).touch()
            _mount(f"/dev/{name}", folder / name, flags=_MS_BIND)
    for name, target in _LINKS.items():
        (folder / name).symlink_to(target)
    shared = folder / "shm"
    shared.mkdir()
    _mount("tmpfs", shared, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=1777,size=64m")
    _mount("none", folder, flags=_MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID)


def _set_attributes(path: Path, attributes: int) -> None:
    wanted = struct.pack("=4Q", attributes, 0, 0, 0)
    _syscall(_MOUNT_SETATTR, _AT_FDCWD, os.fsencode(path), _AT_RECURSIVE, wanted, len(wanted))


def _mount(source: str, target: str | Path, kind: str = "", flags: int = 0, data: str = "") -> None:
    call(
        "mount",
        os.fsencode(source),
        os.fsencode(target),
        kind.encode() or None,
        ctypes.c_ulong(flags),
        data.encode() or None,
    )


def _fork() -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    return os.fork()


def _wait_for_child(child: int) -> None:
    """Wait for the namespace's first process and exit as it did; forward signals to it."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _: os.kill(child, received))
    _close_files()
    _exit_with(os.waitpid(child, 0)[1])


def _reap(child: int) -> None:
    """Do the duty of process 1: reap all ended processes, and exit with the process that does the work."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _: os.kill(child, received))
    _close_files()
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == child:
            _exit_with(status)


def _close_files() -> None:
    """Close all files, because a reader of the working process's output waits for the last holder."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.closerange(3, 65_536)


def _exit_with(status: int) -> None:
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def _syscall(number: int, *arguments: object) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.syscall(ctypes.c_long(number), *arguments) != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"system call {number}: {os.strerror(errno)}")
