"""Mistakes in a Dockerfile beside a manifest, which hadolint does not report."""

from __future__ import annotations

from pathlib import Path

import pytest

from copilot_testenv.check import beside, instructions
from tests.check.projects import with_manifest

WEB = "name: web\ntype: Load Balanced Web Service\nimage: {build: Dockerfile, port: 8000}\n"


def found(workspace: Path, dockerfile: str, more: str = "") -> list[tuple[str, int, str, str]]:
    (workspace / "Dockerfile").write_text(dockerfile)
    project = with_manifest(workspace, WEB + more)
    told = (*instructions.wrong(project), *beside.images(project))
    return [(one.path, one.line, one.rule, one.instead) for one in told]


@pytest.mark.parametrize(
    ("text", "line", "rule", "instead"),
    [
        ("FROM a\nEXPOES 8000\n", 2, "instruction", "write `EXPOSE`"),
        ("FROM a\nRUN b \\\n  && c\nWORKDIRR /app\n", 4, "instruction", "write `WORKDIR`"),
        ("FROM a\nCMD ['b', 'c']\n", 2, "instruction", "write double quotes"),
        ("FROM a\nCOPY --link b\n", 2, "instruction", "write it as in `COPY b ./`"),
        ("FROM a AS build\nFROM b\nCOPY --chown=1 --from=biuld /a /a\n", 3, "stage", "write `build`"),
    ],
)
def test_a_misspelt_instruction_or_stage_is_found_at_its_line(
    workspace: Path, text: str, line: int, rule: str, instead: str
) -> None:
    ((path, at, name, cure),) = found(workspace, text)
    assert (path, at, name) == ("Dockerfile", line, rule)
    assert cure.startswith(instead)


@pytest.mark.parametrize(
    "text",
    [
        "# syntax=docker/dockerfile:1\nfrom a as build\nonbuild run b\nMAINTAINER c\n",
        "FROM a\nRUN <<END\nEXPOES 1\n  cat <<'x'\nEND\nRUN <<-'A' cat > b && c <<B\nUSR 1\n\tA\nUSR 2\nB\n",
        "FROM a AS build\nCOPY --from=nginx:1.29 /a /a\nCOPY --from=BUILD /a /a\nCOPY --from=0 /a /a\n",
        'FROM a\nCOPY $FILES\nADD b c /d/\nCOPY ["b", "c"]\nCOPY <<E\nx\nE\n',
        'FROM a\nCMD [ -f \'b\' ] && c\nENTRYPOINT ["b", "it\'s"]\n',
        "# escape=`\nFROM a\nRUN b `\nEXPOES\n",
        "FROM a\nRUN b \\\n  # EXPOES\n  c\n",
        "",
    ],
)
def test_what_a_build_takes_has_no_finding(workspace: Path, text: str) -> None:
    assert found(workspace, text) == []


@pytest.mark.parametrize(
    ("command", "more", "places"),
    [
        ("gunicorn --bind 127.0.0.1:8000 app", "", [("Dockerfile", 2)]),
        ("gunicorn --bind=localhost:8000 app", "", [("Dockerfile", 2)]),
        ('["uvicorn", "--host", "127.0.0.1", "--port", "8000", "app"]', "", [("Dockerfile", 2)]),
        ("gunicorn --bind 0.0.0.0:8000 app", "command: gunicorn -b 127.0.0.1:8000 app\n", [(None, 4)]),
        ("gunicorn --bind 127.0.0.1:8000 app", "command: gunicorn -b 0.0.0.0:8000 app\n", []),
        ("gunicorn --bind 127.0.0.1:8000 app", "sidecars: {nginx: {image: nginx, port: 80}}\n", []),
        ("gunicorn --bind 0.0.0.0:8000 --forwarded-allow-ips=127.0.0.1 app", "", []),
        ("gunicorn --bind 127.0.0.1:8000 --bind 0.0.0.0:8000 app", "", []),
    ],
)
def test_a_server_that_nothing_outside_of_the_task_reaches_is_found(
    workspace: Path, command: str, more: str, places: list[tuple[str | None, int]]
) -> None:
    told = found(workspace, f"FROM a\nCMD {command}\n", more)
    expected = [(path or "copilot/web/manifest.yml", line) for path, line in places]
    assert [(path, line) for path, line, rule, _ in told if rule == "port"] == expected
