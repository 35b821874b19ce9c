"""Replace everything in Copilot's template that belongs to one account by parameters.

Stack names, logical ids and exports stay the same, so that stacks made by Copilot can be updated in place.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ruamel.yaml.comments import CommentedMap, TaggedScalar

from copilot_testenv.copilot.templates import Template
from copilot_testenv.core.errors import Failed, SettingsError
from copilot_testenv.export.tree import dumped, items, loaded, references, snippet, tag_of, tagged

BUCKET, KEY, DEPLOYMENT = "ArtifactBucket", "ArtifactKeyARN", "DeployID"
_ADDED = {
    BUCKET: "The bucket that the files in assets/ are in",
    KEY: "The KMS key that the bucket's objects are encrypted with",
    DEPLOYMENT: "Another value at each deployment, so that the number of tasks is read again",
}
_BUILT = "The image of the container {}, built by you"
_TASK, _LAMBDA, _COUNT = (
    "AWS::ECS::TaskDefinition",
    "AWS::Lambda::Function",
    "Custom::DynamicDesiredCountFunction",
)
_LOOKED_INTO = (_TASK, _LAMBDA, _COUNT)
_ADDONS, _CONTAINERS = "AddonsStack", "ContainerDefinitions"
_TOOLS, _THIS_ACCOUNT = "ToolsAccountPrincipalARN", "ToolsAccountIsThisAccount"


@dataclass(frozen=True)
class Origin:
    """The account that a template was rendered in."""

    account: str
    region: str
    bucket: str


@dataclass(frozen=True)
class Stack:
    """A stack to write: its template, the values for every account, the parameters that users must give."""

    name: str
    body: CommentedMap
    values: Mapping[str, str]
    asked: tuple[str, ...]
    addons: str | None = None

    @property
    def functions(self) -> list[str]:
        """Return the keys of the zip files with the code of its Lambda functions."""
        codes = [
            resource["Properties"].get("Code")
            for resource in self.body["Resources"].values()
            if resource.get("Type") == _LAMBDA
        ]
        return sorted({str(code["S3Key"]) for code in codes if isinstance(code, dict) and "S3Key" in code})

    @property
    def text(self) -> str:
        return dumped(self.body)


def addons_key(service: str, addons: str) -> str:
    """Return the bucket's key of the addons' template, as Copilot chooses it."""
    return f"manual/addons/{service}/{hashlib.sha256(addons.encode()).hexdigest()}.yml"


def freed(name: str, service: str, found: Template, origin: Origin) -> Stack:
    """Return the stack of a service, or of an environment (`service` is "environments", as in the bucket).

    Raises SettingsError if patches have broken the template, Failed if it still names the account.
    """
    body = loaded(found.text)
    _check(body, name)
    account = _Account(origin)
    for section in [key for key in body if key != "Metadata"]:  # Metadata is the user's own manifest
        body[section] = account.free(body[section])
    images = dict(_images(body))
    _update_ids(body)
    _tools_account(body)
    if found.addons is not None:
        _addons(body, addons_key(service, found.addons))
    used, parameters = references(body), body["Parameters"]
    for parameter, description in {**_ADDED, **images}.items():
        if parameter in used and parameter not in parameters:
            parameters[parameter] = CommentedMap(Type="String", Description=description)
    for parameter, value in found.parameters.items():
        # In an existing stack, a parameter without a value keeps the value from services or from Copilot.
        if not value and parameter in parameters and parameter != "ContainerImage":
            parameters[parameter]["Default"] = ""
    values = {
        parameter: value
        for parameter, value in found.parameters.items()
        if value and parameter in parameters and not account.of(value)
    }
    stack = Stack(name, body, values, _must_be_given(body, values), found.addons)
    without_manifest = dumped({key: value for key, value in body.items() if key != "Metadata"})
    if account.of(without_manifest):
        raise Failed(
            f"The template of {name} names the account it was rendered in, at an unexpected place: look for "
            "the account in the output of `copilot svc package`, and report it."
        )
    return stack


def _check(body: Any, name: str) -> None:
    """Raise SettingsError if patches gave a section the wrong form, which this code cannot process.

    CloudFormation refuses such a template too.
    """
    for section in ("Parameters", "Conditions", "Resources", "Outputs"):
        content = body.get(section, {}) if isinstance(body, dict) else None
        is_valid = isinstance(content, dict) and (
            section == "Conditions" or all(_is_valid(*item) for item in content.items())
        )
        if not is_valid or not (content or section in {"Conditions", "Outputs"}):
            raise SettingsError(
                f"The template of {name} has no valid {section}: correct the override patches."
            )


def _is_valid(name: str, item: Any) -> bool:
    if not isinstance(item, dict) or not all(
        isinstance(item.get(key, {}), dict) for key in ("Properties", "Metadata")
    ):
        return False
    if item.get("Type") not in _LOOKED_INTO and name != _ADDONS:
        return True
    return "Properties" in item and isinstance(item["Properties"].get(_CONTAINERS, []), list)


def _must_be_given(body: CommentedMap, values: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(
        name
        for name, declared in body["Parameters"].items()
        if name not in values and "Default" not in declared
    )


class _Account:
    """Replaces the account, region and bucket of the rendering by those of the stack that is deployed."""

    def __init__(self, origin: Origin) -> None:
        account, region, bucket = map(re.escape, (origin.account, origin.region, origin.bucket))
        self._specific = re.compile(f"{account}|{bucket}")
        self._rules = [
            (re.compile(pattern), instead)
            for pattern, instead in (
                (f"arn:aws:kms:{region}:{account}:key/[0-9a-f-]+", f"${{{KEY}}}"),
                (f"arn:aws:s3:::{bucket}", f"arn:${{AWS::Partition}}:s3:::${{{BUCKET}}}"),
                (rf"{bucket}\.s3\.({region}\.)?amazonaws\.com", _HOST),
                (bucket, f"${{{BUCKET}}}"),
                (f"arn:aws:([a-z0-9-]+):{region}:{account}:", _arn(r"\1", "${AWS::Region}")),
                (f"arn:aws:([a-z0-9-]+)::{account}:", _arn(r"\1", "")),
            )
        ]

    def of(self, text: str) -> bool:
        return bool(self._specific.search(text))

    def _text(self, text: str) -> str:
        for pattern, instead in self._rules:
            text = pattern.sub(instead, text)
        return text

    def free(self, node: Any) -> Any:
        """Return the node without the account: a text that names it becomes a `!Ref` or a `!Sub`."""
        if isinstance(node, TaggedScalar):
            node.value = self._text(node.value)
        elif isinstance(node, dict | list):
            for key, value in items(node):
                of_sub = key == "Fn::Sub" or tag_of(node) == "!Sub"
                node[key] = self._text(value) if of_sub and isinstance(value, str) else self.free(value)
        elif isinstance(node, str) and self.of(node):
            text = self._text(node.replace("${", "${!"))
            whole = re.fullmatch(r"\$\{(\w+)\}", text)
            return tagged("!Ref", whole[1]) if whole else tagged("!Sub", text)
        return node


_HOST = f"${{{BUCKET}}}.s3.${{AWS::Region}}.${{AWS::URLSuffix}}"


def _arn(service: str, region: str) -> str:
    return f"arn:${{AWS::Partition}}:{service}:{region}:${{AWS::AccountId}}:"


def _images(body: CommentedMap) -> Iterator[tuple[str, str]]:
    """Give each container whose image Copilot would build a parameter; yield it with its description."""
    for resource in body["Resources"].values():
        if resource.get("Type") != _TASK:
            continue
        for container in resource["Properties"].get(_CONTAINERS, []):
            if isinstance(container, dict) and "Image" in container and container["Image"] is None:
                name = str(container.get("Name"))
                # As Copilot writes EnvFileARNForstartDASHup.
                parameter = f"ContainerImageFor{re.sub('[^A-Za-z0-9]', '', name.replace('-', 'DASH'))}"
                container["Image"] = tagged("!Ref", parameter)
                yield parameter, _BUILT.format(name)


def _update_ids(body: CommentedMap) -> None:
    """Replace the random ids that Copilot writes at each packaging, so that the output stays the same."""
    for resource in body["Resources"].values():
        properties = resource.get("Properties")
        if resource.get("Type") == _COUNT and "UpdateID" in properties:
            properties["UpdateID"] = tagged("!Ref", DEPLOYMENT)


def _tools_account(body: CommentedMap) -> None:
    """Let the environment's manager role trust this account if no other account is given."""
    role = body["Resources"].get("EnvironmentManagerRole")
    if role is None or _TOOLS not in body["Parameters"]:
        return
    body["Parameters"][_TOOLS]["Default"] = ""
    body.setdefault("Conditions", CommentedMap())[_THIS_ACCOUNT] = snippet(f"!Equals [!Ref {_TOOLS}, '']")
    _trust_this_account(role)


def _trust_this_account(node: Any) -> None:
    for key, value in items(node):
        if isinstance(value, TaggedScalar) and value.value == f"${{{_TOOLS}}}":
            node[key] = snippet(
                f"!If [{_THIS_ACCOUNT}, !Sub 'arn:${{AWS::Partition}}:iam::${{AWS::AccountId}}:root', "
                f"!Ref {_TOOLS}]"
            )
        else:
            _trust_this_account(value)


def _addons(body: CommentedMap, key: str) -> None:
    nested = body["Resources"].get(_ADDONS)
    if nested is None:  # a patch has removed it
        return
    nested["Properties"]["TemplateURL"] = tagged("!Sub", f"https://{_HOST}/{key}")
    if "HasAddons" in body.get("Conditions", ()):
        body["Conditions"]["HasAddons"] = snippet(f"!Not [!Equals [!Ref {BUCKET}, '']]")
