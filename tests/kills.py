"""Kills of each kind of process at random moments, and what the next command makes of them.

`python -m tests.kills --count 60 --seed 7` prints each kill, a table of what came of them, and the slowest.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from copilot_sandbox.postgres import PostgresServer
from copilot_sandbox.state import State
from tests.clone import Clone, Ran, get_json

VICTIMS = ("invoke", "server", "copilot", "postmaster", "backend", "redis", "container")
WORK = {
    "deploy": ("deploy-test", "--branch", "main", "--force"),
    "copy": ("copy-db", "--yes"),
    "teardown": ("teardown", "--yes"),
    "idle": (),
}
DEPLOY = ("deploy-test", "--branch", "main", "--wait")
DOCUMENTED = {0, 2, 3, 4, 5, 130}
LIMIT = 60.0  # seconds for the next command
HELD = 5  # another run's lease stands, also that of a run which was killed a moment ago
FORGOTTEN = 25.0  # seconds after which nobody's turn stands in the way of the next kill any more
PATIENCE = 180.0  # for whatever was under way when something was killed
COMBINATIONS = [
    (work, victim)
    for work, victim in itertools.product(WORK, VICTIMS)
    if work != "idle" or victim not in {"invoke", "copilot"}
]


@dataclass
class Outcome:
    """What came of one kill; times in seconds."""

    work: str
    victim: str
    after: float  # from the start of the work to the kill
    ended: int | None = None  # the code of what was under way; None: it was killed itself, or there was none
    ending: float = 0.0
    code: int = 0  # of the next command
    seconds: float = 0.0
    served: float = 0.0  # from the kill until a deploy had gone through
    words: str = ""  # the last line of the next command, where it did not succeed
    wrong: tuple[str, ...] = ()

    def __str__(self) -> str:
        ended = "-" if self.ended is None else str(self.ended)
        return (
            f"{self.work:<9}{self.victim:<11}{self.after:6.1f}  {ended:>3} {self.ending:6.1f}  "
            f"{self.code:>3} {self.seconds:6.1f} {self.served:6.1f}  {'; '.join(self.wrong) or 'ok'}"
        )


HEAD = (
    "work     victim    killed at  it ended   next        served  judged\n"
    + " " * 21
    + ("(s)  code    (s) code    (s)    (s)")
)


class Arena:
    """A clone with a deployment, in which processes are killed."""

    def __init__(self, clone: Clone, temporary: Path) -> None:
        self.clone = clone
        self.temporary = temporary
        self.state = State(clone.folder)
        self.durations = {"deploy": 6.0, "copy": 5.0, "teardown": 5.0, "idle": 1.0}

    def start(self, *words: str) -> subprocess.Popen[str]:
        return self.clone.start(*words, TMPDIR=str(self.temporary))

    def invoke(self, *words: str, limit: float = PATIENCE) -> Ran:
        return self._end(self.start(*words), limit)

    @staticmethod
    def _end(process: subprocess.Popen[str], limit: float) -> Ran:
        """See a command to its end; code -9 where it takes longer than the limit."""
        begun = time.monotonic()
        try:
            out, err = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
        return Ran(process.returncode, out, err, time.monotonic() - begun)

    def kill(self, work: str, victim: str, draw: random.Random) -> Outcome:
        """Kill a process of that kind while that work is done, and judge what comes after."""
        self.prepare(work)
        begun = time.monotonic()
        process = self.start(*WORK[work]) if WORK[work] else None
        time.sleep(draw.uniform(0.3, 0.9 * self.durations[work]) if process else draw.uniform(0, 1))
        found = self._find(victim, process, draw)
        killed = time.monotonic()
        outcome = Outcome(work, victim, killed - begun)
        if found is None:
            outcome.victim = f"({victim})"  # it was not there any more
        else:
            with suppress(psutil.NoSuchProcess):
                found.kill()
        if process:
            ran = self._end(process, PATIENCE)
            if victim != "invoke" or found is None:
                outcome.ended, outcome.ending = ran.code, ran.seconds
                outcome.wrong += tuple(_judge(ran, PATIENCE, "what was under way"))
                if found is None and ran.code == 0:
                    self.durations[work] = ran.seconds + killed - begun
        ran = self.invoke(*(WORK[work] or DEPLOY), limit=2 * LIMIT)
        outcome.code, outcome.seconds = ran.code, ran.seconds
        outcome.words = ran.err.strip().splitlines()[-1] if ran.code else ""
        outcome.wrong += tuple(_judge(ran, LIMIT, "the next command"))
        if work != "teardown" or ran.code:
            last = ran if ran.code == 0 and work != "copy" else self.invoke(*DEPLOY, limit=2 * LIMIT)
            outcome.served = time.monotonic() - killed
            if last.code or get_json(last.out.strip() + "/status.json")["branch"] != "main":
                outcome.wrong += (f"not served (code {last.code}): {last.err.strip()[-300:]}",)
        outcome.wrong += tuple(self.orphans())
        if outcome.code == HELD:
            time.sleep(max(0, killed + FORGOTTEN - time.monotonic()))
        return outcome

    def prepare(self, work: str) -> None:
        if work == "deploy":
            self.invoke("sandbox")
            return
        ran = self.invoke(*DEPLOY)
        if ran.code:
            raise RuntimeError(f"nothing to kill: {ran.err}")

    def _find(
        self, victim: str, process: subprocess.Popen[str] | None, draw: random.Random
    ) -> psutil.Process | None:
        """A process of that kind; one that is not there yet is waited for while the work lasts."""
        end = time.monotonic() + 20
        while time.monotonic() < end:
            with suppress(psutil.Error):
                if found := self._of_kind(victim, process):
                    return draw.choice(found)
            if process and process.poll() is not None and victim in {"invoke", "copilot"}:
                return None
            time.sleep(0.01)
        return None

    def _of_kind(self, victim: str, process: subprocess.Popen[str] | None) -> list[psutil.Process]:
        if victim == "invoke":
            return [psutil.Process(process.pid)] if process and process.poll() is None else []
        if victim == "copilot":
            children = psutil.Process(process.pid).children(recursive=True) if process else []
            return [each for each in children if each.name() == "copilot"]
        running = self.state.running()
        return self._of_server(victim, psutil.Process(running.pid)) if running else []

    @staticmethod
    def _of_server(victim: str, server: psutil.Process) -> list[psutil.Process]:
        if victim == "server":
            return [server]
        if victim == "container":
            return [each for each in server.children(recursive=True) if "SANDBOX_TASK" in _environ(each)]
        children = server.children()
        if victim == "redis":
            return [each for each in children if each.name().startswith(("valkey", "redis"))]
        postmasters = [each for each in children if each.name() == "postgres"]
        if victim == "postmaster":
            return postmasters
        backends = [each for postmaster in postmasters for each in postmaster.children()]
        return [each for each in backends if "[local]" in " ".join(each.cmdline())] or backends

    def orphans(self) -> list[str]:
        """What is left that nobody owns: processes, worktrees, temporary folders, half-made images."""
        end = time.monotonic() + 15  # for those who are just about to end
        while (found := [*self._processes(), *self._folders()]) and time.monotonic() < end:
            time.sleep(0.2)
        return found

    def _processes(self) -> Iterator[str]:
        running = self.state.running()
        data = str(PostgresServer(self.state.folder).data.resolve())
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.status() == psutil.STATUS_ZOMBIE:
                    continue
                environ = _environ(process)
                ours = (
                    environ.get("SANDBOX_OWNER") == str(self.state.folder)
                    or environ.get("TMPDIR") == str(self.temporary)
                    or (process.name().startswith("postgres") and process.cwd() == data)
                )
                owners = {each.pid for each in [process, *process.parents()]}
                if ours and not (running and running.pid in owners):
                    yield f"orphan {process.pid} {' '.join(process.cmdline())[:80]}"

    def _folders(self) -> Iterator[str]:
        expected, owned = {".gitignore", "lock"}, {"copilot-testenv", "copilot-sandbox"}
        for parent in (
            self.clone.folder / ".worktrees",
            self.temporary,
            self.state.folder / "images/unfinished",
            *self.temporary.glob("copilot-*"),
        ):
            for each in parent.glob("*"):
                if each.name not in expected and each.name.rsplit("-", 1)[0] not in owned:
                    yield f"left {each}"
        tasks = {
            environ.get("SANDBOX_TASK") for environ in map(_environ, psutil.process_iter())
        }  # of this clone and of others
        for each in (self.state.folder / "tasks").glob("*"):
            if each.name not in tasks:
                yield f"left {each}"


def _environ(process: psutil.Process) -> dict[str, str]:
    try:
        found: dict[str, str] = process.environ()
    except (psutil.Error, OSError):
        return {}
    return found


def _judge(ran: Ran, limit: float, what: str) -> Iterator[str]:
    if ran.seconds > limit or ran.code == -9:
        yield f"{what} took {ran.seconds:.0f} s"
    if ran.code not in DOCUMENTED:
        yield f"{what} ended with {ran.code}: {ran.err.strip()[-300:]}"
    if "Traceback" in ran.err or "error in these tasks" in ran.err:
        yield f"{what} broke: {ran.err.strip()[-500:]}"
    if ran.code in DOCUMENTED - {0} and not ran.err.strip():
        yield f"{what} said nothing"


def rounds(count: int, seed: int) -> list[tuple[str, str]]:
    """So many combinations, each about as often as another, in a random order."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    found: list[tuple[str, str]] = []
    while len(found) < count:
        found += draw.sample(COMBINATIONS, len(COMBINATIONS))
    return found[:count]


