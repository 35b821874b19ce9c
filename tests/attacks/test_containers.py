"""What a branch's own code tries from its container, and from a step of its build."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from copilot_sandbox.agent import confined, listeners, runner
from copilot_sandbox.agent.confined import confined as in_confinement
from copilot_sandbox.agent.listeners import Listener
from copilot_sandbox.agent.namespace import Way
from copilot_sandbox.images import venvs
from copilot_sandbox.images.tree import Tree, file_of
from tests.sandbox.fake_control_plane import (
    FakeControlPlane,
    balanced,
    completed,
    container,
    grouped,
    python,
    running_agent,
    server,
    service,
    until,
)

walled = pytest.mark.skipif(
    confined.obstacle() is not None, reason="this system has no namespaces for a file system of its own"
)
PLANTED = "planted-8d1f0c"
# Every line prints what an attack got; `-` where it got nothing.
SCRIPT = r"""
import ctypes, glob, json, os, pathlib, signal, socket, stat, sys
home, secret, project, owner = sys.argv[1:5]
found = {}

def attack(name):
    def run(function):
        try:
            got = function()
        except (OSError, ValueError) as error:
            got = None
        found[name] = got
    return run

@attack("read a file of the home")
def _(): return open(home + "/secret").read()

@attack("list the home")
def _(): return os.listdir(home)

@attack("read the sandbox's own secrets")
def _(): return open(secret).read()

@attack("list the folder around them")
def _(): return os.listdir(os.path.dirname(secret))

@attack("read the checkout's settings")
def _(): return open(project + "/.env").read() + str(os.listdir(project + "/.git"))

@attack("read the password file")
def _(): return open("/etc/shadow").read()

@attack("read the machine's keys")
def _(): return os.listdir("/etc/ssh")

@attack("find a daemon's socket")
def _():
    paths = [path for folder in ("run", "var/run", "tmp", "var/lib") for path in glob.glob(f"/{folder}/**")]
    return [path for path in paths if stat.S_ISSOCK(os.stat(path).st_mode)]

@attack("read others' environments")
def _():
    got = []
    for path in glob.glob("/proc/[0-9]*/environ"):
        try:
            text = open(path, "rb").read()
        except OSError:
            continue
        got += [path] if b"PLANTED_IN_THE_SERVER" in text else []
    return got

@attack("see other processes")
def _(): return [each for each in glob.glob("/proc/[0-9]*") if int(each[6:]) > 50]

@attack("end the server")
def _():
    os.kill(int(owner), 0)
    return "there"

@attack("read another process's memory")
def _(): return open("/proc/1/mem", "rb").read(1).decode()

for place in ("/", "/usr/bin", "/etc", "/opt", "/root", home, project, "/proc/sys/kernel", "/dev", "/sys"):
    @attack("write in " + place)
    def _(place=place):
        path = place.rstrip("/") + "/planted"
        if place == "/proc/sys/kernel":
            path = place + "/core_pattern"
        with open(path, "w") as file:
            file.write("|/evil")
        return path

@attack("make a device")
def _():
    os.mknod("/tmp/disk", 0o60600, os.makedev(8, 0))
    return "made"

library = ctypes.CDLL(None, use_errno=True)

def called(result):
    return "done" if result == 0 else None

@attack("mount")
def _(): return called(library.mount(b"none", b"/usr", b"tmpfs", 0, None))

@attack("make the system writable again")
def _(): return called(library.mount(b"none", b"/usr", None, 0x20 | 0x1000, None))

@attack("take the system's mount away")
def _(): return called(library.umount2(b"/usr", 2))

@attack("take up privileges again")
def _(): return None if "NoNewPrivs:\t1" in open("/proc/self/status").read() else "may"

@attack("reach the machine's loopback")
def _():
    socket.create_connection(("127.0.0.1", int(sys.argv[5])), 2)
    return "reached"

@attack("open a raw socket")
def _(): return str(socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))

