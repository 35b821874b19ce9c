from __future__ import annotations

from collections.abc import Mapping
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from copilot_testenv.copilot import manifest, sidecars
from copilot_testenv.core import settings_module
from copilot_testenv.core.errors import Refused, SettingsError, UsageError
from tests.clone import ROOT
from tests.manifests import DRESSES, SHAPES, written

CATALOGUE = {name: sidecars.load(name, None) for name in sidecars.names()}
OURS = (ROOT / "copilot/web/manifest.yml").read_bytes().decode()
REDIS = CATALOGUE["redis"]

# What the shipped manifest gives the main container in test.
OF_MAIN = {
    "REDIS_PORT": "6379",
    "REDIS_HOST": "localhost",
    "EMAIL_BACKEND": "django.core.mail.backends.console.EmailBackend",
}


def add(text: str, entry: sidecars.Entry) -> str:
    return sidecars.add(text, entry, "test", "demo", "manifest.yml")


def remove(text: str, entry: sidecars.Entry) -> str:
    after, kept = sidecars.remove(text, entry, "test", "manifest.yml")
    assert not kept
    return after


def block(text: str) -> Any:
    return manifest.parse(text, "manifest.yml")["environments"]["test"]


def changed_lines(before: str, after: str) -> list[str]:
    """The lines of the first text that the second one has no more."""
    lines = before.splitlines()
    matcher = SequenceMatcher(None, lines, after.splitlines(), autojunk=False)
    return [
        line
        for kind, start, end, _, _ in matcher.get_opcodes()
        if kind in {"replace", "delete"}
        for line in lines[start:end]
    ]


def test_the_catalogue_holds_what_it_promises() -> None:
    assert list(CATALOGUE) == ["celery", "mailpit", "memcached", "postgres", "redis", "valkey"]
    for entry in CATALOGUE.values():
        assert entry.about
        assert entry.runs_project or ":" in entry.sidecar["image"]  # pinned


@pytest.mark.parametrize("dress", DRESSES)
@pytest.mark.parametrize("shape", SHAPES)
def test_an_added_sidecar_that_is_removed_again_leaves_the_same_bytes(shape: str, dress: str) -> None:
    text = DRESSES[dress](SHAPES[shape])
    for entry in CATALOGUE.values():
        after = add(text, entry)
        assert entry.name in block(after)["sidecars"]
        assert all("{" in line for line in changed_lines(text, after)), (
            "only a flow mapping's line is changed"
        )
        assert remove(after, entry) == text


@given(text=written(), entry=st.sampled_from(list(CATALOGUE.values())))
def test_so_does_one_in_a_manifest_written_at_random(text: str, entry: sidecars.Entry) -> None:
    after = add(text, entry)
    assert all("{" in line for line in changed_lines(text, after))
    assert remove(after, entry) == text


def test_this_repositorys_redis_can_be_taken_out_and_each_of_the_others_added() -> None:
    without = remove(OURS, REDIS)
    assert "redis" not in str(block(without))
    assert block(without)["image"] == {"depends_on": {"startup": "success"}}
    assert all("REDIS_HOST" not in str(part) for part in block(without).values())
    for entry in CATALOGUE.values():
        after = add(without, entry)
        assert changed_lines(without, after) == []
        assert remove(after, entry) == without


def test_the_main_container_and_all_that_runs_the_project_wait_for_it_and_know_where_it_is() -> None:
    found = block(add(remove(OURS, REDIS), CATALOGUE["postgres"]))
    for container in (found, found["sidecars"]["startup"]):
        assert container["variables"]["SIDECAR_DATABASE_URL"].endswith("@localhost:5432/app")
    assert found["image"]["depends_on"] == {"startup": "success", "postgres": "healthy"}
    assert found["sidecars"]["startup"]["depends_on"] == {"postgres": "healthy"}
    assert (
        yaml.safe_load(add(OURS, CATALOGUE["postgres"]))["environments"]["stage"]
        == (yaml.safe_load(OURS)["environments"]["stage"])
    )


def test_a_sidecar_that_does_not_run_the_project_gets_nothing() -> None:
    text = SHAPES["everything there"]
    assert block(add(text, REDIS))["sidecars"]["other"] == block(text)["sidecars"]["other"]


