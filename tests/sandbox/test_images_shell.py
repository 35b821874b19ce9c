"""The shell text of a RUN step is walked through as a shell would, and no program is run."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copilot_sandbox.images import shell
from copilot_sandbox.images.shell_steps import Command, Interpreter, Outcome
from copilot_sandbox.images.tree import Tree, file_of

VARIABLES = {"ENV": "production", "EMPTY": "", "LIST": "a b", "HOME": "/root"}
FILES = {
    "/app/requirements.txt": "django\n",
    "/app/requirements/base.txt": "",
    "/app/requirements/dev.txt": "",
}


def walked(text: str) -> tuple[list[tuple[str, ...]], list[str]]:
    """What is certain to be run, in words, and what is not, as it is written."""
    tree = Tree()
    for path, content in FILES.items():
        tree.put(path, file_of(content.encode()))
    certain: list[tuple[str, ...]] = []
    other: list[str] = []

    def execute(command: Command) -> Outcome:
        if command.words and command.certain:
            certain.append(command.words)
        else:
            other.append(command.text)
        return Outcome(assumed=command.words[:1] != ("mark",))

    Interpreter("/app", (tree,), dict(VARIABLES), execute).run(shell.parse(text))
    return certain, other


def marks(text: str) -> list[str]:
    return [words[1] for words in walked(text)[0] if words[0] == "mark"]


words = st.sampled_from(
    ["a", "production", '"$ENV"', "$ENV", "'$ENV'", '"${NONE:-a}"', '"$EMPTY"', "${ENV}x"]
)
tests = st.one_of(
    st.sampled_from(
        ["true", "false", ":", "[ -f requirements.txt ]", "[ -d requirements ]", "[ ! -f absent ]"]
    ),
    st.builds("[ {} = {} ]".format, words, words),
    st.builds("test {} != {}".format, words, words),
    st.builds("[ -z {} ]".format, words),
    st.builds("[ -n {} ]".format, words),
    st.sampled_from(["[ 2 -gt 1 ]", "[ 2 -le 1 ]", "! false", "! [ 1 -eq 1 ]"]),
)
marked = st.builds("mark {}".format, st.integers(0, 99))
scripts = st.recursive(
    st.one_of(tests, marked),
    lambda inner: st.one_of(
        st.builds("{} && {}".format, tests, inner),
        st.builds("{}; {}".format, inner, inner),
        st.builds("{}\n{}".format, inner, inner),
        st.builds("( {} )".format, inner),
        st.builds("{{ {}; }}".format, inner),
        st.builds("if {}; then {}; else {}; fi".format, tests, inner, inner),
        st.builds("if {}; then {}; elif {}; then {}; fi".format, tests, inner, tests, inner),
        st.builds("for x in {} {}; do {}; mark $x; done".format, words, words, inner),
        st.builds("case {} in prod*) {} ;; a|b) {} ;; *) mark 7 ;; esac".format, words, inner, inner),
        st.builds("{} || {}".format, tests, marked),
    ),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shell")
    for path, content in FILES.items():
        (root / path.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        (root / path.lstrip("/")).write_text(content)
    return root / "app"


@given(script=scripts)
def test_what_can_be_decided_is_decided_as_the_shell_does(script: str, folder: Path) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f"mark() {{ printf '%s\\n' \"$1\"; }}\n{script}"],
        cwd=folder, env=VARIABLES, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert marks(script) == done.stdout.splitlines()


@given(text=st.text(alphabet="ab $(){}[]&|;<>'\"`\\\n#=if then fi", max_size=60))
def test_any_text_is_walked_through_or_refused(text: str) -> None:
    try:
        walked(text)
    except shell.ShellError:
        return


@given(
    words=st.lists(
        st.text(min_size=1, max_size=10).filter(lambda text: "\0" not in text), min_size=1, max_size=4
    )
)
def test_quoted_words_arrive_as_they_are(words: list[str]) -> None:
    assert walked(f"mark {shlex.join(words)}")[0] == [("mark", *words)]


@pytest.mark.parametrize(
    "text",
    [
        "if command -v apk; then mark 1; fi",
        "if some-program; then mark 1; fi",
        "[ -f /etc/debian_version ] && mark 1",
        'test "$(some-program)" = a && mark 1',
        'X=$(some-program); [ -n "$X" ] && mark 1',
        "case $(some-program) in a) mark 1 ;; esac",
        "grep -q a b || mark 1",
    ],
)
def test_what_depends_on_the_machine_is_not_decided(text: str) -> None:
    certain, other = walked(text)

    assert ("mark", "1") not in certain
    assert "mark 1" in other


def test_variables_files_and_folders_of_the_step_are_known() -> None:
    assert marks(
        "set -ex; export A=1; B=$A$A; mark $B; cd requirements; for f in *.txt; do mark $f; done; "
        'echo django==5 > r.txt; mark "$(cat r.txt)"; (cd /; A=2); mark $A; cp base.txt all.txt; '
        "[ -f all.txt ] && mark copied; mark $(test $ENV = production && echo --only main); "
        'mark x$(test "$ENV" = dev && echo y)'
    ) == ["11", "base.txt", "dev.txt", "django==5", "1", "copied", "--only", "x"]  # fmt: skip


def test_simple_changes_of_files_are_done_and_others_handed_on() -> None:
    done = "mkdir -p new/below && cp requirements.txt new && chmod +x new/requirements.txt && touch new/a"
    tests = "[ -d new/below ] && [ -f new/requirements.txt ] && [ -e new/a ] && mark yes"
    assert marks(f"{done}; {tests}") == ["yes"]
    assert walked(f"{done}; cp -r a b; chmod +x absent; mkdir -m 7 b")[0] == [
        ("cp", "-r", "a", "b"),
        ("chmod", "+x", "absent"),
        ("mkdir", "-m", "7", "b"),
    ]


@pytest.mark.parametrize(
    "step",
    [
        "chmod +x *.sh below/*.sh",
        "chmod -R 755 /app",
        "chmod -R a+rx .",
        "chmod u=rwx,go=rx a.sh below/b.sh",
        "sed -i 's/\\r$//g' a.sh && chmod ug+x a.sh below/b.sh",
    ],
)
def test_scripts_become_executable_in_the_ways_that_dockerfiles_have(step: str) -> None:
    tree = Tree()
    for path in ("/app/a.sh", "/app/below/b.sh"):
        tree.put(path, file_of(b"#!/bin/sh\r\n"))
    left: list[str] = []

    def execute(command: Command) -> Outcome:
        left.append(command.text)
        return Outcome()

    Interpreter("/app", (tree,), {}, execute).run(shell.parse(step))

    assert left == []
    assert [tree.entries[path].mode & 0o111 for path in ("/app/a.sh", "/app/below/b.sh")] == [0o111] * 2
    assert (tree.entries["/app/a.sh"].text() == "#!/bin/sh\n") == ("sed" in step)


@pytest.mark.parametrize(
    "text", ["f() { a; }", "while true; do a; done", "a & b", "cat <<E\na\nE", "if a; then b", "'"]
)
def test_what_is_not_parsed_is_refused(text: str) -> None:
    with pytest.raises(shell.ShellError):
        shell.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "mark $(find /wheels -name shop*.whl)",
        "mark $(find /wheels -type f -name '*.whl')",
        "mark $(ls /wheels/shop-*.whl)",
    ],
)
def test_wheels_that_a_program_looks_for_are_a_pattern_for_a_later_install(text: str) -> None:
    assert walked(text) == ([("mark", "/wheels/*.whl")], [])
