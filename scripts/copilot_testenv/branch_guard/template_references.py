"""Find references of a rendered service to secrets, exports, ARNs and others outside the test environment.

A reference to something in the test environment may be new. Any other must be in the baseline too. A
reference that names another environment or application is refused even if the baseline has it.
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
# The arguments of these functions are checked as texts; any other function could build a name that is not
# seen.
_SEEN_THROUGH = frozenset({"Fn::If", "Fn::Split", "Fn::Select", "Fn::GetAZs"})
# template_changes judges these as a whole, with the ARNs that Copilot writes into them.
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
    """Compare a branch's references with the baseline's.

    `others` are the application's other environments, and the protected ones.
    """

    branch: Rendered
    base: Rendered
    others: Collection[str]

    @property
    def settings(self) -> Settings:
        return self.branch.settings

    def changes(self) -> Iterator[Change]:
        """Yield each reference that is not to the test environment, once for each place."""
        for name, resource in self.branch.resources.items():
            if not isinstance(resource, dict) or resource.get("Type") in _WHOLE:
                continue
            path = ("Resources", name, "Properties")
            yield from self._texts(resource.get("Properties"), path)
        for name in self.branch.resources:
            yield from self._containers(name)

    def _texts(self, value: Any, path: tuple[str, ...]) -> Iterator[Change]:
        for where, text in texts(value, path):
            refused = self._refused_in(text)
            if refused:
                search_texts = _search_texts(value, where, refused)
                yield Change("references", where, f"it refers to {refused}", search_texts)

    def _refused_in(self, text: str) -> str:
        """Return the first reference in a text that is refused; empty where there is none."""
        imports = _IMPORT.findall(text)
        computed = (
            _DYNAMIC.search(text)
            or (text.startswith("Fn::") and text not in _SEEN_THROUGH)
            or "${Fn::" in text.replace("${!", "")
            or text.count("${ImportValue:") > len(imports)
        )
        if computed and (text not in self._known_texts or self._names_another(text)):
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
        """Yield the changed keys of a container that lead out of the task and are not Copilot's own."""
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
                        "its log goes to another place than its own group",
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
        match = _IMPORT.fullmatch(str(source))
        return f"the export {match[1]}" if match else str(source)


def _search_texts(properties: Any, path: tuple[str, ...], reference: str) -> tuple[str, ...]:
    """Return the texts by which a reference at `path` is found in the branch's files.

    They are the parts of its name, and the name of its variable, because a manifest can build the value of a
    variable from several pieces. `properties` are the resource's: `path` begins three keys above them.
    """
    variable = ""
    if "Environment" in path:
        item: Any = properties
        for key in path[3:-1]:
            item = _child(item, key)
            if isinstance(item, dict) and isinstance(item.get("Name"), str):
                variable = item["Name"]
    return tuple(filter(None, (*_parts(reference.removeprefix("the export ")), variable)))


def _child(value: Any, key: str) -> Any:
    """Return the value under a key of a mapping, or at an index of a list; None where there is none."""
    if isinstance(value, dict):
        return value.get(key)
    return value[int(key)] if isinstance(value, list) else None


def _parts(name: str) -> tuple[str, ...]:
    """Return the whole name, then its ends: a manifest may have variables in place of its beginning."""
    plain = re.sub(r"\$\{[^}]*\}", "", name)
    ends = [plain[match.end() :] for match in re.finditer(r"[/:-]+", plain)]
    return (name, *(end for end in ends if len(end) > 3))  # noqa: PLR2004 - shorter ends occur by chance


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
