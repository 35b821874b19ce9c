"""The files for CI systems: lawful, and nothing but the tasks' own commands."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from invoke.parser import Parser

from copilot_testenv.core import git
from copilot_testenv.core.process import RealShell
from tests.ci_files import FILES, TEMPLATES, invocations
from tests.clone import IDENTITY, ROOT
from tests.test_tasks import collection

# Only these deploy, or tear down, and so need a token for AWS.
DEPLOYING = {"deploy", "teardown", "sweep"}
WORKFLOW = TEMPLATES / "github/.github/workflows/test-environment.yml"
COMMENTS = WORKFLOW.with_name("test-environment-comments.yml")
PREPARE = TEMPLATES / "github/.github/actions/prepare/action.yml"


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ("vendor.github-workflows", WORKFLOW),
        ("vendor.github-workflows", COMMENTS),
        ("vendor.github-actions", PREPARE),
        ("vendor.github-workflows", ROOT / ".github/workflows/tests.yml"),
        ("vendor.github-workflows", ROOT / ".github/workflows/nightly.yml"),
        ("vendor.gitlab-ci", TEMPLATES / "gitlab/.gitlab-ci.yml"),
        ("vendor.bitbucket-pipelines", TEMPLATES / "bitbucket/bitbucket-pipelines.yml"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_each_file_passes_the_systems_own_schema(schema: str, path: object) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", FILES)
def test_each_system_has_its_jobs_in_one_call_each(name: str) -> None:
    found = [shlex.split(line.split(" > ")[0]) for line in invocations(name)]
    wake = [] if name.startswith("github/") else ["wake"]  # there a comment wakes
    assert sorted(words[1] for words in found) == ["check", "deploy-test", "teardown", "teardown", *wake]
    assert ["--expired" in words for words in found].count(True) == 1
    for words in found:
        context = Parser(contexts=collection().to_contexts()).parse_argv(
            words[1:]
        )  # raises where a flag is unknown
        assert context[0].name == words[1]
        assert ("--wait" in words) == (words[1] != "check")
        assert ("--yes" in words) == (words[1] == "teardown")


def test_no_file_names_a_key_of_aws() -> None:
    for name in FILES:
        assert not re.search("AWS_(ACCESS_KEY_ID|SECRET_ACCESS_KEY)", (TEMPLATES / name).read_text())


def test_what_somebody_typed_never_stands_in_a_line_that_a_shell_reads() -> None:
    for line in (WORKFLOW.read_text() + COMMENTS.read_text()).splitlines():
        if line.strip().startswith(("run:", "- run:")):
            assert "${{" not in line


def test_no_job_leaves_the_credentials_of_its_checkout_where_a_build_could_read_them() -> None:
    checkouts = [
        step
        for job in (jobs() | jobs(COMMENTS)).values()
        for step in job["steps"]
        if "checkout" in step.get("uses", "")
    ]
    assert len(checkouts) == 5
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)
    lines = yaml.safe_load((TEMPLATES / "gitlab/.gitlab-ci.yml").read_text())["deploy-test"]["script"]
    token_gone = lines.index('git remote set-url origin "$CI_PROJECT_URL.git"')
    assert token_gone < next(number for number, line in enumerate(lines) if "deploy-test" in line)


def test_each_job_has_the_least_permissions_and_forks_get_none_of_them() -> None:
    workflow = yaml.safe_load(WORKFLOW.read_text())
    assert workflow["permissions"] == {}
    assert set(jobs()) == {"check", *DEPLOYING}
    for name, job in jobs().items():
        wanted = {"contents": "read"}
        if name in DEPLOYING:
            wanted |= {"id-token": "write", "pull-requests": "write", "deployments": "write"}
        assert job["permissions"] == wanted, name
    # `on` is YAML's `true`. With pull_request_target a fork's code would run with this repository's rights.
    assert set(workflow[True]) == {"workflow_dispatch", "pull_request", "schedule"}
    assert jobs()["deploy"]["if"] == "github.event_name == 'workflow_dispatch'"
    assert "head.repo.full_name == github.repository" in jobs()["teardown"]["if"]
    assert "secrets." not in WORKFLOW.read_text()


def test_a_comment_is_judged_before_any_step_reads_its_values_and_no_step_has_its_text() -> None:
    workflow = yaml.safe_load(COMMENTS.read_text())
    assert workflow["permissions"] == {}
    assert workflow[True] == {"issue_comment": {"types": ["created"]}}
    (job,) = workflow["jobs"].values()
    assert "github.event.issue.pull_request" in job["if"]
    assert """'["OWNER", "MEMBER", "COLLABORATOR"]'""" in job["if"]
    steps = job["steps"]
    assert "ref" not in steps[0]["with"]  # the default branch, also where the pull request is another's
    judged = next(number for number, step in enumerate(steps) if step.get("id") == "comment")
    assert steps[judged]["run"] == "copilot-testenv comment"
    tasks = steps[judged + 1 : -1]
    assert all("steps.comment.outputs" not in str(step) for step in steps[: judged + 1])
    assert {step["if"] for step in tasks} == {
        f"steps.comment.outputs.task == '{task}'" for task in ("deploy", "wake", "teardown", "extend")
    }
    for step in steps:
        assert "github.event.comment" not in str(step)
    assert "secrets." not in COMMENTS.read_text()
    for line in re.findall(r"run: (invoke .+)", COMMENTS.read_text()):
        (context,) = Parser(contexts=collection().to_contexts()).parse_argv(shlex.split(line)[1:])
        assert context.name in {"deploy-test", "wake", "teardown", "extend", "status"}


@pytest.mark.parametrize(("exists", "flag"), [(True, " --expired"), (False, "")])
def test_gitlabs_stop_deletes_what_has_not_expired_only_where_the_branch_is_gone(
    tmp_path: Path,
    exists: bool,  # noqa: FBT001 - a parameter
    flag: str,
) -> None:
    file = yaml.safe_load((TEMPLATES / "gitlab/.gitlab-ci.yml").read_text())
    deploy, stop = file["deploy-test"], file["stop"]
    assert deploy["environment"]["on_stop"] == "stop"
    assert stop["extends"] == "teardown"
    assert file["teardown"]["environment"] == {"name": deploy["environment"]["name"], "action": "stop"}
    assert deploy["environment"]["auto_stop_in"] == "$DEPLOY_AUTO_STOP_IN"
    assert deploy["variables"]["DEPLOY_AUTO_STOP_IN"] == "never"  # GitLab refuses an empty time
    origin, clone, programs = (tmp_path / name for name in ("origin", "clone", "programs"))
    run_git("init", "--quiet", "--initial-branch=main", str(origin))
    run_git("-C", str(origin), "commit", "--quiet", "--allow-empty", "--message", "main")
    if exists:
        run_git("-C", str(origin), "branch", "feature/x")
    run_git("clone", "--quiet", "--branch", "main", str(origin), str(clone))
    programs.mkdir()
    (programs / "invoke").write_text('#!/bin/sh\necho "$*"\n')
    (programs / "invoke").chmod(0o755)
    done = subprocess.run(
        ["bash", "-ec", "\n".join(stop["script"])],
        cwd=clone,
        env={"PATH": f"{programs}:{os.environ['PATH']}", "CI_COMMIT_BRANCH": "feature/x"},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == f"teardown --branch feature/x{flag} --wait --yes\n"


def test_the_page_is_written_where_it_has_an_address_and_its_failure_fails_no_job(tmp_path: Path) -> None:
    gitlab = yaml.safe_load((TEMPLATES / "gitlab/.gitlab-ci.yml").read_text())
    bitbucket = yaml.safe_load((TEMPLATES / "bitbucket/bitbucket-pipelines.yml").read_text())
    scripts = [gitlab[name]["script"] for name in ("deploy-test", "wake", "teardown", "stop", "sweep")]
    scripts += [steps[-1]["step"]["script"] for steps in bitbucket["pipelines"]["custom"].values()]
    (tmp_path / "invoke").write_text('#!/bin/sh\necho "$*"; exit 3\n')
    (tmp_path / "invoke").chmod(0o755)
    written = ["status --html s3://acme/$(id)", "The page was not written."]
    for script in scripts:
        for page, told in (("s3://acme/$(id)", written), ("", [])):
            done = subprocess.run(
                ["bash", "-ec", script[-1]],
                env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "STATUS_PAGE": page},
                check=True, capture_output=True, text=True,
            )  # fmt: skip
            assert done.stdout.splitlines() == told
    for job in (jobs() | jobs(COMMENTS)).values():
        page = job["steps"][-1]
        if "check" not in str(job["steps"][-1]["run"]):
            assert page["run"] == 'invoke status --html "$STATUS_PAGE"'
            assert page["continue-on-error"] is True
            assert "vars.STATUS_PAGE != ''" in page["if"]


def test_the_branch_is_there_without_credentials(tmp_path: Path) -> None:
    """Of a checkout of all branches, whose origin cannot be asked any more."""
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    run_git("init", "--quiet", "--initial-branch=main", str(origin))
    for name in ("main", "-odd", "feature/x"):
        run_git("-C", str(origin), "commit", "--quiet", "--allow-empty", "--message", name)
        run_git("-C", str(origin), "update-ref", f"refs/heads/{name}", "HEAD")
    run_git("clone", "--quiet", str(origin), str(clone))
    run_git("-C", str(clone), "remote", "set-url", "origin", "/nowhere")
    (line,) = [step["run"] for step in jobs()["deploy"]["steps"] if "git " in step.get("run", "")]
    for name in ("feature/x", "main"):
        subprocess.run(["bash", "-ec", line], cwd=clone, env={**os.environ, "BRANCH": name}, check=True)
        found = git.find(RealShell(), clone, name)
        assert found.commit == run_git("-C", str(origin), "rev-parse", f"refs/heads/{name}")
    for name in ("-odd'; touch x; '", "$(touch x)", "../../x"):
        run = subprocess.run(
            ["bash", "-ec", line],
            cwd=clone,
            env={**os.environ, "BRANCH": name},
            check=False,
            capture_output=True,
        )
        assert run.returncode
    assert not (clone / "x").exists()


def test_gitlabs_job_has_the_branch_and_the_default_one_before_the_token_goes(tmp_path: Path) -> None:
    """GitLab checks out one commit of one branch."""
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    run_git("init", "--quiet", "--initial-branch=trunk", str(origin))
    run_git("-C", str(origin), "commit", "--quiet", "--allow-empty", "--message", "trunk")
    run_git("-C", str(origin), "checkout", "--quiet", "-b", "feature/x")
    run_git("-C", str(origin), "commit", "--quiet", "--allow-empty", "--message", "x")
    commit = run_git("-C", str(origin), "rev-parse", "HEAD")
    run_git("clone", "--quiet", "--depth=1", "--branch=feature/x", f"file://{origin}", str(clone))
    run_git("-C", str(clone), "checkout", "--quiet", "--detach")
    run_git("-C", str(clone), "branch", "--quiet", "--delete", "--force", "feature/x")
    job = yaml.safe_load((TEMPLATES / "gitlab/.gitlab-ci.yml").read_text())["deploy-test"]
    lines = [line for line in job["script"] if line.startswith("git ")]
    given = {"CI_DEFAULT_BRANCH": "trunk", "CI_COMMIT_BRANCH": "feature/x", "CI_COMMIT_SHA": commit}
    subprocess.run(
        ["bash", "-ec", "\n".join(lines)],
        cwd=clone,
        env={**os.environ, **given, "CI_PROJECT_URL": "/nowhere"},
        check=True,
    )
    assert git.find(RealShell(), clone, "feature/x").commit == commit
    trunk = run_git("-C", str(origin), "rev-parse", "trunk")
    assert run_git("-C", str(clone), "rev-parse", "refs/remotes/origin/trunk") == trunk
    assert job["variables"]["DEFAULT_BRANCH"] == "$CI_DEFAULT_BRANCH"
    assert run_git("-C", str(clone), "remote", "get-url", "origin") == "/nowhere.git"


def jobs(workflow: Path = WORKFLOW) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(workflow.read_text())["jobs"]
    return found


def run_git(*words: str) -> str:
    return subprocess.run(
        ["git", *words], check=True, capture_output=True, text=True, env={**os.environ, **IDENTITY}
    ).stdout.strip()


def test_each_action_of_others_is_pinned_to_a_commit() -> None:
    texts = [file.read_text() for file in (WORKFLOW, COMMENTS, PREPARE)]
    used = re.findall(r"uses: (\S+)", "".join(texts))
    others = [action for action in used if not action.startswith("./")]
    assert len(others) >= 5
    assert all(re.search(r"@[0-9a-f]{40}$", action) for action in others)
