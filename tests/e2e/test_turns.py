"""Whose turn it is, and for how long: several people and processes want the one slot."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.ci_files import FILES, invocations
from tests.clone import Clone, Ran, get_json
from tests.e2e.looks import containers, deployed, stacks

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]
BOTH_WAYS = True
LIGHT = True
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture(scope="module", autouse=True)
def branch(clone: Clone) -> None:
    """A branch of Ada's, deployed."""
    clone.stage_megabytes = 5
    clone.branch("feature/drop", {"note.txt": "another commit"})
    clone.branch("feature/rename", {"note.txt": "one more"})
    deployed(clone.invoke("deploy-test", "--branch", "feature/rename"))


def test_somebody_elses_live_branch_is_replaced_only_by_take_over(clone: Clone) -> None:
    ran = clone.invoke("deploy-test", "--branch", "main", GITHUB_ACTOR="grace")
    assert ran.code == 5
    assert "ada@example.org has feature/rename" in ran.err
    assert "--take-over" in ran.err
    ran = clone.invoke(
        "deploy-test", "--branch", "main", "--take-over", "--why", "a demo", GITHUB_ACTOR="grace"
    )
    assert get_json(deployed(ran) + "/status.json")["branch"] == "main"
    assert "ada@example.org has feature/rename live in test, and it is replaced" in ran.err
    ran = clone.invoke("deploy-test", "--branch", "feature/drop")
    assert ran.code == 5
    assert "grace has main (a demo) live" in ran.err


def test_of_many_at_once_one_deploys_and_the_others_are_told_who(clone: Clone) -> None:
    clone.branch("feature/rename", {"demo/pause.txt": "10"}, start="feature/rename")
    first = clone.start("deploy-test", "--branch", "feature/rename", "--take-over")
    assert first.stderr
    for line in first.stderr:
        if line.startswith("Deploying"):  # it has the lease
            break
    others = [clone.start("deploy-test", "--branch", "feature/drop") for _ in range(3)]
    for line in first.stderr:
        if " s  starting" in line or " s  copying" in line:  # the stack carries its branch
            break
    waiting = clone.start("extend", "--branch", "feature/rename", "--until", "9d", "--wait")
    for other in others:
        _, said = other.communicate(timeout=60)
        assert other.returncode == 5, said
        assert "ada@example.org, deploying feature/rename since" in said
    _, said = first.communicate(timeout=120)
    assert first.returncode == 0, said
    _, said = waiting.communicate(timeout=60)
    assert waiting.returncode == 0, said
    assert "Waiting for web in test: ada@example.org, deploying feature/rename" in said
    clone.branch("feature/rename", {"demo/pause.txt": "0"}, start="feature/rename")


def test_a_deployments_end_is_moved_without_a_new_task(clone: Clone) -> None:
    (before,) = clone.status()
    running = {process.pid for process in containers(clone)}
    ran = clone.do("extend", "--branch", "feature/rename", "--until", "2099-01-01 12:00", "--json")
    shown = json.loads(ran.out)
    assert shown == {key: before[key] for key in shown} | {"expires_at": "2099-01-01T12:00:00Z"}
    assert clone.invoke("extend", "--branch", "main", "--keep").code == 4
    ran = clone.invoke("extend", "--branch", "feature/rename", "--keep", "--json")
    assert json.loads(ran.out)["expires_at"] is None
    assert {process.pid for process in containers(clone)} == running


def test_a_teardown_of_what_has_expired_leaves_what_has_not(clone: Clone) -> None:
    ran = clone.invoke("teardown", "--expired", "--yes", "--json")
    assert (ran.code, json.loads(ran.out)) == (0, [])
    assert "it stays" in ran.err
    ran = clone.invoke("teardown", "--branch", "main", "--yes", "--json")
    assert (ran.code, json.loads(ran.out)) == (0, [])
    assert "The shared slot carries feature/rename, not main: the slot stays." in ran.err
    code = (
        "import os; from copilot_testenv.aws import Aws\n"
        "Aws(os.environ).change_tags('demo-test-web', {'expires_at': '2026-01-01T00:00:00Z'})"
    )
    subprocess.run([sys.executable, "-c", code], cwd=clone.folder, env=clone.variables(), check=True)
    end = time.monotonic() + 30
    while stacks(clone)["demo-test-web"] != "UPDATE_COMPLETE" and time.monotonic() < end:
        time.sleep(0.2)
    ran = clone.do("teardown", "--expired", "--yes", "--json")
    assert {"kind": "stack", "name": "demo-test-web"} in json.loads(ran.out)[0]["gone"]
    assert "demo-test-web" not in stacks(clone)


