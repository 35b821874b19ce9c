"""Copies in processes of their own, which a test may kill: each job comes as a line of JSON on stdin.

They are forked of one process that has imported what they need: that takes as long as a small copy.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from contextlib import closing
from typing import Any

import psycopg

from django_testenv.stage_copy import streams
from django_testenv.stage_copy.database import Database, reason
from django_testenv.stage_copy.options import Options
from django_testenv.stage_copy.problems import CopyError, Failed
from django_testenv.stage_copy.transfer import Copy, Receipt


class Telling:
    """A progress that prints what it is told."""

    def say(self, line: str) -> None:
        tell("say", line)

    def phase(self, name: str, *, total: int = 0) -> None:
        assert total >= 0
        tell("phase", name)

    def advance(self, *, amount: int, rows: int = 0) -> None:
        assert amount >= 0
        assert rows >= 0


def main() -> None:
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            try:
                tell("pid", str(os.getpid()))
                os._exit(carry_out(json.loads(line)))
            except BaseException:  # noqa: BLE001  a forked process must not go on here
                traceback.print_exc()
                os._exit(1)
        _, status = os.waitpid(pid, 0)
        tell("end", str(os.waitstatus_to_exitcode(status)))


def carry_out(job: dict[str, Any]) -> int:
    """Run the job, and tell of an error what the command tells; the exit code."""
    began = time.monotonic()
    try:
        how = run(job).how
    except CopyError as error:
        tell("error", f"{type(error).__name__}: {error}")
        return error.exit_code
    except psycopg.Error as error:
        tell("error", f"{type(error).__name__}: a server failed: {reason(error)}")
        return Failed.exit_code
    except OSError as error:
        tell("error", f"{type(error).__name__}: this machine failed: {error}")
        return Failed.exit_code
    tell("how", how, f"{time.monotonic() - began:.3f}")
    return 0


def run(job: dict[str, Any]) -> Receipt:
    source = Database("stage", job["source"]).read_only()
    target = Database("default", job["target"])
    maintenance = target.named("postgres")
    options = Options.read(job["setting"], key="made-up")
    streams._PIECE = job["piece"] or streams._PIECE
    with closing(maintenance.connect()) as server:
        copy = Copy(source, target, maintenance, server, options, job["release"], Telling())
        return copy.run(lambda: None, lambda: closing(source.connect()), fresh=job["fresh"])


def tell(*words: str) -> None:
    os.write(sys.stdout.fileno(), f"{' '.join(words)}\n".encode())  # whole lines, whoever else writes


if __name__ == "__main__":
    main()