def arena(folder: Path) -> Arena:
    """A clone with a deployed branch, below `folder`."""
    for name in ("clone", "temporary"):
        (folder / name).mkdir()
    made = Arena(Clone(folder / "clone", is_light=True), folder / "temporary")
    made.clone.stage_megabytes = 5
    made.prepare("copy")
    return made


def main(words: Sequence[str]) -> int:
    """Return 1 where something went wrong after a kill."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(2)))
    asked = parser.parse_args(words)
    print(f"{asked.count} kills, --seed {asked.seed}\n\n{HEAD}", flush=True)  # noqa: T201 - its output
    draw = random.Random(asked.seed)  # noqa: S311 - no secret
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        made = arena(Path(name))
        try:
            with suppress(KeyboardInterrupt):  # it ends with the table of what there is so far
                for work, victim in rounds(asked.count, asked.seed):
                    outcomes.append(made.kill(work, victim, draw))
                    print(outcomes[-1], flush=True)  # noqa: T201 - its output
                    if outcomes[-1].words:
                        print(f"         {outcomes[-1].words[:200]}", flush=True)  # noqa: T201 - its output
        finally:
            made.clone.stop()
        left = made.orphans()
    print(_summary(outcomes, left))  # noqa: T201 - its output
    return int(bool(left) or any(each.wrong for each in outcomes))


def _summary(outcomes: Sequence[Outcome], left: Sequence[str]) -> str:
    good = [each for each in outcomes if not each.wrong]
    lines = [
        "",
        "victim      kills  next succeeded  next said what to do  wrong  slowest next (s)  served (s)",
    ]
    for victim in VICTIMS:
        of_kind = [each for each in outcomes if each.victim == victim]
        if not of_kind:
            continue
        lines.append(
            f"{victim:<12}{len(of_kind):>5}{sum(not each.code for each in of_kind):>16}"
            f"{sum(bool(each.code) for each in of_kind):>22}{sum(bool(each.wrong) for each in of_kind):>7}"
            f"{max(each.seconds for each in of_kind):>18.1f}{max(each.served for each in of_kind):>12.1f}"
        )
    missed = sum(each.victim.startswith("(") for each in outcomes)
    lines.append(f"{len(good)} of {len(outcomes)} as they should be; {missed} found nobody of that kind.")
    lines += [f"After the reset: {each}" for each in left]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
