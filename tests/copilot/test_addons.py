from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from copilot_testenv.copilot.addons import FILE, Database, database, without_row
from copilot_testenv.core.errors import SettingsError
from copilot_testenv.core.settings import Settings
from copilot_testenv.costs.report import cost
from copilot_testenv.session import Session
from tests.fakes import FakeReport, FakeShell

ROOT = Path(__file__).parents[2]
ADDONS = ROOT / FILE.parent


def write(root: Path, text: str | bytes) -> None:
    file = root / FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text if isinstance(text, bytes) else text.encode())


def row(**values: str) -> str:
    told = {"Server": "own", "Class": "db.t4g.micro", "Storage": "20", "MultiAZ": "'false'", **values}
    lines = "".join(f"      {key}: {value}\n" for key, value in told.items())
    return f"Mappings:\n  Database:\n    test:\n{lines}Value: !Ref Env\n"


def test_the_addons_are_without_a_finding_of_cfn_lint() -> None:
    templates = [str(file) for file in sorted(ADDONS.glob("*.yml")) if file.name != "addons.parameters.yml"]
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("cfn-lint")),
            "--regions",
            "eu-west-1",
            "us-east-1",
            "--",
            *templates,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(templates) == 2


def test_as_shipped_test_has_no_database_of_its_own_and_the_others_have() -> None:
    assert database(ROOT, "test") is None
    assert database(ROOT, "stage") == Database("db.t4g.small", 50, two_zones=False)
    assert database(ROOT, "production") == Database("db.t4g.medium", 100, two_zones=True)


@pytest.mark.parametrize(
    "text",
    [
        row(Server="stage"),
        "Resources: {}",
        "Mappings:\n  Database: [test]\n",
        "[]",
        "",
        "Mappings:\n  Database:\n    stage:\n      Server: own\n",
    ],
)
def test_what_gives_an_environment_no_database_is_no_error(tmp_path: Path, text: str) -> None:
    assert database(tmp_path, "test") is None  # there are no addons
    write(tmp_path, text)
    assert database(tmp_path, "test") is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (row(Class="micro"), "the Class of `test` must be one like db.t4g.micro"),
        (row(Class="[db.t4g.micro]"), "the Class of `test` must be"),
        (row(Storage="'20'"), "the Storage of `test` must be a whole number of GB"),
        (row(Storage="true"), "the Storage of `test` must be"),
        (row(Storage="1000000"), "the Storage of `test` must be"),
        ("Mappings: [", "cannot be read"),
        (b"\xff\xfe\xfd", "cannot be read"),
        ("[" * 5000, "cannot be read"),
    ],
)
def test_what_cannot_be_meant_is_one_line(tmp_path: Path, text: str | bytes, why: str) -> None:
    write(tmp_path, text)
    with pytest.raises(SettingsError, match=why) as caught:
        database(tmp_path, "test")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "shown", "left_out"),
    [
        ({}, ("shared database, db.t4g.micro", "shared database's storage, GB"), False),
        ({"MultiAZ": "'true'"}, ("shared database, db.t4g.micro, in two zones",), True),
        ({"Server": "stage"}, (), False),
    ],
)
def test_cost_shows_a_database_of_tests_own(
    settings: Settings,
    values: dict[str, str],
    shown: tuple[str, ...],
    left_out: bool,  # noqa: FBT001 - pytest passes it by name
) -> None:
    write(settings.root, row(**values))
    report = FakeReport()
    cost(Session(settings, FakeShell(), report, {}), json=False, region="eu-west-1", node="")
    table = report.printed[0]
    assert all(line in table for line in shown)
    assert ("database" in table) is bool(shown)
    assert any("no list price for database" in line.lower() for line in report.said) is left_out
    cost(Session(settings, FakeShell(), report, {}), json=True, region="eu-west-1", node="")
    said = " ".join(json.loads(report.printed[-1])["assumptions"])
    assert ("The database of test stays" in said) is bool(shown)
    assert ("one of its own, a db.t4g.micro, is 0.017 USD per hour" in said) is not bool(shown)


SCALING = """
Parameters: {Env: {Type: String}}
Mappings:
  scaling:
    stage: {Least: 1}
    prod: {Least: 2}
  sizes:
    All: {Least: 1}
Resources:
  Cluster:
    Type: AWS::RDS::DBCluster
    Properties:
      ServerlessV2ScalingConfiguration:
        MinCapacity: !FindInMap [scaling, !Ref Env, Least]
        MaxCapacity: !FindInMap [sizes, All, Least]
"""


def test_a_mapping_by_the_environments_name_needs_a_row_of_it() -> None:
    assert without_row(SCALING, "test") == {"scaling": ["stage", "prod"]}
    assert without_row(SCALING, "stage") == {}
    assert without_row("Mappings: [", "test") == {}
