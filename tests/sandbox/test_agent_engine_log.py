"""The output of an engine's container, as its log has it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from copilot_sandbox.agent import engine_log

WRITER = """
import sys, time
with open(sys.argv[1], "ab", buffering=0) as log:
    one = b"T stdout F one\\nT stderr F bad\\nT stdout P tw"
    two = b"o, \\nT stdout F x \\xff \\nT stdout F \\n"
    for part in (one, two, b"x\\n"):
        log.write(part)
        time.sleep(0.2)
    log.write(b"T stdout P " + b"y" * 100_000 + b"\\nT stdout P last\\n")
"""


def test_both_streams_are_written_with_their_whole_lines_until_the_writer_ends(tmp_path: Path) -> None:
    log = tmp_path / "ctr.log"
    log.touch()
    with subprocess.Popen([sys.executable, "-I", "-c", WRITER, str(log)]) as writer:
        reader = subprocess.Popen(
            engine_log.command(str(log), writer.pid), env={}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        started = time.monotonic()
        while writer.poll() is None:
            time.sleep(0.01)
        out, err = reader.communicate(timeout=10)
    assert out == b"one\ntwo, x \xff \n\n" + b"y" * 100_000 + b"last"
    assert err == b"bad\n"
    assert reader.returncode == 0
    assert time.monotonic() - started < 5


def test_a_log_that_was_removed_with_its_container_is_empty(tmp_path: Path) -> None:
    done = subprocess.run(
        engine_log.command(str(tmp_path / "none"), 1), env={}, capture_output=True, check=True, timeout=10
    )
    assert (done.stdout, done.stderr) == (b"", b"")
