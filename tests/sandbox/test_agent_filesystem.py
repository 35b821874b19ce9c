"""The file system of a container that runs as a process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.sandbox.fake_control_plane import require

ENTER = """
import sys
from pathlib import Path
from copilot_sandbox.agent import filesystem
filesystem._ETC = tuple(each for each in filesystem._ETC if each != "hosts")  # as on a machine without one
filesystem.enter(filesystem.Shown(filesystem.interpreter(), [], [], sys.argv[1]), network=True)
print(Path("/etc/hosts").read_text())
"""


def test_localhost_has_an_address_in_a_container_also_where_the_machine_has_no_hosts_file(
    tmp_path: Path,
) -> None:
    require("namespace")
    done = subprocess.run(
        [sys.executable, "-c", ENTER, str(tmp_path)], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.stdout.splitlines()[:1] == ["127.0.0.1 localhost"], done.stderr
