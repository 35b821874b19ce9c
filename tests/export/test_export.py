from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from copilot_testenv.copilot.template_lint import LintFinding
from copilot_testenv.copilot.templates import Refusal, Template
from copilot_testenv.core.errors import Failed, Refused, SettingsError, UsageError
from copilot_testenv.core.process import RealShell
from copilot_testenv.core.settings import load
from copilot_testenv.export import workflow
from copilot_testenv.export.folder import Folder
from copilot_testenv.export.guide import readme
from copilot_testenv.export.plain import Origin, Stack, freed
from copilot_testenv.export.tidy import excuse, tidy
from copilot_testenv.export.tree import loaded
from copilot_testenv.export.workflow import Options, Package
from copilot_testenv.session import Session
from tests.fakes import FakeReport

HERE = Origin("111122223333", "us-east-1", "stackset-demo-bucket")
PARAMETERS = "Parameters: {AppName: {Type: String}}\n"


def stack(resources: str, more: str = "", parameters: dict[str, str] | None = None) -> Stack:
    text = f"{more or PARAMETERS}Resources:\n{resources}"
    return freed("demo-test-web", "web", Template(text, parameters or {}), HERE)


@pytest.mark.parametrize(
    ("written", "freed_"),
    [
        (
            "arn:aws:sns:us-east-1:111122223333:t",
            "!Sub arn:${AWS::Partition}:sns:${AWS::Region}:${AWS::AccountId}:t",
        ),
        ("arn:aws:iam::111122223333:role/r", "!Sub arn:${AWS::Partition}:iam::${AWS::AccountId}:role/r"),
        ("arn:aws:kms:us-east-1:111122223333:key/0a-1b", "!Ref ArtifactKeyARN"),
        ("stackset-demo-bucket", "!Ref ArtifactBucket"),
        ("'${A}.stackset-demo-bucket'", "!Sub ${!A}.${ArtifactBucket}"),
        ("!Sub '${A}.stackset-demo-bucket'", "!Sub '${A}.${ArtifactBucket}'"),
        ("{'Fn::Sub': '${A}.stackset-demo-bucket'}", "{'Fn::Sub': '${A}.${ArtifactBucket}'}"),
        ("!Sub ['${A}.stackset-demo-bucket', {A: a}]", "!Sub ['${A}.${ArtifactBucket}', {A: a}]"),
        ("us-east-1", "us-east-1"),  # may be the user's own word
        ("arn:aws:sns:us-east-1:444455556666:t", "arn:aws:sns:us-east-1:444455556666:t"),
    ],
)
def test_what_is_of_the_account_becomes_a_parameter_or_the_stacks_own(written: str, freed_: str) -> None:
    text = stack(f"  T:\n    Type: AWS::SNS::Topic\n    Properties:\n      Name: {written}\n").text
    assert f"      Name: {freed_}\n" in text


def test_an_account_at_an_unknown_place_is_told_and_not_written() -> None:
    with pytest.raises(Failed, match="demo-test-web names the account it was rendered in"):
        stack("  T:\n    Type: AWS::SNS::Topic\n    Properties: {Name: 'of 111122223333'}\n")


@pytest.mark.parametrize(
    "resources",
    [
        "  T: text\n",
        "  T: {Type: t, Properties: [x]}\n",
        "  T: {Type: t, Metadata: x}\n",
        "  []\n",
        "  T: {Type: 'AWS::ECS::TaskDefinition'}\n",
        "  T: {Type: 'AWS::ECS::TaskDefinition', Properties: {ContainerDefinitions: 3}}\n",
        "  T: {Type: 'AWS::ECS::TaskDefinition', Properties: {ContainerDefinitions: }}\n",
        "  T: {Type: 'AWS::Lambda::Function'}\n",
        "  T: {Type: 'Custom::DynamicDesiredCountFunction', Properties: }\n",
        "  AddonsStack: {Type: 'AWS::CloudFormation::Stack'}\n",
    ],
)
def test_what_patches_have_spoilt_is_told_as_the_patches_fault(resources: str) -> None:
    with pytest.raises(SettingsError, match="correct the override patches"):
        stack(resources)


