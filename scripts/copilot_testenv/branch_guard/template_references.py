"""Which secrets, exports, ARNs and other things outside the test environment a rendered service refers to.

What is of this very environment may be new; anything else must be the baseline's, and what names another
environment or another application is refused whoever wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from copilot_testenv.branch_guard.template_changes import Change, Rendered
from copilot_testenv.branch_guard.template_values import texts
from copilot_testenv.core.protection import folded
from copilot_testenv.core.settings import Settings

_ARN = re.compile(r"arn:[^\s\"'`,;|]+", re.IGNORECASE)
_DYNAMIC = re.compile(r"\{\{\s*resolve\s*:", re.IGNORECASE)
_IMPORT = re.compile(r"\$\{ImportValue:([^${}]*)\}")
_PLAIN = re.compile(r"[\w.+=@/-]+")
# Functions whose arguments are looked at like any text; all others could make a name that is not seen here.
_SEEN_THROUGH = frozenset({"Fn::If", "Fn::Split", "Fn::Select", "Fn::GetAZs"})
# Judged as a whole by template_changes, with the ARNs that Copilot writes into them.
_WHOLE = frozenset({"AWS::IAM::Role", "AWS::Lambda::Function", "AWS::SNS::TopicPolicy"})
_CONTAINER = frozenset(
    {
        "Name", "Image", "Command", "EntryPoint", "Environment", "PortMappings", "HealthCheck", "DependsOn",
        "MountPoints", "VolumesFrom", "Essential", "Cpu", "Memory", "MemoryReservation", "Ulimits",
        "StartTimeout", "StopTimeout", "WorkingDirectory", "User", "DockerLabels", "LinuxParameters",
        "ReadonlyRootFilesystem", "Interactive", "PseudoTerminal", "SystemControls", "ResourceRequirements",
        "RestartPolicy", "VersionConsistency",
    }
)  # fmt: skip
_ENV_FILE = re.compile(r"\$\{(Logging)?EnvFileARN\w*\}")


@dataclass(frozen=True)
class References:
    """Judges a branch's references beside the baseline's.

    `others` are the application's other environments, and those that are protected.
    """

    branch: Rendered
    base: Rendered
    others: Collection[str]

    @property
    def settings(self) -> Settings:
        return self.branch.settings

    def changes(self) -> Iterator[Change]:
        """Return each reference that is not the test environment's, once for each place."""
        for name, resource in self.branch.resources.items():
            if not isinstance(resource, dict) or resource.get("Type") in _WHOLE:
                continue
            path = ("Resources", name, "Properties")
            yield from self._texts(resource.get("Properties"), path)
        for name in self.branch.resources:
            yield from self._containers(name)

    def _texts(self, value: Any, path: tuple[str, ...]) -> Iterator[Change]:
        for where, text in texts(value, path):
            found = self._wrong_with(text)
            if found:
                yield Change("references", where, f"it refers to {found}", self._needles(value, where, found))

    def _wrong_with(self, text: str) -> str:
        """Return the first thing in a text that is refused; empty where nothing is."""
        imports = _IMPORT.findall(text)
        made = (
            _DYNAMIC.search(text)
            or (text.startswith("Fn::") and text not in _SEEN_THROUGH)
            or "${Fn::" in text.replace("${!", "")
            or text.count("${ImportValue:") > len(imports)
        )
        if made and (text not in self._known_texts or self._names_another(text)):
            return text
        for name in imports:
            if not self._is_own_export(name) and (
                name not in self._known_exports or self._names_another(name)
            ):
                return f"the export {name}"
        for arn in _ARN.findall(text):
            if not self._is_own_arn(arn) and (arn not in self._known_arns or self._names_another(arn)):
                return str(arn)
        return ""

    def _containers(self, task: str) -> Iterator[Change]:
        listed = self.branch.properties(task).get("ContainerDefinitions")
        before = {
            str(each.get("Name")): each
            for name in self.base.resources
            for each in _list(self.base.properties(name).get("ContainerDefinitions"))
            if isinstance(each, dict)
        }
        for number, each in enumerate(_list(listed)):
            if not isinstance(each, dict):
                continue
            path = ("Resources", task, "Properties", "ContainerDefinitions", str(number))
            known = before.get(str(each.get("Name")), {})
            yield from self._secrets(each.get("Secrets"), (*path, "Secrets"))
            yield from self._kept(each, known, path)

    def _secrets(self, listed: Any, path: tuple[str, ...]) -> Iterator[Change]:
        if listed is not None and not isinstance(listed, list):
            yield Change("references", path, "its secrets are no list", ("secrets",))
        for number, each in enumerate(_list(listed)):
            source = each.get("ValueFrom") if isinstance(each, dict) else each
            variable = str(each.get("Name")) if isinstance(each, dict) else "?"
            if isinstance(source, str) and self._is_own_secret(source):
                continue
            known = isinstance(source, str) and source in self._known_secrets
            if not known or self._names_another(source):
                yield Change(
                    "references", (*path, str(number)), f"its secret {variable} is {self._shown(source)}",
                    (*_parts(str(source)), variable),
                )  # fmt: skip

    def _kept(self, each: dict[str, Any], known: dict[str, Any], path: tuple[str, ...]) -> Iterator[Change]:
        """Yield what of a container leads out of the task: as the baseline's, or as Copilot writes it."""
        for key in each.keys() - {"Secrets"}:
            value = each[key]
            if value == known.get(key):
                continue
            where = (*path, key)
            if key == "EnvironmentFiles":
                if not all(_is_copilots_file(item) for item in _list(value)) or not isinstance(value, list):
                    yield Change(
                        "references",
                        where,
                        "it reads variables from a file that is not its own",
                        (key, "env_file"),
                    )
            elif key == "LogConfiguration":
                if not _is_own_log(value):
                    yield Change(
                        "references",
                        where,
                        "its log goes elsewhere than to its own group",
                        (f"{key}", "logging"),
                    )
            elif key == "RepositoryCredentials":
                yield Change(
                    "references", where, "it uses the credentials of an image registry", (key, "credentials")
                )
            elif key not in _CONTAINER:
                yield Change("resources", where, f"it sets {key} of the container {each.get('Name')}", (key,))

    def _is_own_secret(self, source: str) -> bool:
        return (
            self._is_own_path(source)
            or self._is_own_arn(source)
            or bool(re.fullmatch(r"\$\{AddonsStack\.Outputs\.\w+\}", source))
            or bool((found := _IMPORT.fullmatch(source)) and self._is_own_export(found[1]))
        )

    def _is_own_path(self, name: str) -> bool:
        own = f"/copilot/{self.settings.app}/{self.settings.test_env}/secrets/"
        return name.startswith(own) and bool(_PLAIN.fullmatch(name)) and "/." not in name

    def _is_own_arn(self, arn: str) -> bool:
        settings, here = self.settings, "${AWS::Region}:${AWS::AccountId}:"
        start = "arn:${AWS::Partition}:"
        if arn.startswith(f"{start}ssm:{here}parameter/"):
            return self._is_own_path(arn.removeprefix(f"{start}ssm:{here}parameter"))
        if arn.startswith(f"{start}secretsmanager:{here}secret:"):
            name = arn.removeprefix(f"{start}secretsmanager:{here}secret:")
            plain = name.partition(":")[0]
            own = plain.startswith(f"{settings.app}/{settings.test_env}/") and bool(_PLAIN.fullmatch(plain))
            return (own and "/." not in plain) or self._is_own_path(plain)
        if arn.startswith(f"{start}sns:{here}"):  # COPILOT_SNS_TOPIC_ARNS
            name = arn.removeprefix(f"{start}sns:{here}").rstrip("}")
            return bool(re.fullmatch(rf"{re.escape(settings.stack_name)}-[\w.-]+", name))
        return False

    def _is_own_export(self, name: str) -> bool:
        return name.startswith(f"{self.settings.app}-{self.settings.test_env}-")

    def _names_another(self, source: object) -> bool:
        """Return True where a name, a path or an ARN names another environment or application."""
        text = str(source)
        if self._is_own_path(text) or self._is_own_arn(text):
            return False
        settings = self.settings
        found = re.search(r"/copilot/([^/]+)/([^/]+)/", text)
        if found and (found[1], found[2]) != (settings.app, settings.test_env):
            return True
        if _IMPORT.search(text) and all(self._is_own_export(name) for name in _IMPORT.findall(text)):
            return False
        low = text.casefold()
        return any(
            f"{settings.app}-{other}-" in low or other in map(folded, re.split(r"[/:\-]", text))
            for other in map(folded, self.others)
        )

    @cached_property
    def _known_texts(self) -> frozenset[str]:
        return frozenset(text for _, text in texts(self.base.body.get("Resources")))

    @cached_property
    def _known_exports(self) -> frozenset[str]:
        return frozenset(name for text in self._known_texts for name in _IMPORT.findall(text))

    @cached_property
    def _known_arns(self) -> frozenset[str]:
        return frozenset(arn for text in self._known_texts for arn in _ARN.findall(text))

    @cached_property
    def _known_secrets(self) -> frozenset[str]:
        return frozenset(
            secret["ValueFrom"]
            for name in self.base.resources
            for each in _list(self.base.properties(name).get("ContainerDefinitions"))
            if isinstance(each, dict)
            for secret in _list(each.get("Secrets"))
            if isinstance(secret, dict) and isinstance(secret.get("ValueFrom"), str)
        )

    def _shown(self, source: object) -> str:
        found = _IMPORT.fullmatch(str(source))
        return f"the export {found[1]}" if found else str(source)

    def _needles(self, value: Any, where: tuple[str, ...], found: str) -> tuple[str, ...]:
        name = found.removeprefix("the export ")
        variable = ""
        if "Environment" in where:  # the variable's name, where its value is spelt in pieces
            item: Any = value
            for key in where[3:-1]:
                item = (
                    item.get(key)
                    if isinstance(item, dict)
                    else item[int(key)]
                    if isinstance(item, list)
                    else None
                )
                if isinstance(item, dict) and isinstance(item.get("Name"), str):
                    variable = item["Name"]
        return tuple(filter(None, (*_parts(name), variable)))