def test_the_lines_of_the_ci_files_run_as_they_are_written(clone: Clone) -> None:
    # Lines that differ in nothing but the name of the system's variable are one line.
    name_of_system = r"\$(BITBUCKET|CI_COMMIT)_BRANCH"
    lines = [re.sub(name_of_system, "$BRANCH", line) for name in FILES for line in invocations(name)]
    variables = {"BRANCH": "feature/rename", "WHY": 'it\'s a "test"; $(exit 1)', "CI": "true", "PATH": PATH}
    for line in sorted(dict.fromkeys(lines), key=lambda line: "teardown" in line):
        done = subprocess.run(
            ["bash", "-c", line], cwd=clone.folder, env=clone.environ(**variables),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (line, done.stderr)
        if "deploy-test" in line:
            deployed(Ran(done.returncode, done.stdout, done.stderr, 0))
        elif "wake" in line:
            assert "feature/rename is awake." in done.stderr
        elif "check" in line:
            assert "Nothing is wrong." in done.stderr
        elif "--expired" in line:
            assert "nothing to tear down" in done.stderr or "it stays" in done.stderr
        else:
            assert "demo-test-web" not in stacks(clone)
            assert "Gone: web (feature/rename)" in done.stderr


def test_of_eight_at_once_the_last_winners_branch_is_served_and_the_others_exit_5(clone: Clone) -> None:
    branches = ("main", "feature/rename", "feature/drop")
    runs = [
        clone.start(
            "deploy-test", "--branch", branches[n % 3], "--json", GITHUB_ACTOR=("ada", "grace")[n % 2]
        )
        for n in range(8)
    ]
    ended = [(*run.communicate(timeout=200), run.returncode) for run in runs]
    won = [json.loads(out) for out, _, code in ended if code == 0]
    assert won
    assert {code for _, _, code in ended} == {0, 5}, [said for _, said, code in ended if code not in {0, 5}]
    for _, said, code in ended:
        if code == 5:
            assert (
                "is being changed: " in said
                or "another run is next: " in said
                or "live in test until" in said
            )
    last = max(won, key=lambda one: one["deployed_at"])
    (live,) = clone.status()
    assert (live["branch"], live["deployed_by"]) == (last["branch"], last["deployed_by"])
    assert get_json(live["url"] + "/status.json")["branch"] == last["branch"]


def test_after_a_sigkill_of_the_one_that_deploys_the_next_gets_its_turn(clone: Clone) -> None:
    killed = clone.start("deploy-test", "--branch", "feature/drop", "--take-over", "--force")
    assert killed.stderr
    for line in killed.stderr:
        if " s  starting" in line or " s  copying" in line:
            break
    killed.kill()
    killed.communicate(timeout=30)
    ran = clone.invoke("deploy-test", "--branch", "main", "--wait")
    assert get_json(deployed(ran) + "/status.json")["branch"] == "main"
    assert "Waiting for web in test: ada@example.org, deploying feature/drop" in ran.err


# A lease that lasts three seconds instead of twenty: what sleeps for nine has been silent for too long.
QUICK = (
    "from copilot_testenv.state import lease\n"
    "lease.LIFETIME, lease._RENEWED_EVERY = 3.0, 0.75\n"
    "from invoke.main import program\n"
    "program.run()"
)
ASLEEP = 9.0


def start_quick(clone: Clone, *words: str, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", QUICK, *words],
        cwd=clone.folder, env=clone.importing(**more), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def signal_all(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def asleep(deploy: subprocess.Popen[str], *, with_copilot: bool) -> list[psutil.Process]:
    """Stop a deploy at the moment at which Copilot has begun; the processes that were stopped."""
    assert deploy.stderr
    for line in deploy.stderr:
        if line.startswith("Deploying"):
            break
    ours = psutil.Process(deploy.pid)
    deadline = time.monotonic() + 60
    while not (children := ours.children(recursive=True)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    stopped = [ours, *children] if with_copilot else [ours]
    signal_all(stopped, signal.SIGSTOP)
    return stopped


def changed_at(clone: Clone) -> str:
    code = (
        "import os; from copilot_testenv.aws import Aws\n"
        "aws = Aws(os.environ)\n"
        "print(aws.stack('demo-test-web').changed_at, sorted(aws.image_tags('demo/web')))"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=clone.folder, env=clone.variables(), check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip


@pytest.mark.parametrize(
    "with_copilot",
    [
        pytest.param(True, id="the whole machine"),
        pytest.param(False, id="the task alone", marks=pytest.mark.nightly),
    ],
)
def test_a_deploy_that_slept_with_nobody_else_about_goes_on_and_ends_well(
    clone: Clone, *, with_copilot: bool
) -> None:
    sleeping = start_quick(clone, "deploy-test", "--branch", "main", "--take-over", "--force")
    stopped = asleep(sleeping, with_copilot=with_copilot)
    time.sleep(ASLEEP)
    signal_all(stopped, signal.SIGCONT)
    out, said = sleeping.communicate(timeout=120)
    url = deployed(Ran(sleeping.returncode, out, said, 0))
    assert get_json(url + "/status.json")["branch"] == "main"


def test_a_deploy_that_slept_while_somebody_else_deployed_ends_with_5_and_touches_nothing(
    clone: Clone,
) -> None:
    sleeping = start_quick(clone, "deploy-test", "--branch", "main", "--take-over", "--force")
    stopped = asleep(sleeping, with_copilot=True)
    other = start_quick(
        clone, "deploy-test", "--branch", "feature/rename", "--take-over", "--wait", GITHUB_ACTOR="grace"
    )
    out, said = other.communicate(timeout=120)
    deployed(Ran(other.returncode, out, said, 0))
    before = changed_at(clone)
    signal_all(stopped, signal.SIGCONT)
    _, said = sleeping.communicate(timeout=60)
    assert sleeping.returncode == 5, said
    assert "Nothing further was changed" in said
    assert changed_at(clone) == before
    (live,) = clone.status()
    assert (live["branch"], live["deployed_by"]) == ("feature/rename", "grace")
