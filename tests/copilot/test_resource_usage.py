from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from copilot_testenv.copilot import manifest
from copilot_testenv.copilot.resource_usage import Footprint, footprint, shown

ROOT = Path(__file__).parents[2]
TYPE = "Load Balanced Web Service"


def takes(base: dict[str, Any], test: object = None) -> Footprint:
    return footprint({"type": TYPE, **base, "environments": {"test": test}}, "test")


def test_a_manifest_that_says_nothing_takes_what_copilot_gives_by_default() -> None:
    assert takes({}) == Footprint(cpu=0.25, memory=0.5, on_demand=1, public=True, balanced=True)


def test_this_repositorys_manifest_takes_one_small_spot_task_in_test_and_two_in_stage() -> None:
    found = manifest.read(ROOT / "copilot" / "web" / "manifest.yml")
    assert footprint(found, "test") == Footprint(cpu=0.25, memory=0.5, spot=1, public=True, balanced=True)
    assert footprint(found, "stage") == Footprint(cpu=0.5, memory=1, on_demand=2, public=True, balanced=True)
    assert footprint(found, "nowhere") == footprint(found, "stage")  # Copilot would deploy the base there


# The shapes that Copilot documents for `count`, and how an environment's displaces the base's.
# Source: site/content/docs/manifest/lb-web-service.en.md and internal/pkg/manifest/transform.go, 1.34.
@pytest.mark.parametrize(
    ("base", "test", "on_demand", "spot", "at_most"),
    [
        (None, None, 1, 0, None),
        (5, None, 5, 0, None),
        (5, 0, 0, 0, None),
        (2, {"spot": 1}, 0, 1, None),
        ({"spot": 5}, None, 0, 5, None),
        ({"spot": 5}, {"spot": 2}, 0, 2, None),
        ({"spot": 5}, 3, 3, 0, None),
        ({"range": "1-10", "cpu_percentage": 70}, None, 1, 0, 10),
        ({"range": "1-10", "cpu_percentage": 70}, {"spot": 2}, 0, 2, None),
        ({"range": "1-10", "cpu_percentage": 70}, {"range": "2-3"}, 2, 0, 3),
        ({"range": "1-10", "cpu_percentage": 70}, {"cpu_percentage": 90}, 1, 0, 10),
        ({"spot": 5}, {"range": "2-3", "requests": 10}, 2, 0, 3),
        (7, {"range": "2-3", "requests": 10}, 2, 0, 3),
        ({"range": {"min": 1, "max": 10, "spot_from": 3}}, None, 1, 0, 10),
        ({"range": {"min": 5, "max": 10, "spot_from": 5}}, None, 4, 1, 10),
        ({"range": {"min": 4, "max": 10, "spot_from": 1}}, None, 0, 4, 10),  # Copilot names Spot alone
        ({"range": {"min": 3, "max": 10, "spot_from": 2}}, None, 0, 3, 10),
        ({"range": {"min": 1, "max": 10, "spot_from": 1}}, None, 0, 1, 10),
        ({"range": {"min": 1, "max": 9, "spot_from": 5}}, {"range": {"min": 2}}, 2, 0, 9),
        ({"range": "1-10"}, {"range": {"min": 2, "max": 4}}, 2, 0, 4),
        ({"range": {"min": 2, "max": 4}}, {"range": "1-10"}, 1, 0, 10),
        ({"range": "1-10", "cooldown": {"in": "60s"}}, {"cooldown": {"in": "30s"}}, 1, 0, 10),
    ],
)
def test_a_count_in_each_shape_that_copilot_documents(
    base: object, test: object, on_demand: int, spot: int, at_most: int | None
) -> None:
    found = takes({"count": base}, {"count": test})
    assert found.left_out == ()
    assert (found.on_demand, found.spot, found.at_most) == (on_demand, spot, at_most)
    assert found.tasks == on_demand + spot


