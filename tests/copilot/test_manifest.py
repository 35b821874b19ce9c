from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from copilot_testenv.copilot import manifest, yaml_positions
from copilot_testenv.core.errors import SettingsError

ROOT = Path(__file__).parents[2]


def test_an_environment_without_its_block_is_refused() -> None:
    cases: tuple[dict[str, object], ...] = (
        {},
        {"environments": None},
        {"environments": {"test": None}},
        {"environments": {"tset": {}}},
    )
    for found in cases:
        with pytest.raises(SettingsError, match="base manifest"):
            manifest.check_environment(found, "test", "copilot/web/manifest.yml")
    manifest.check_environment({"environments": {"test": {"cpu": 256}}}, "test", "here")


@pytest.mark.parametrize("text", ["a: [", "- a list", "", "\x00", "a: 2024-13-45", "[" * 5000])
def test_a_manifest_that_cannot_be_read_is_one_clear_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "manifest.yml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=r"manifest\.yml"):
        manifest.read(file)
    with pytest.raises(SettingsError, match="cannot be read"):
        manifest.read(tmp_path / "missing.yml")


def test_every_secret_of_this_repositorys_test_environment_carries_its_name() -> None:
    found = manifest.read(ROOT / "copilot" / "web" / "manifest.yml")
    names = manifest.secret_parameters(found, "demo", "test")
    assert [name.rsplit("/", 1)[1] for name in names] == ["DATABASE_URL", "SECRET_KEY", "STAGE_DATABASE_URL"]
    assert all(name.startswith("/copilot/demo/test/secrets/") for name in names)


def test_what_the_service_is_given_the_startup_sidecar_is_given_too() -> None:
    found = manifest.read(ROOT / "copilot" / "web" / "manifest.yml")
    for block in (found, *found["environments"].values()):
        startup = block.get("sidecars", {}).get("startup", {})
        for section in ("variables", "secrets"):
            assert block.get(section, {}) == startup.get(section, {})


def test_a_tab_before_a_comment_is_read_as_copilot_reads_it() -> None:
    assert manifest.parse("name: web\t# its name\n", "m") == {"name": "web"}


def test_a_byte_order_mark_is_no_part_of_the_first_key() -> None:
    assert manifest.parse("\ufeffname: web\n", "m") == {"name": "web"}


def test_nesting_without_end_is_refused_before_it_is_composed() -> None:
    with pytest.raises(SettingsError, match="nested more than 200 deep"):
        manifest.parse("[" * 100_000, "m")


MAPPINGS = "a: &a {k: 1, l: 1}\n" + "".join(
    f"{name}: &{name} {{k: *{before}, l: *{before}}}\n" for before, name in pairwise("abcdefghijklmnopqrs")
)
LISTS = MAPPINGS.replace("{k: ", "[").replace(", l: ", ", ").replace("}", "]")
MERGES = "a: &a {k: 1, l: 1}\n" + "".join(
    f"{name}: &{name} {{<<: [*{before}, *{before}]}}\n" for before, name in pairwise("abcdefghijklmnopqrs")
)


@pytest.mark.parametrize("text", [MAPPINGS, LISTS, MERGES])
def test_aliases_that_make_a_manifest_huge_are_refused_before_it_is_built(text: str) -> None:
    with pytest.raises(SettingsError, match=r"with its aliases .* more than 100000 values"):
        manifest.parse(text, "m")


@pytest.mark.parametrize(
    "text", ["x-loop: &x {y: *x}", "x: &x [[*x]]", "x: &x {<<: *x}", "x: &x {*x : 1}", "&x {a: *x}"]
)
def test_what_holds_itself_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match=r"The manifest m cannot be read: `\*x` is inside the value"):
        manifest.parse(text, "m")


@pytest.mark.parametrize("read", [manifest.parse, yaml_positions.read])
def test_an_alias_of_nothing_is_refused(read: Callable[[str, str], object]) -> None:
    with pytest.raises(SettingsError, match=r"The manifest m cannot be read: `\*b` refers to no anchor"):
        read("a: *b\nb: &b 1\n", "m")


def test_aliases_of_any_ordinary_number_are_read(tmp_path: Path) -> None:
    file = tmp_path / "manifest.yml"
    file.write_text("a: &a {k: &k 1}\nb: [*a, *a, *k]\nc: {<<: *a}\n")
    assert manifest.read(file) == {"a": {"k": 1}, "b": [{"k": 1}, {"k": 1}, 1], "c": {"k": 1}}


@pytest.mark.parametrize(
    ("build", "dockerfile", "context"),
    [
        ("Dockerfile", "Dockerfile", "."),
        ("./web/Dockerfile", "web/Dockerfile", "web"),
        ({"dockerfile": "web/Dockerfile"}, "web/Dockerfile", "web"),
        ({"dockerfile": "web/Dockerfile", "context": "."}, "web/Dockerfile", "."),
        ({"context": "web"}, "web/Dockerfile", "web"),
        ({"target": "prod"}, "Dockerfile", "."),
    ],
)
def test_the_dockerfile_and_its_context_are_found_as_copilot_finds_them(
    build: object, dockerfile: str, context: str
) -> None:
    found = manifest.build_of({"image": {"build": build}}, "x")
    assert (found.dockerfile, found.context) == (dockerfile, context)
    assert found.target == (build.get("target", "") if isinstance(build, dict) else "")


def test_the_build_of_an_environment_is_the_bases_with_the_blocks_keys_over_it() -> None:
    content = {
        "image": {"build": {"dockerfile": "Dockerfile", "args": {"A": 1, "B": "two"}}},
        "environments": {
            "test": {"image": {"build": {"target": "app", "args": {"A": "3"}}}},
            "dev": {"image": {"build": "dev/Dockerfile"}, "count": 2},
            "prod": {"count": 2},
        },
    }
    found = manifest.build_of(content, "x", "test")
    assert (found.dockerfile, found.target, dict(found.args)) == ("Dockerfile", "app", {"A": "3", "B": "two"})
    assert manifest.build_of(content, "x", "dev").dockerfile == "dev/Dockerfile"
    assert dict(manifest.build_of(content, "x", "prod").args) == {"A": "1", "B": "two"}
    only = {"environments": {"test": {"image": {"build": "Dockerfile"}}}}
    assert manifest.build_of(only, "x", "test").dockerfile == "Dockerfile"


@pytest.mark.parametrize(
    "image",
    [
        None,
        3,
        {},
        {"location": "nginx"},
        {"build": {}},
        {"build": ""},
        {"build": [1]},
        {"build": {"dockerfile": 3}},
        {"build": {"context": 3}},
    ],
)
def test_a_manifest_that_builds_no_image_is_wrong(image: object) -> None:
    with pytest.raises(SettingsError, match=r"x builds no image \(`image.build`\)"):
        manifest.build_of({"image": image}, "x")
