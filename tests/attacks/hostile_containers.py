"""Attacks by a branch's code from its container, and variables planted for the steps of its build."""

from __future__ import annotations

import pytest

from copilot_sandbox.agent import confined

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