pathlib.Path("/tmp/mine").write_text("x")
pathlib.Path("mine").write_text("x")
found["near miss: own files"] = os.path.exists("/tmp/mine") and os.path.exists("mine")
found["near miss: a child"] = os.system("exec true") == 0
found["near miss: devices"] = len(open("/dev/urandom", "rb").read(4)) == 4
print(json.dumps(found), flush=True)
"""


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """All attacks, run once in a container of a task."""
    folder = tmp_path_factory.mktemp("attacked")
    home, state, project = folder / "home", folder / "project/.sandbox", folder / "project"
    for each in (home, state, project / ".git"):
        each.mkdir(parents=True)
    for file in (home / "secret", state / "server.json", project / ".env", project / ".git/config"):
        file.write_text(PLANTED)
    server = subprocess.Popen(["sleep", "120"], env={"PLANTED_IN_THE_SERVER": PLANTED})
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        words = python(
            "-c", SCRIPT, str(home), str(state / "server.json"), str(project), str(server.pid), port
        )
        plane = FakeControlPlane(wanted=[service(container("web", words))])
        with running_agent(plane, folder):
            until(lambda: plane.lines("web"), 60)
    server.kill()
    server.wait()
    found: dict[str, object] = json.loads(plane.lines("web")[0])
    return found


ATTACKS = [
    "read a file of the home",
    "list the home",
    "read the sandbox's own secrets",
    "list the folder around them",
    "read the checkout's settings",
    "read the password file",
    "read the machine's keys",
    "find a daemon's socket",
    "read others' environments",
    "see other processes",
    "end the server",
    "read another process's memory",
    "write in /",
    "write in /usr/bin",
    "write in /etc",
    "write in /opt",
    "write in /root",
    "write in /proc/sys/kernel",
    "write in /dev",
    "write in /sys",
    "make a device",
    "mount",
    "make the system writable again",
    "take the system's mount away",
    "take up privileges again",
    "reach the machine's loopback",
    "open a raw socket",
]


@walled
@pytest.mark.parametrize("name", ATTACKS)
def test_a_container_gets_nothing_of_the_machine(attacked: dict[str, object], name: str) -> None:
    assert not attacked[name]


@walled
def test_what_is_a_containers_own_works_and_no_attack_was_forgotten(attacked: dict[str, object]) -> None:
    near = {name: got for name, got in attacked.items() if name.startswith("near miss")}
    assert all(near.values())
    named_by_folder = {name for name in attacked if name.startswith("write in /") and name not in ATTACKS}
    assert set(attacked) - set(near) - named_by_folder == set(ATTACKS)
    assert not any(attacked[name] for name in named_by_folder)
    assert PLANTED not in json.dumps(attacked)


BACK_END = """
import os, sys
def look(*_, **__):
    got = []
    for path in %r:
        try:
            got.append(os.listdir(path) if os.path.isdir(path) else open(path).read())
        except OSError:
            pass
    for path in %r:
        try:
            open(path + "/planted", "w").close()
            got.append(path)
        except OSError:
            pass
    raise SystemExit("GOT " + repr(got))
build_wheel = get_requires_for_build_wheel = prepare_metadata_for_build_wheel = look
"""


@walled
def test_a_back_end_of_a_branchs_own_sees_and_writes_nothing_of_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh/id").write_text(PLANTED)
    monkeypatch.setenv("HOME", str(home))
    reads = [str(home / ".ssh/id"), str(home), "/etc/shadow", "/run", str(Path.cwd() / "README.md")]
    writes = [str(home), "/usr", "/etc", "/", str(Path.cwd())]
    project = '[build-system]\nrequires = []\nbuild-backend = "back"\nbackend-path = ["."]\n'
    tree = Tree()
    tree.put("/evil/pyproject.toml", file_of(project.encode(), 0o644))
    tree.put("/evil/back.py", file_of((BACK_END % (reads, writes)).encode(), 0o644))
    install = venvs.Install(("/evil",), "/", tree, {}, 3)
    with pytest.raises(venvs.InstallError) as caught:
        venvs.make_venv(tmp_path / "state/venvs/one", [install], pip_cache=tmp_path / "state/pip")
    # A step has a /tmp of its own: where the checkout lies in /tmp, a folder of its name may be there.
    allowed = [str(Path.cwd())] if Path(tempfile.gettempdir()) in Path.cwd().parents else []
    assert f"GOT {allowed}" in str(caught.value) or "GOT []" in str(caught.value)
    assert [each for each in writes if (Path(each) / "planted").exists()] == []


@walled
def test_a_dockerfiles_variable_shows_pip_no_more_of_the_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    users = {"PIP_FIND_LINKS": f"{tmp_path} https://pypi.example/simple /", "PIP_CONFIG_FILE": "/dev/null"}
    assert venvs._sources(users) == [tmp_path]
    shown: list[Path] = []

    @contextmanager
    def seen(words: list[str], *, readable: list[Path], writable: list[Path]) -> Iterator[list[str]]:
        shown.extend((*readable, *writable))
        yield words

    monkeypatch.setattr(venvs, "confined", seen)
    monkeypatch.setattr(venvs, "_run", lambda *_: None)
    install = venvs.Install(("x",), "/", Tree(), {"PIP_FIND_LINKS": "/root", "PIP_CERT": "/root/.ssh"}, 1)
    venvs._install(tmp_path / "s/venvs/one", install, users, tmp_path / "s/pip")
    assert tmp_path in shown
    assert not [each for each in shown if Path("/root") in (each, *each.parents)]
    assert venvs._own_folders(tmp_path / "s/pip", {"HOME": str(Path.home())}) == []


@walled
def test_a_step_ends_as_its_command_does_and_leaves_nobody(tmp_path: Path) -> None:
    code = "import os, sys, time\nif os.fork() == 0: time.sleep(60)\nsys.exit(7)"
    with in_confinement([sys.executable, "-c", code], readable=[], writable=[tmp_path]) as words:
        done = subprocess.run(words, cwd=tmp_path, check=False, timeout=30)
    assert done.returncode == 7


def test_where_there_are_no_namespaces_a_step_runs_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confined, "obstacle", lambda: "Operation not permitted")
    with in_confinement(["true"], readable=[], writable=[]) as words:
        assert words == ["true"]


# Listeners that other machines reach.

LISTEN = """
import socket, sys, time
family, kind, address = sys.argv[1:4]
opened = socket.socket(getattr(socket, family), getattr(socket, kind))
opened.bind((address, int(sys.argv[4])))
if kind == "SOCK_STREAM":
    opened.listen()
