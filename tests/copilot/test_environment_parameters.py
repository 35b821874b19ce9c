"""Services are taken out of an environment's parameters, and no list of them is emptied."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copilot_testenv.copilot.environment_parameters import without

NAMES = st.sampled_from(["web", "web-a", "web-b", "web-c", "api"])


def test_the_services_leave_all_lists_and_the_aliases() -> None:
    before = {
        "ALBWorkloads": "web,web-a,web-b",
        "NATWorkloads": "web-a,api",
        "InternalALBWorkloads": "",
        "Aliases": '{"web":["x.example"],"web-a":["a.example"]}',
        "AppName": "web-a",
    }
    assert without(before, ["web-a", "web-b"]) == (
        {"ALBWorkloads": "web", "NATWorkloads": "api", "Aliases": '{"web":["x.example"]}'},
        set(),
    )


def test_of_a_list_of_which_all_go_the_first_that_is_named_stays_everywhere() -> None:
    before = {"ALBWorkloads": "web-a,web-b", "NATWorkloads": "web-a", "Aliases": '{"web-b":["b"]}'}
    assert without(before, ["web-a", "web-b"]) == ({"ALBWorkloads": "web-a", "Aliases": ""}, {"web-a"})
    assert without(before, ["web-b", "web-a"]) == ({}, {"web-a", "web-b"})


@pytest.mark.parametrize("aliases", ["[]", "no JSON", "1"])
def test_aliases_of_another_form_are_an_error(aliases: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        without({"ALBWorkloads": "web,web-a", "Aliases": aliases}, ["web-a"])


@given(
    st.dictionaries(st.sampled_from(["ALBWorkloads", "NATWorkloads"]), st.lists(NAMES, unique=True)),
    st.dictionaries(NAMES, st.just(["x.example"])),
    st.lists(NAMES, unique=True),
)
def test_nothing_else_changes_and_no_list_is_emptied(
    lists: dict[str, list[str]], aliases: dict[str, list[str]], services: list[str]
) -> None:
    before = {key: ",".join(names) for key, names in lists.items()} | {"Aliases": json.dumps(aliases)}
    changed, staying = without(before, services)
    out = set(services) - staying
    after = before | changed
    for key, names in lists.items():
        left = [name for name in after[key].split(",") if name]
        assert left == [name for name in names if name not in out]
        assert bool(left) == bool(names)
    assert json.loads(after["Aliases"] or "{}") == {k: v for k, v in aliases.items() if k not in out}
    assert staying <= set(services)