@pytest.mark.parametrize(
    "count",
    [
        True, "3", 1.5, -1, 5001, 10**400, [], {}, {"spot": "1"}, {"spot": -1}, {"spot": 1, "range": "1-2"},
        {"range": "2"}, {"range": "5-2"}, {"range": "1-1\n"}, {"range": {"min": 1}},
        {"range": {"min": 2, "max": 1}}, {"range": {"min": 1, "max": 2, "spot_from": "x"}},
        {"cpu_percentage": 70}, {"cooldown": {"in": "1s"}},
    ],
)  # fmt: skip
def test_a_count_that_says_no_number_is_left_out(count: object) -> None:
    found = takes({"count": count})
    assert found.tasks == 0
    assert len(found.left_out) == 1
    assert found.left_out[0].startswith("the tasks: their `count` is ")


@pytest.mark.parametrize(
    ("cpu", "memory", "size"),
    [
        (256, 2048, (0.25, 2)),
        (1024, 3072, (1, 3)),
        (16384, 122880, (16, 120)),
        (256, 1536, None),
        (256, 4096, None),
        (512, 1500, None),
        (300, 512, None),
        ("256", 512, None),
        (256, "${MEMORY}", None),
        (True, 512, None),
        (0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF, 512, None),
    ],
)
def test_a_size_is_one_of_fargates_or_left_out(
    cpu: object, memory: object, size: tuple[float, float] | None
) -> None:
    found = takes({"cpu": 4096, "memory": 8192}, {"cpu": cpu, "memory": memory})
    assert (found.cpu, found.memory) == (size or (0, 0))
    assert bool(found.left_out) is (size is None)


@pytest.mark.parametrize(
    ("base", "test", "arm", "known"),
    [
        (None, None, False, True),
        ("linux/x86_64", "linux/arm64", True, True),
        ("linux/arm64", None, True, True),
        ("linux/amd64", {"osfamily": "linux", "architecture": "arm64"}, True, True),
        ({"osfamily": "linux", "architecture": "arm64"}, {"architecture": "x86_64"}, False, True),
        ({"osfamily": "linux", "architecture": "arm64"}, "linux/x86_64", False, True),
        ("windows/x86_64", None, False, False),
        ({"osfamily": "windows_server_2019_full", "architecture": "x86_64"}, None, False, False),
        ("linux", None, False, False),
        (7, None, False, False),
        ({"osfamily": 7}, None, False, False),
    ],
)
def test_a_platform_is_linux_on_x86_or_arm_or_left_out(
    base: object,
    test: object,
    arm: bool,  # noqa: FBT001 - pytest passes it by name
    known: bool,  # noqa: FBT001 - as above
) -> None:
    found = takes({"platform": base}, {"platform": test})
    assert (found.arm, bool(found.cpu), not found.left_out) == (arm, known, known)


def test_spot_on_arm_is_refused_by_copilot_and_so_left_out() -> None:
    found = takes({"platform": "linux/arm64"}, {"count": {"spot": 2}})
    assert found.tasks == 0
    assert found.left_out == ("2 Spot task(s) on ARM, which Copilot 1.34 refuses",)


@pytest.mark.parametrize(
    ("placement", "public", "private"),
    [
        (None, True, False),
        ("public", True, False),
        ("private", False, True),
        ({"subnets": ["subnet-1"]}, False, False),
        ({"subnets": {"from_tags": {"org": "bi"}}}, False, False),
    ],
)
def test_only_a_task_in_a_public_subnet_has_an_address(
    placement: object,
    public: bool,  # noqa: FBT001 - pytest passes it by name
    private: bool,  # noqa: FBT001 - as above
) -> None:
    found = takes({"network": {"connect": True}}, {"network": {"vpc": {"placement": placement}}})
    assert (found.public, found.private, found.left_out) == (public, private, ())


@pytest.mark.parametrize("placement", ["secret", 7, ["public"], True])
def test_a_placement_that_is_none_is_left_out(placement: object) -> None:
    found = takes({}, {"network": {"vpc": {"placement": placement}}})
    assert (found.public, found.private) == (False, False)
    assert "neither public nor private" in found.left_out[0]


def test_storage_counts_beyond_what_is_free() -> None:
    assert takes({"storage": {"ephemeral": 100}}).storage == 80
    assert takes({"storage": {"ephemeral": 100}}, {"storage": {"ephemeral": 20}}).storage == 0
    assert takes({"storage": {"volumes": {}}}).storage == 0
    for wrong in (19, 201, "30", True):
        assert "is not 20 to 200 GiB" in takes({"storage": {"ephemeral": wrong}}).left_out[0]