def test_a_worker_is_given_what_the_main_container_has() -> None:
    text = OURS.replace("build: Dockerfile\n  port", "build: {dockerfile: Dockerfile}\n  port")
    worker = block(add(text, CATALOGUE["celery"]))["sidecars"]["celery"]
    assert worker["image"] == {"build": {"dockerfile": "Dockerfile"}}
    assert worker["command"] == "celery --app demo worker --loglevel INFO"
    assert worker["depends_on"] == {"startup": "success", "redis": "start"}
    assert worker["variables"] == OF_MAIN
    assert set(worker["secrets"]) == {"DATABASE_URL", "SECRET_KEY", "STAGE_DATABASE_URL"}


def test_a_worker_takes_the_image_that_the_environment_has_of_its_own() -> None:
    text = "name: web\nimage: {build: .}\nenvironments: {test: {image: {location: 'x:1'}, env_file: .e}}\n"
    worker = block(add(text, CATALOGUE["celery"]))["sidecars"]["celery"]
    assert (worker["image"], worker["env_file"]) == ({"location": "x:1"}, ".e")


def test_an_own_worker_adds_to_what_it_takes_from_the_main_container() -> None:
    beat = sidecars.Entry(
        "beat",
        "",
        {"command": ["celery", "-A", "{project}"], "depends_on": {"redis": "start"}, "variables": {"A": "b"}},
        runs_project=True,
    )
    found = block(add(OURS, beat))["sidecars"]["beat"]
    assert found["command"] == ["celery", "-A", "demo"]
    assert found["depends_on"] == {"startup": "success", "redis": "start"}
    assert found["variables"] == {**OF_MAIN, "A": "b"}


def test_a_sidecar_added_after_a_worker_is_known_to_it_and_forgotten_again() -> None:
    with_worker = add(remove(OURS, REDIS), CATALOGUE["celery"])
    both = add(with_worker, REDIS)
    assert block(both)["sidecars"]["celery"]["depends_on"] == {"startup": "success", "redis": "start"}
    assert block(both)["sidecars"]["celery"]["variables"]["REDIS_HOST"] == "localhost"
    assert remove(both, REDIS) == with_worker


def test_a_variable_that_was_changed_by_hand_stays_and_nobody_waits_for_what_is_gone() -> None:
    text = add(SHAPES["everything there"], REDIS).replace("redis: start", "redis: healthy")
    text = text.replace("REDIS_HOST: localhost", "REDIS_HOST: 127.0.0.1", 1)
    after, kept = sidecars.remove(text, REDIS, "test", "manifest.yml")
    assert len(kept) == 1
    assert kept[0][-1] == "REDIS_HOST"
    assert "redis" not in after


@pytest.mark.parametrize(
    ("text", "error", "why"),
    [
        (
            "name: web\nenvironments: {test: {sidecars: {redis: {image: 'x:1'}}}}\n",
            Refused,
            "has a sidecar redis",
        ),
        (
            "name: web\nsidecars: {redis: {image: 'x:1'}}\nenvironments: {test: {cpu: 1}}\n",
            Refused,
            "under sidecars",
        ),
        ("name: redis\nenvironments: {test: {cpu: 1}}\n", Refused, "the name of the service"),
        (
            "name: web\nimage: {port: 6379}\nenvironments: {test: {cpu: 1}}\n",
            Refused,
            "web already listens on port 6379",
        ),
        (
            "name: web\nsidecars: {x: {port: 6379/tcp}}\nenvironments: {test: {cpu: 1}}\n",
            Refused,
            "x already listens on port 6379 in test",
        ),
        ("name: web\nenvironments: {prod: {cpu: 1}}\n", SettingsError, "has no block `test`"),
        ("name: web\nenvironments: {test: }\n", SettingsError, "has no block `test`"),
        ("name: web\nenvironments: [test]\n", SettingsError, "has no block `test`"),
        (
            "name: web\nsidecars: [x]\nenvironments: {test: {cpu: 1}}\n",
            SettingsError,
            "needs a name for each",
        ),
        (
            "name: web\nenvironments: {test: {variables: {REDIS_HOST: localhost}}}\n",
            Refused,
            "REDIS_HOST exists already",
        ),
    ],
)
def test_what_is_taken_or_missing_is_told_in_one_line(text: str, error: type[Exception], why: str) -> None:
    with pytest.raises(error) as caught:
        add(text, REDIS)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_worker_without_an_image_to_run_is_refused() -> None:
    with pytest.raises(Refused, match=r"no `image\.build` and no `image\.location`"):
        add("name: web\nenvironments: {test: {cpu: 1}}\n", CATALOGUE["celery"])


