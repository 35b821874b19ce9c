"""Programs that a command calls and that are not there are named when the task starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from copilot_sandbox.agent.missing_programs import missing
from copilot_sandbox.model import Image
from tests.sandbox.fake_control_plane import (
    FakeControlPlane,
    container,
    make_image,
    running_agent,
    service,
    until,
)

PATH = "/usr/bin:/bin"
SCRIPT = """#!/bin/bash
# qqnothing is a comment; qqnothing
set -e
start() { qqinner run; }
while ! qqwait db 5432; do sleep 1; done
case "$1" in
  web|qqbeat) start ;;
  other) echo "; qqtext" ;;
esac
if command -v qqasked >/dev/null; then qqasked; fi
cat <<EOF
qqhere is a text
EOF
A=1 B=2 qqset \\
  qqargument | qqpiped || true
VALUE=$(qqinside x)
exec qqlast "$@"
"""


@pytest.fixture
def image(tmp_path: Path) -> Image:
    root = tmp_path / "image"
    (root / "app/bin").mkdir(parents=True)
    (root / "app/bin/qqown").touch()
    for name, text in {
        "entry.sh": SCRIPT,
        "reads.sh": "#!/bin/sh\n. ./functions\nqqfunction\n",
        "starts.sh": "#!/bin/sh\n./entry.sh\n",
        "long.sh": "#!/bin/sh\nqqlong\n" + "true\n" * 2000,
    }.items():
        (root / "app" / name).write_text(text)
    return make_image(root, env={"PATH": "/app/bin:/usr/bin"}, workdir="/app")


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["qqnone", "--flag"], ["qqnone"]),
        (["/app/none"], []),
        (["sh", "-c", "qqaws s3 cp a b && exec qqown"], ["qqaws"]),
        (["/bin/bash", "-euc", "cd /app; qqnode x.js & wait"], ["qqnode"]),
        (["sh", "-c", "python manage.py migrate || qqmail 'it; qqfailed'"], ["qqmail"]),
        (["./entry.sh"], ["qqinner", "qqwait", "qqset", "qqpiped", "qqinside", "qqlast"]),
        (["starts.sh"], ["qqinner", "qqwait", "qqset", "qqpiped", "qqinside", "qqlast"]),
        (["./reads.sh"], []),
        (["./long.sh"], []),
        ([], []),
    ],
)
def test_only_programs_that_are_called_and_not_there_are_named(
    image: Image, tmp_path: Path, words: list[str], names: list[str]
) -> None:
    (tmp_path / "python").touch(mode=0o755)
    assert [name for name in missing(words, image, f"{PATH}:{tmp_path}") if name.startswith("qq")] == names


def test_a_running_container_says_what_its_command_will_miss(plane: FakeControlPlane, tmp_path: Path) -> None:
    plane.wanted = [service(container("web", ("sh", "-c", "sleep 60 && qqaws s3 ls")))]
    with running_agent(plane, tmp_path, "loopback"):
        (task,) = until(lambda: [each for each in plane.live() if each.status == "RUNNING"])
        assert task.containers[0].reason is not None
        assert task.containers[0].reason.startswith("it calls qqaws, which this machine does not have: ")