@pytest.mark.parametrize(
    ("kind", "base", "test", "balanced"),
    [
        (TYPE, {"path": "/"}, None, True),
        (TYPE, None, None, True),
        (TYPE, False, None, False),
        (TYPE, {"path": "/"}, False, False),
        (TYPE, False, {"path": "/"}, True),
        (TYPE, True, {"path": "/"}, True),
        (TYPE, {"path": "/", "alb": "one-of-ours"}, None, False),
        ("Backend Service", {"path": "/"}, None, False),
        ("Worker Service", None, None, False),
    ],
)
def test_the_environments_load_balancer_serves_a_load_balanced_service_unless_it_says_no(
    kind: str,
    base: object,
    test: object,
    balanced: bool,  # noqa: FBT001 - pytest passes it by name
) -> None:
    found = takes({"type": kind, "http": base}, {"http": test})
    assert (found.balanced, found.left_out) == (balanced, ())


def test_a_network_load_balancer_is_left_out() -> None:
    assert "its list price is not known" in takes({"nlb": {"port": "80/tcp"}, "http": False}).left_out[0]


@pytest.mark.parametrize("kind", ["Request-Driven Web Service", "Static Site", None, 7, [], "\x1b[2J"])
def test_what_runs_on_no_tasks_is_left_out_whole(kind: object) -> None:
    found = takes({"type": kind})
    assert found == Footprint(left_out=found.left_out)
    assert len(found.left_out) == 1
    assert found.left_out[0].isprintable()


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"environments": 7}, "`test`: it stands in 7"),
        ({"environments": {"test": "x"}}, "the environment's own block: it is 'x'"),
        ({"network": "public"}, "`vpc`: it stands in 'public'"),
        ({"network": "x", "environments": {"test": {"network": "x"}}}, "`vpc`: it stands in 'x'"),
        ({"storage": [100]}, "`ephemeral`: it stands in a list"),
    ],
)
def test_what_stands_where_a_mapping_should_is_named_once(found: dict[str, Any], said: str) -> None:
    left_out = footprint({"type": TYPE, **found}, "test").left_out
    assert [line.startswith(said) for line in left_out] == [True]


def test_a_manifest_that_holds_itself_is_read_to_its_end() -> None:
    found = yaml.safe_load(
        f"type: {TYPE}\nplatform: &p {{architecture: *p}}\ncount: &c {{range: *c}}\nhttp: &h {{alb: *h}}\n"
        "environments: &e {test: *e}\nnetwork: &n {vpc: *n, placement: *n}\n"
    )
    assert footprint(found, "test").left_out


def test_a_shown_value_is_short_and_harmless() -> None:
    for value in (
        "x" * 1000,
        "\x1b]0;owned\x07",
        "a\nb",
        "\u202e",
        10**5000,
        [1],
        {"a": 1},
        None,
        True,
        b"\x00",
    ):
        line = shown(value)
        assert len(line) < 90
        assert line.isprintable()


KEYS = st.sampled_from(
    ["type", "cpu", "memory", "count", "spot", "range", "min", "max", "spot_from", "platform", "osfamily",
     "architecture", "storage", "ephemeral", "network", "vpc", "placement", "http", "alb", "nlb",
     "environments", "test", "stage"]
)  # fmt: skip
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.dates() | st.binary()
    | st.sampled_from([256, 512, 1024, 20, 100, "1-5", "private", "linux/arm64", TYPE, 10**400])
)  # fmt: skip
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | SCALARS, inner, max_size=5)
)
MANIFESTS: st.SearchStrategy[dict[Any, Any]] = st.dictionaries(KEYS, VALUES, max_size=9).map(
    lambda found: {"type": TYPE, **found}
)


@given(MANIFESTS)
def test_no_manifest_is_a_traceback(found: dict[Any, Any]) -> None:
    read = footprint(found, "test")
    assert 0 <= read.tasks <= 5000
    assert 0 <= read.cpu <= 16
    assert all(line.isprintable() for line in read.left_out)