def _parts(name: str) -> tuple[str, ...]:
    """Yield the whole name, then its ends: a manifest may write variables for its beginning."""
    plain = re.sub(r"\$\{[^}]*\}", "", name)
    ends = [plain[found.end() :] for found in re.finditer(r"[/:-]+", plain)]
    return (name, *(end for end in ends if len(end) > 3))  # noqa: PLR2004 - shorter ends stand anywhere


def _is_copilots_file(item: Any) -> bool:
    inner = item.get("Fn::If") if isinstance(item, dict) else None
    if not isinstance(inner, list) or len(inner) != 3 or inner[2] != "":  # noqa: PLR2004 - condition, then, else
        return False
    file = inner[1]
    return (
        isinstance(file, dict)
        and set(file) == {"Type", "Value"}
        and file["Type"] == "s3"
        and bool(_ENV_FILE.fullmatch(str(file["Value"])))
    )


def _is_own_log(value: Any) -> bool:
    options = value.get("Options") if isinstance(value, dict) else None
    return (
        isinstance(value, dict)
        and set(value) == {"LogDriver", "Options"}
        and value["LogDriver"] == "awslogs"
        and isinstance(options, dict)
        and options.get("awslogs-group") == "${LogGroup}"
        and options.get("awslogs-region") == "${AWS::Region}"
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
