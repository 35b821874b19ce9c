"""Check that later steps of a pipeline get the intended outputs and nothing else."""

from __future__ import annotations

import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from copilot_testenv.ci.outputs import outputs
from tests.ci.pull_requests import COMMIT, anything, unhurried


def read_github_output(text: str) -> dict[str, str]:
    """As GitHub's runner reads the file: a value goes on to a line that is its delimiter and nothing else."""
    lines, values = iter(text.split("\n")), {}
    for line in lines:
        if line:
            name, _, delimiter = line.partition("<<")
            value = []
            for part in lines:
                if part == delimiter:
                    break
                value.append(part)
            else:
                raise AssertionError("Matching delimiter not found")
            values[name] = "\n".join(value)
    return values


values = st.dictionaries(st.sampled_from(["url", "branch", "commit", "expires_at"]), anything)


@unhurried
@given(values, values)
def test_githubs_outputs_arrive_as_they_were_and_no_value_makes_another(
    first: dict[str, str], second: dict[str, str]
) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "output"
        said: list[str] = []
        for given_values in (first, second):
            outputs({"GITHUB_OUTPUT": str(file)}, given_values, said.append)
        text = file.read_bytes().decode()
    expected = {name: value.encode(errors="replace").decode() for name, value in {**first, **second}.items()}
    assert read_github_output(text) == expected
    assert said == []


def test_nobody_can_know_the_delimiter_of_githubs_outputs(tmp_path: Path) -> None:
    drawn = set()
    for name in ("a", "b"):
        outputs({"GITHUB_OUTPUT": str(tmp_path / name)}, {"url": "x"}, lambda _: None)
        drawn.add((tmp_path / name).read_text().splitlines()[0].removeprefix("url<<"))
    assert len(drawn) == 2
    assert all(len(delimiter) >= 32 for delimiter in drawn)


@unhurried
@example({"url": "~", "branch": "a:~"})
@given(st.dictionaries(st.sampled_from(["url", "branch"]), anything | st.text("a1/:.%=+,@_-~$`#'\" ")))
def test_the_dotenv_file_means_the_same_to_a_shell_and_what_would_not_is_left_out_and_said(
    values: dict[str, str],
) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "deploy.env"
        said: list[str] = []
        outputs({"DEPLOY_OUTPUT": str(file)}, values, said.append)
        text = file.read_text()
        script = '. "$0"; printf "%s\\0%s" "${DEPLOY_URL-absent}" "${DEPLOY_BRANCH-absent}"'
        done = subprocess.run(
            ["sh", "-euc", script, str(file)],
            capture_output=True, text=True, check=True, cwd=folder, env={"HOME": "/root"},
        )  # fmt: skip
    written = dict(line.split("=", 1) for line in text.splitlines())
    assert done.stdout == "\0".join(written.get(name, "absent") for name in ("DEPLOY_URL", "DEPLOY_BRANCH"))
    for name, value in values.items():
        key = f"DEPLOY_{name.upper()}"
        assert (written.get(key) == value) != any(key in line for line in said)


def test_ordinary_values_all_arrive(tmp_path: Path) -> None:
    said: list[str] = []
    file = tmp_path / "deploy.env"
    values = {"url": "http://demo-Publi-1x.eu-west-1.elb.amazonaws.com:80/a?b=c".replace("?", "%3F")}
    values |= {"branch": "feature/checkout-2", "commit": COMMIT, "expires_at": "2026-11-27T18:00:00Z"}
    outputs({"DEPLOY_OUTPUT": str(file)}, values, said.append)
    assert file.read_text().splitlines() == [
        f"DEPLOY_URL={values['url']}",
        "DEPLOY_BRANCH=feature/checkout-2",
        f"DEPLOY_COMMIT={COMMIT}",
        "DEPLOY_EXPIRES_AT=2026-11-27T18:00:00Z",
    ]
    assert said == []


def test_a_name_that_is_no_word_is_not_written(tmp_path: Path) -> None:
    variables = {"GITHUB_OUTPUT": str(tmp_path / "a"), "DEPLOY_OUTPUT": str(tmp_path / "b")}
    outputs(variables, {"url\nPATH": "x", "a=b": "y"}, lambda _: None)
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text() == ""


def test_where_no_file_is_named_nothing_is_written_and_what_cannot_be_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    outputs({"DEPLOY_OUTPUT": ""}, {"url": "x", "branch": "$(x)"}, said.append)
    assert (said, list(tmp_path.iterdir())) == ([], [])
    for path, why in (
        (str(tmp_path), "Is a directory"),
        ("absent/file", "No such file"),
        ("a\0b", "it is not a path"),
    ):
        for variable in ("GITHUB_OUTPUT", "DEPLOY_OUTPUT"):
            outputs({variable: path}, {"url": "x"}, said.append)
            assert f"{variable} cannot be written: {why}" in said.pop()
            assert said == []