@pytest.mark.parametrize("text", ["", "[1]\n", "text\n", "{}\n"])
def test_what_is_no_template_any_more_is_told_as_the_patches_fault(text: str) -> None:
    with pytest.raises(SettingsError, match="The template of demo-test-web has no valid Parameters"):
        freed("demo-test-web", "web", Template(text, {}), HERE)


@pytest.mark.parametrize(
    "spoilt", ["{'Fn::If': 3}", "{'Fn::If': []}", "{'Fn::GetAtt': []}", "{'Fn::Sub': []}"]
)
def test_a_function_that_a_patch_has_spoilt_is_left_to_cfn_lint(spoilt: str) -> None:
    found = stack(f"  T: {{Type: 'AWS::SNS::Topic', Properties: {{TopicName: {spoilt}}}}}\n")
    tidy(found.body)
    assert spoilt in found.text


def test_a_container_that_copilot_builds_gets_its_image_by_a_parameter() -> None:
    made = stack(
        "  T:\n    Type: AWS::ECS::TaskDefinition\n    Properties:\n      ContainerDefinitions:\n"
        "        - {Name: web, Image: !Ref ContainerImage}\n        - Name: start-up\n          Image:\n",
        "Parameters:\n  ContainerImage: {Type: String}\n  EnvFileARN: {Type: String}\n",
        {"ContainerImage": "", "EnvFileARN": ""},
    )
    assert made.asked == ("ContainerImage", "ContainerImageForstartDASHup")
    assert made.values == {}
    assert made.body["Parameters"]["EnvFileARN"]["Default"] == ""
    assert "Image: !Ref ContainerImageForstartDASHup" in made.text


def test_what_copilot_makes_up_at_each_packaging_is_not_written_down() -> None:
    made = stack("  D:\n    Type: Custom::DynamicDesiredCountFunction\n    Properties: {UpdateID: 0a1b}\n")
    assert "0a1b" not in made.text
    assert "UpdateID: !Ref DeployID" in made.text
    assert made.asked == ("AppName", "DeployID")


def test_the_managers_role_trusts_this_account_where_no_other_is_given() -> None:
    made = stack(
        "  EnvironmentManagerRole:\n    Type: AWS::IAM::Role\n    Properties:\n"
        "      AssumeRolePolicyDocument:\n"
        "        Statement: [{Principal: {AWS: !Sub '${ToolsAccountPrincipalARN}'}}]\n",
        "Parameters: {ToolsAccountPrincipalARN: {Type: String}}\n",
        {"ToolsAccountPrincipalARN": "arn:aws:iam::111122223333:root"},
    )
    assert made.asked == ()
    root = "!Sub 'arn:${AWS::Partition}:iam::${AWS::AccountId}:root'"
    assert f"!If [ToolsAccountIsThisAccount, {root}, !Ref ToolsAccountPrincipalARN]" in made.text


def test_only_values_that_hold_in_every_account_are_written_down() -> None:
    more = "Parameters:\n  A: {Type: String}\n  B: {Type: String}\n  C: {Type: String}\n"
    made = stack(
        "  T: {Type: 'AWS::SNS::Topic'}\n", more, {"A": "1", "B": "arn:aws:iam::111122223333:role/r", "C": ""}
    )
    assert made.values == {"A": "1"}
    assert made.asked == ("B",)