def test_what_could_not_be_taken_out_again_is_not_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sidecars, "remove", lambda text, *_: (f"{text} ", []))
    with pytest.raises(Refused, match="without a trace"):
        add(OURS, CATALOGUE["mailpit"])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("name: web\nenvironments: {test: {cpu: 1}}\n", "has no sidecar redis"),
        (
            "sidecars: {redis: {}}\nenvironments: {test: {cpu: 1, sidecars: {redis: {}}}}\n",
            "every environment",
        ),
        ("environments: {test: {sidecars: {redis: {}}}, x: 1}\n", ""),
    ],
)
def test_what_cannot_be_removed_alone_is_refused(text: str, why: str) -> None:
    if not why:  # a flow mapping may stay empty
        assert remove(text, REDIS) == "environments: {test: {}, x: 1}\n"
        return
    with pytest.raises(Refused, match=why):
        remove(text, REDIS)


def test_an_own_sidecar_comes_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "search.yml"
    file.write_text(
        "sidecar: {image: 'x:1', port: 9200}\nready: healthy\nvariables: {SEARCH: 'localhost:9200'}\n"
    )
    entry = sidecars.load("search", file)
    after = add(OURS, entry)
    assert block(after)["sidecars"]["search"] == {"image": "x:1", "port": 9200}
    assert block(after)["variables"]["SEARCH"] == "localhost:9200"
    assert remove(after, entry) == OURS


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("image: x", "`image` is an unknown key"),
        ("sidecar: x", "`sidecar` must be a mapping"),
        ("sidecar: {1: x}", "`sidecar` must be a mapping"),
        ("sidecar: {port: 1}", "needs `sidecar.image`"),
        ("sidecar: {image: x}\nruns_project: true", "needs `sidecar.image`"),
        ("sidecar: {image: x}\nruns_project: perhaps", "`runs_project` must be"),
        ("sidecar: {image: x}\nready: soon", "`ready` must be one of start, healthy"),
        ("sidecar: {image: x}\nready: [start]", "`ready` must be one of"),
        ("sidecar: {image: x}\nvariables: {PORT: 1}", "write numbers in quotes"),
        ("sidecar: {image: x}\nvariables: [PORT]", "`variables` must be a mapping"),
        ("sidecar: {image: x}\nnote: [1]", "`about` and `note`"),
        ("- x", "is not a mapping"),
        ("{", "cannot be read"),
    ],
)
def test_a_file_that_describes_no_sidecar_is_told_what_is_wrong(
    tmp_path: Path, written: str, why: str
) -> None:
    file = tmp_path / "own.yml"
    file.write_text(written)
    with pytest.raises(SettingsError) as caught:
        sidecars.load("own", file)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_or_impossible_name_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="it has celery, mailpit"):
        sidecars.load("kafka", None)
    with pytest.raises(UsageError, match="cannot be a sidecar's name"):
        sidecars.load("../redis", None)


def test_the_project_is_the_package_of_its_settings(tmp_path: Path) -> None:
    assert sidecars.project_of(ROOT) == "demo"
    with pytest.raises(SettingsError, match=r"manage\.py sets no DJANGO_SETTINGS_MODULE"):
        sidecars.project_of(tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings.base")',
        "os.environ['DJANGO_SETTINGS_MODULE'] = 'shop.settings.base'",
    ],
)
def test_manage_py_names_its_settings_in_either_way(line: str) -> None:
    assert settings_module.of_manage(f"import os\n{line}\n") == "shop.settings.base"


def test_running_the_project_is_told_by_secrets_or_a_build() -> None:
    base: Mapping[str, Any] = {"sidecars": {"a": {"secrets": {}}, "b": {"image": "x:1"}, "c": None}}
    own = {
        "sidecars": {
            "b": {"image": {"build": "."}},
            "d": {"env_file": "x"},
            "e": {"image": {"location": "x"}},
        }
    }
    assert list(sidecars.running_project(base, own)) == ["a", "b", "d"]


def test_the_package_is_found_where_manage_py_is_in_another_folder(tmp_path: Path) -> None:
    for folder in (".git", "infra/copilot", "backend"):
        (tmp_path / folder).mkdir(parents=True)
    text = 'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "{}.settings")\n'
    (tmp_path / "backend/manage.py").write_text(text.format("shop"))
    assert sidecars.project_of(tmp_path / "infra") == "shop"
    assert sidecars.project_of(tmp_path) == "shop"
    (tmp_path / "other").mkdir()
    (tmp_path / "other/manage.py").write_text(text.format("other"))
    with pytest.raises(SettingsError, match="package is unknown"):
        sidecars.project_of(tmp_path)
