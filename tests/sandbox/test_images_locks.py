"""Lock files become the requirements that their package manager would install, in each of their formats."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copilot_sandbox.images import locks
from copilot_sandbox.images.locks import translate

HASH = "sha256:" + "0" * 64
POETRY = """
[tool.poetry.dependencies]
python = "^3.9"
django = {version = "^4.2", extras = ["argon2"]}
brotli = {version = "*", optional = true}
old = {version = "*", python = "<3"}
[tool.poetry.extras]
static = ["brotli"]
[tool.poetry.group.dev.dependencies]
pytest = "*"
[tool.poetry.group.docs]
optional = true
[tool.poetry.group.docs.dependencies]
sphinx = "*"
"""
OF_DJANGO = (
    'asgiref = ">=3.6"\nargon2 = {version = "*", optional = true}\n'
    'win = {version = "*", markers = "sys_platform == \'win32\'"}\n'
)
PACKAGES = [
    ("django", "4.2.1", OF_DJANGO, 'argon2 = ["argon2 (>=19)"]'),
    *((name, release, "", "") for name, release in [
        ("asgiref", "3.6.0"), ("argon2", "1.0"), ("win", "1.0"), ("brotli", "1.1"), ("old", "0.1"),
        ("pytest", "8.0"), ("sphinx", "7.0"),
    ]),
]  # fmt: skip
MAIN = {"argon2==1.0", "asgiref==3.6.0", "django==4.2.1"}


def poetry_lock(version: str) -> str:
    """A lock file in the format of poetry 1.1 (`1.1`), 1.5 (`2.0`) or 2 (`2.1`)."""
    text = ""
    for name, release, dependencies, extras in PACKAGES:
        text += f'[[package]]\nname = "{name}"\nversion = "{release}"\npython-versions = ">=3.6"\n'
        text += (
            'category = "main"\n' if version == "1.1" else f'files = [{{file = "a.whl", hash = "{HASH}"}}]\n'
        )
        text += 'groups = ["main"]\n' if version == "2.1" else ""
        text += f"[package.dependencies]\n{dependencies}" if dependencies else ""
        text += f"[package.extras]\n{extras}\n" if extras else ""
    text += f'[metadata]\nlock-version = "{version}"\n'
    if version == "1.1":
        text += "[metadata.files]\n" + "".join(
            f'{name[0]} = [{{file = "a", hash = "{HASH}"}}]\n' for name in PACKAGES
        )
    return text


def asked(tool: str, files: dict[str, str], **more: Any) -> dict[str, Any]:
    request: dict[str, Any] = {
        "tool": tool, "files": files, "groups": [], "extras": [], "without": [], "all_extras": False,
        "only": False, "default_groups": True, "package": "", "any_member": False,
    }  # fmt: skip
    return translate({**request, **more})


def pins(answer: dict[str, Any]) -> set[str]:
    assert "error" not in answer, answer
    return {line.split(" ")[0] for line in answer["pinned"]}


@pytest.mark.parametrize("version", ["1.1", "2.0", "2.1"])
def test_poetrys_groups_and_extras_are_those_of_the_command(version: str) -> None:
    files = {"pyproject.toml": POETRY, "poetry.lock": poetry_lock(version)}

    assert pins(asked("poetry", files)) == {*MAIN, "pytest==8.0"}
    assert pins(asked("poetry", files, groups=["main"], only=True)) == MAIN
    assert pins(asked("poetry", files, without=["dev"])) == MAIN
    assert pins(asked("poetry", files, groups=["docs"], without=["dev"])) == {*MAIN, "sphinx==7.0"}
    assert pins(asked("poetry", files, groups=["docs"], only=True)) == {"sphinx==7.0"}
    assert pins(asked("poetry", files, extras=["static"], without=["dev"])) == {*MAIN, "brotli==1.1"}
    assert asked("poetry", files)["pinned"][0] == f"argon2==1.0 --hash={HASH}"


def test_a_poetry_project_without_a_lock_file_becomes_plain_constraints() -> None:
    assert asked("poetry", {"pyproject.toml": POETRY}, without=["dev"])["loose"] == ["django[argon2]<5,>=4.2"]


@pytest.mark.parametrize(
    ("constraint", "inside", "outside"),
    [("^1.2.3", "1.9", "2.0"), ("^0.2.3", "0.2.9", "0.3"), ("~1.2", "1.2.9", "1.3"), ("~1", "1.9", "2"),
     ("1.2.*", "1.2.5", "1.3"), (">=1,<2", "1.5", "2"), ("*", "7", ""), ("^1 || ^3", "3.1", "2.0"),
     ("1.5", "1.5", "1.6")],
)  # fmt: skip
def test_poetrys_constraints_are_understood(constraint: str, inside: str, outside: str) -> None:
    assert locks.allows(constraint, inside)
    assert not outside or not locks.allows(constraint, outside)


def test_a_pipfile_lock_gives_its_sections_markers_and_sources() -> None:
    lock = {
        "_meta": {"sources": [{"url": "https://pypi.org/simple"}, {"url": "https://pkg.example.org/simple"}]},
        "default": {
            "django": {"version": "==4.2", "hashes": [HASH], "markers": "python_version >= '3.8'"},
            "psycopg": {"version": "==3.2", "hashes": [HASH], "extras": ["binary"]},
            "win": {"version": "==1", "hashes": [HASH], "markers": "sys_platform == 'win32'"},
            "ours": {"git": "https://git.example.org/ours.git", "ref": "abc"},
            "local": {"path": "./libs/local", "editable": True},
        },
        "develop": {"pytest": {"version": "==8", "hashes": [HASH]}},
    }
    files = {"Pipfile": "", "Pipfile.lock": json.dumps(lock)}

    answer = asked("pipenv", files)
    assert pins(answer) == {"django==4.2", "psycopg[binary]==3.2"}
    assert answer["direct"] == ["ours @ git+https://git.example.org/ours.git@abc"]
    assert answer["paths"] == ["./libs/local"]
    assert answer["indexes"] == ["https://pkg.example.org/simple"]
    assert "pytest==8" in pins(asked("pipenv", files, groups=["dev"]))


UV = """
[project]
name = "shop"
dependencies = ["django"]
"""
UV_LOCK = f"""
version = 1
[[package]]
name = "shop"
version = "0.1"
source = {{ editable = "." }}
dependencies = [
    {{ name = "django", extra = ["argon2"] }},
    {{ name = "win", marker = "sys_platform == 'win32'" }},
    {{ name = "lib" }},
]
[package.optional-dependencies]
static = [{{ name = "brotli" }}]
[package.dev-dependencies]
dev = [{{ name = "pytest" }}]
[[package]]
name = "django"
version = "4.2"
source = {{ registry = "https://pypi.org/simple" }}
sdist = {{ url = "https://files.example.org/d.tar.gz", hash = "{HASH}" }}
[package.optional-dependencies]
argon2 = [{{ name = "argon2", version = "1.0" }}]
[[package]]
name = "argon2"
version = "1.0"
source = {{ registry = "https://pypi.org/simple" }}
wheels = [{{ url = "https://files.example.org/a.whl", hash = "{HASH}" }}]
[[package]]
name = "argon2"
version = "2.0"
source = {{ registry = "https://pypi.org/simple" }}
[[package]]
name = "lib"
version = "0.1"
source = {{ editable = "libs/lib" }}
[[package]]
name = "brotli"
version = "1.1"
source = {{ git = "https://git.example.org/b?rev=main#abc" }}
[[package]]
name = "pytest"
version = "8"
source = {{ registry = "https://pkg.example.org/simple" }}
wheels = [{{ url = "https://files.example.org/p.whl", hash = "{HASH}" }}]
"""


def test_a_uv_lock_is_followed_from_the_project() -> None:
    files = {"pyproject.toml": UV, "uv.lock": UV_LOCK}

    answer = asked("uv", files, without=["dev"], default_groups=True)
    assert pins(answer) == {"django==4.2", "argon2==1.0"}
    assert answer["paths"] == ["libs/lib"]
    assert answer["project"] is True
    whole = asked("uv", files, extras=["static"])
    assert pins(whole) == {"django==4.2", "argon2==1.0", "pytest==8"}
    assert whole["direct"] == ["brotli @ git+https://git.example.org/b@abc"]
    assert whole["indexes"] == ["https://pkg.example.org/simple"]


def test_a_pdm_lock_has_its_groups_with_each_package() -> None:
    lock = "".join(
        f'[[package]]\nname = "{name}"\nversion = "1"\ngroups = ["{group}"]\n{more}\n'
        f'files = [{{hash = "{HASH}"}}]\n'
        for name, group, more in [
            ("a", "default", ""),
            ("b", "dev", ""),
            ("c", "default", "marker = \"os_name == 'x'\""),
        ]
    )

    assert pins(asked("pdm", {"pyproject.toml": UV, "pdm.lock": lock})) == {"a==1"}
    assert pins(asked("pdm", {"pyproject.toml": UV, "pdm.lock": lock}, groups=["dev"])) == {"a==1", "b==1"}


def test_a_project_that_excludes_this_python_says_its_constraint() -> None:
    assert asked("uv", {"pyproject.toml": UV + 'requires-python = ">=4"\n'})["python"] == ">=4"
    assert (
        asked("poetry", {"pyproject.toml": '[tool.poetry.dependencies]\npython = "^2.7"\n'})["python"]
        == "^2.7"
    )
    assert asked("uv", {"pyproject.toml": UV + 'requires-python = ">=3.9"\n'})["python"] == ""


leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=8), st.just("==1"), st.just(HASH)
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                [
                    "name",
                    "version",
                    "source",
                    "git",
                    "dependencies",
                    "extra",
                    "marker",
                    "default",
                    "files",
                    "a",
                ]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)


@given(lock=st.dictionaries(st.sampled_from(["default", "develop", "_meta"]), values))
def test_any_pipfile_lock_is_translated_or_refused(lock: dict[str, Any]) -> None:
    answer = asked("pipenv", {"Pipfile": "", "Pipfile.lock": json.dumps(lock)}, groups=["dev"])
    assert set(answer) == {"error"} or answer["pinned"] is not None


@given(
    text=st.one_of(
        st.text(max_size=80), st.lists(st.sampled_from(UV_LOCK.splitlines()), max_size=30).map("\n".join)
    )
)
@pytest.mark.parametrize("tool", ["uv", "poetry", "pdm"])
def test_any_text_as_a_lock_file_is_translated_or_refused(tool: str, text: str) -> None:
    answer = asked(tool, {"pyproject.toml": UV, f"{tool}.lock": text})
    assert set(answer) == {"error"} or answer["pinned"] is not None