def test_tidying_takes_away_what_nothing_uses_and_keeps_the_order_that_no_reference_gives() -> None:
    body = loaded("""
Parameters: {Unused: {Type: String}, OnlyByUnused: {Type: String}, Used: {Type: String}}
Conditions:
  Never: !Equals [!Ref OnlyByUnused, '']
  Kept: !Equals [!Ref Used, '']
Resources:
  A: {Type: 'AWS::SNS::Topic', DeletionPolicy: Retain}
  B:
    Type: AWS::SNS::Topic
    DependsOn: [A, C, D]
    Properties:
      Name: !Sub '${A}'
      Other: !If [Kept, !Ref C, !Ref 'AWS::NoValue']
      Long: {'Fn::If': [Kept, {Ref: D}, x]}
  E: {Type: 'AWS::SNS::Topic', DependsOn: A, Properties: {Name: {'Fn::GetAtt': [A, Arn]}}}
""")
    tidy(body)
    assert list(body["Parameters"]) == ["Used"]
    assert list(body["Conditions"]) == ["Kept"]
    assert body["Resources"]["B"]["DependsOn"] == ["C", "D"]
    assert "DependsOn" not in body["Resources"]["E"]
    assert body["Resources"]["A"]["UpdateReplacePolicy"] == "Retain"


def test_copilots_own_findings_are_excused_with_the_reason_and_a_users_are_not() -> None:
    body = loaded("Resources:\n  AccessPoint: {Type: 'AWS::EFS::AccessPoint'}\n")
    known = LintFinding(
        "t", 1, "Resources/AccessPoint/Properties/RootDirectory/Path/Fn::Sub", "W1020", "warning", ""
    )
    own = LintFinding("t", 1, "Resources/AccessPoint/Properties", "E3002", "error", "")
    assert excuse(body, [known, own, known]) == [own]
    config = body["Resources"]["AccessPoint"]["Metadata"]["cfn-lint"]["config"]
    assert config == {"ignore_checks": ["W1020"]}


def test_the_readme_names_each_stack_its_tags_and_what_is_to_be_given() -> None:
    made = stack(
        "  T: {Type: 'AWS::SNS::Topic'}\n",
        "Parameters: {ContainerImage: {Type: String}}\n",
        {"ContainerImage": ""},
    )
    text = readme("demo", "test", "demo-infrastructure-artifacts", [("web", made)])
    assert "| `demo-test-web` | `ContainerImage` |" in text
    tags = "copilot-application=demo copilot-environment=test copilot-service=web"
    assert f'deploy demo-test-web "{tags}" ContainerImage=…' in text


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "cloudformation/test", tmp_path)


def test_what_was_written_before_is_written_again_and_what_somebody_edited_is_foreign(folder: Folder) -> None:
    assert folder.states({"a/b.yml": b"1"}) == {"a/b.yml": "new"}
    folder.write({"a/b.yml": b"1", "c.yml": b"1"})
    (folder.path / "c.yml").write_text("edited")
    (folder.path / "d.yml").write_text("somebody's")
    again = {"a/b.yml": b"2", "c.yml": b"2", "d.yml": b"2"}
    assert list(folder.states(again).values()) == ["changed", "foreign", "foreign"]
    assert folder.states({"a/b.yml": b"1"}) == {"a/b.yml": "unchanged"}
    folder.write(again)
    assert list(folder.states(again).values()) == ["unchanged"] * 3
    assert not list(folder.path.rglob(".*"))


@pytest.mark.parametrize("spoilt", ["[]", "{", '{"a": 1}', "[" * 9999])
def test_where_the_note_of_what_is_ours_is_spoilt_nothing_is_ours(folder: Folder, spoilt: str) -> None:
    folder.write({"a": b"1"})
    (folder.path / "contents.json").write_text(spoilt)
    assert folder.states({"a": b"2"}) == {"a": "foreign"}