print("open", flush=True)
time.sleep(60)
"""


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port below those that the system gives to clients."""
    for port in range(21_000, 22_000):
        with socket.socket(socket.AF_INET, kind) as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")


def own_address() -> str:
    """An address of this machine's that others reach, where it has one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no network")
        address: str = asked.getsockname()[0]
        return address


@pytest.mark.parametrize(
    ("family", "kind", "address"),
    [
        ("AF_INET", "SOCK_STREAM", ""),
        ("AF_INET6", "SOCK_STREAM", "::"),
        ("AF_INET", "SOCK_DGRAM", ""),
        ("AF_INET6", "SOCK_DGRAM", "::"),
        ("AF_INET", "SOCK_STREAM", "this machine's"),
    ],
)
def test_a_listener_that_other_machines_reach_is_stopped(
    tmp_path: Path, family: str, kind: str, address: str
) -> None:
    if family == "AF_INET6" and not Path("/proc/net/tcp6").exists():
        pytest.skip("this machine has no IPv6")
    address = own_address() if address == "this machine's" else address
    port = free_port()
    plane = FakeControlPlane(
        wanted=[service(container("web", python("-c", LISTEN, family, kind, address, str(port))))]
    )
    with running_agent(plane, tmp_path, "loopback"):
        until(lambda: any(each.status == "STOPPED" for each in plane.history), 30)
        reason = next(each.stopped_reason for each in plane.history if each.status == "STOPPED") or ""
    assert f":{port}" in reason
    assert f"--bind 0.0.0.0:{port}" in reason
    assert "\n" not in reason
    assert reason in plane.lines("web")


@pytest.mark.parametrize(
    ("family", "kind", "address", "port"),
    [
        ("AF_INET", "SOCK_STREAM", "0.0.0.0", 0),  # noqa: S104 - another address is put in its place
        ("AF_INET", "SOCK_STREAM", "localhost", 0),
        ("AF_INET6", "SOCK_STREAM", "::1", 0),
        ("AF_INET", "SOCK_DGRAM", "127.0.0.1", 0),
        ("AF_INET", "SOCK_DGRAM", "", 0),  # a client that only sends
    ],
)
def test_near_misses_go_on(tmp_path: Path, family: str, kind: str, address: str, port: int) -> None:
    words = python("-c", LISTEN, family, kind, address, str(port))
    plane = FakeControlPlane(wanted=[service(container("web", words))])
    with running_agent(plane, tmp_path, "loopback") as agent:
        until(lambda: plane.lines("web"), 30)
        agent._close_exposed()
        assert not any(task.exposed for task in agent._tasks())


@pytest.mark.parametrize("way", ["namespace", "loopback"])
def test_a_deployed_service_listens_on_loopback_only(tmp_path: Path, way: Way) -> None:
    if way == "namespace" and runner.probe()[0] != "namespace":
        pytest.skip("this system has no network namespaces")
    before = set(listeners._suspects())
    plane = FakeControlPlane(
        wanted=[service(container("web", server(), ports=(8000,)), load_balancing=balanced())],
        groups=grouped(),
    )
    with running_agent(plane, tmp_path, way) as agent:
        until(lambda: completed(agent), 60)
        assert set(listeners._suspects()) <= before


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="setpriv takes root's rights away"
)
def test_without_the_right_to_namespaces_a_task_has_a_loopback_address_and_it_is_said() -> None:
    code = (
        "from copilot_sandbox.agent import confined, runner\n"
        "print(runner.probe()[0], bool(confined.obstacle()))"
    )
    done = subprocess.run(
        ["setpriv", "--bounding-set=-sys_admin", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["loopback", "True"], done.stderr


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("0.0.0.0", True),  # noqa: S104 - nothing binds to it
        ("::", True), ("10.0.0.7", True), ("fe80::1%eth0", True), ("::ffff:10.0.0.7", True),
        ("127.0.0.1", False), ("127.83.1.2", False), ("::1", False), ("::ffff:127.0.0.1", False),
    ],
)  # fmt: skip
def test_which_addresses_others_reach(address: str, *, expected: bool) -> None:
    assert listeners.is_open(address) is expected


def test_the_line_names_the_port_and_what_to_write() -> None:
    assert "tcp [::]:8000" in listeners.advice(Listener("tcp", "::", 8000))