def test_a_link_is_not_followed(folder: Folder, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder.path.parent.mkdir()
    folder.path.symlink_to(elsewhere)
    with pytest.raises(Refused, match="is a link, which is not followed"):
        folder.states({"a": b"1"})
    folder.path.unlink()
    folder.path.mkdir()
    (folder.path / "a").symlink_to(elsewhere / "a")
    with pytest.raises(Refused, match="is a link"):
        folder.states({"a": b"1"})
    (folder.path / "contents.json").symlink_to(elsewhere / "contents.json")
    with pytest.raises(Refused, match="is a link"):
        folder.write({"b": b"1"})
    assert not list(elsewhere.iterdir())


def test_a_folder_where_a_file_is_to_be_written_is_refused(folder: Folder) -> None:
    (folder.path / "a").mkdir(parents=True)
    with pytest.raises(Refused, match="is not a file"):
        folder.states({"a": b"1"})


def session(root: Path, report: FakeReport) -> Session:
    (root / "copilot/environments/test").mkdir(parents=True, exist_ok=True)
    (root / "copilot/environments/test/manifest.yml").write_text("name: test\n")
    return Session(load(root, {"COPILOT_APP": "demo"}), RealShell(), report, {})


ASKED = Options("test", service="", output="", domain="", yes=False, plan=False)


def test_what_is_foreign_is_overwritten_only_after_a_yes(folder: Folder, tmp_path: Path) -> None:
    folder.path.mkdir(parents=True)
    file = folder.path / "a"
    file.write_text("somebody's")
    made = Package({"a": b"ours"}, [])
    report = FakeReport(answer=False)
    with pytest.raises(Refused, match="Nothing was changed"):
        workflow._write(session(tmp_path, report), folder, made, ASKED)
    assert "edited since: a?" in report.asked[0]
    assert file.read_text() == "somebody's"
    workflow._write(session(tmp_path, report), folder, made, replace(ASKED, yes=True))
    assert file.read_text() == "ours"


def test_a_plan_writes_nothing_and_tells_each_file(folder: Folder, tmp_path: Path) -> None:
    report = FakeReport()
    finding = LintFinding("a.yml", 3, "Resources/X", "E3002", "error", "no such property")
    made = Package({"a.yml": b"1"}, [finding])
    workflow._write(session(tmp_path, report), folder, made, replace(ASKED, plan=True))
    assert report.printed == [f"new       {folder.path / 'a.yml'}"]
    assert report.said[0] == "a.yml:3: E3002: no such property"
    assert not folder.path.exists()


def test_what_copilot_refuses_is_told_in_its_words() -> None:
    with pytest.raises(SettingsError, match="Copilot does not deploy web: no such container"):
        workflow._accepted(Refusal("no such container"), "web")


def test_a_folder_that_cannot_be_made_is_told(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.path.parent.write_text("a file")
    monkeypatch.setattr(workflow, "_manifests", lambda *_: {})
    monkeypatch.setattr(workflow, "_render", lambda *_: Package({"a.yml": b"1"}, []))
    with pytest.raises(Failed, match=r"cloudformation/test cannot be written: .*--output"):
        workflow.package(session(tmp_path, FakeReport()), ASKED)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        (replace(ASKED, environment=""), UsageError, "--env production"),
        (replace(ASKED, environment="nope"), SettingsError, r"no environment 'nope' \(test\)"),
        (replace(ASKED, domain="no domain"), SettingsError, "--domain='no domain' is not a domain"),
        (replace(ASKED, service="nope"), SettingsError, r"no service 'nope' \(site, web\)"),
        (
            ASKED,
            SettingsError,
            "site is a 'Static Site', which cannot be packaged: name another with --service",
        ),
    ],
)
def test_what_cannot_be_packaged_is_told_before_anything_starts(
    tmp_path: Path, options: Options, error: type[Exception], says: str
) -> None:
    for name, kind in (("web", "Backend Service"), ("site", "Static Site")):
        (tmp_path / "copilot" / name).mkdir(parents=True)
        (tmp_path / "copilot" / name / "manifest.yml").write_text(json.dumps({"name": name, "type": kind}))
    with pytest.raises(error, match=says):
        workflow.package(session(tmp_path, FakeReport()), options)
