"""Read the templates that `invoke package` wrote into the repository, where Copilot is not installed.

They are a branch's own files: nothing in them is trusted more than a manifest.
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from copilot_testenv.branch_guard.template_values import LATE
from copilot_testenv.copilot import branch_service, capacity, cloudformation, manifest
from copilot_testenv.copilot.branch_service import Addresses
from copilot_testenv.copilot.templates import Refusal, Template
from copilot_testenv.core import workspace_files
from copilot_testenv.core.errors import SettingsError
from copilot_testenv.core.settings import Settings

FOLDER = "cloudformation"
ISOLATED = "isolated"  # the folder, in an environment's, of the template for branches' own services
SLUG = "slotplaceholder"  # stands for a branch's slug in that template
HOST = f"{SLUG}.host.invalid"  # stands for its host name, where that is not below TEST_DOMAIN
_ADDONS = re.compile(r"manual/addons/[a-z0-9-]+/[0-9a-f]{64}\.yml")
_LARGEST = 1 << 20  # bytes, CloudFormation's limit of a template
_LARGEST_CODE = 50 << 20  # bytes, Lambda's limit of an archive
_RULE = re.compile(r"HTTPListenerRule\d*")


def folder_of(environment: str) -> str:
    """Return the folder of an environment's templates, relative to the workspace."""
    return f"{FOLDER}/{environment}"


@dataclass(frozen=True)
class Packaged:
    """The templates of one environment, for the slot of the settings; see Templates."""

    settings: Settings

    @property
    def paths(self) -> tuple[str, ...]:
        return ("copilot", folder_of(self.settings.test_env))

    @property
    def has_overrides(self) -> bool:
        """False: the overrides are in the templates already."""
        return False

    def service(self, workspace: Path, service: str, environment: str) -> Template | Refusal:
        """Return the template of the slot's service, with the slot's own names."""
        settings = self.settings
        stack = settings.shared.stack_name
        file = f"{folder_of(environment)}/{f'{ISOLATED}/' if settings.slug else ''}{stack}"
        try:
            text = _text(workspace / f"{file}.yml", workspace)
            values = _parameters(_text(workspace / f"{file}.parameters.json", workspace))
            addons = _addons(text, workspace, environment)
            if settings.capacity == capacity.SPOT_FIRST and not _has_spot(workspace, service, environment):
                text = text.replace("FARGATE_SPOT", "FARGATE")  # the deploy is tried again, on demand
            if settings.slug:
                addresses = self._addresses(workspace, service, environment)
                text = self._own(text, addresses)
                values = {key: self._own(each, addresses) for key, each in values.items()}
                if settings.target == "sandbox":
                    text = _answering_to(addresses.host_of(settings), text)
        except FileNotFoundError as error:
            return Refusal(_missing(workspace, Path(str(error.filename)), environment))
        except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError, RecursionError) as error:
            return Refusal(f"{file}.yml cannot be read: {' '.join(str(error).split())}")
        # A branch does not say which environment it is deployed to, nor what is uploaded for it.
        values = {key: value for key, value in values.items() if not LATE.fullmatch(key)}
        named = {"AppName": settings.app, "EnvName": environment, "WorkloadName": service}
        return Template(text, {**values, **named}, addons)

    def note(self, workspace: Path) -> str:
        """Return a line where the manifest is not the one that was packaged: the template is deployed."""
        settings = self.settings
        folder = folder_of(settings.test_env)
        file = workspace / folder / f"{settings.shared.stack_name}.yml"
        written = workspace / "copilot" / settings.base / workspace_files.NAME
        try:
            packaged = cloudformation.parse(_text(file, workspace))["Metadata"]["Manifest"]
            same = manifest.parse(packaged, file.name) == manifest.parse(
                settings.filled(_text(written, workspace)), written.name
            )
        except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError, RecursionError, SettingsError):
            return ""  # what cannot be read is told when it is deployed
        if same:
            return ""
        return (
            f"copilot/{settings.base}/manifest.yml was changed since `invoke package` wrote "
            f"{folder}/{file.name}, and the template is what is deployed: where Copilot runs, `invoke "
            f"package --env {settings.test_env}` and commit; else make the change in the template too."
        )

    def _own(self, text: str, own: Addresses) -> str:
        """Return the text with the slot's addresses and slug in the places of the placeholders."""
        settings = self.settings
        for domain in filter(None, (HOST, settings.test_domain and f"{SLUG}.{settings.test_domain}")):
            page = settings.peers[0]
            names = sorted((name for name in own.urls if name != page), key=len, reverse=True)
            for name in names:  # one name can be the end of another
                each, url = f"{name}-{domain}", own.urls[name]
                text = text.replace(f"https://{each}", url).replace(each, urlsplit(url).hostname or "")
            if page in own.urls:
                text = text.replace(f"https://{domain}", own.urls[page])
            text = text.replace(domain, own.host)
        return text.replace(f"_{SLUG}", settings.database_suffix).replace(SLUG, settings.slug)

    def _addresses(self, workspace: Path, service: str, environment: str) -> Addresses:
        """Return the addresses of the branch's own services, from the manifest that was generated for one."""
        found = manifest.read(workspace / "copilot" / service / workspace_files.NAME)
        variables = manifest.mapping(found, "environments", environment, "variables")
        webs = [name for name in self.settings.peers if branch_service.is_web(workspace, name)]
        given = {name: variables.get(branch_service.url_variable(name)) for name in webs if len(webs) > 1}
        urls = {name: str(url) for name, url in given.items() if url}
        return Addresses(str(variables[branch_service.HOST]), urls)


def asset(workspace: Path, environment: str, key: str) -> bytes | None:
    """Return a file that a template needs in the bucket; None where the branch does not have it.

    Raises SettingsError where its name is not the digest of its content.
    """
    file = workspace / folder_of(environment) / "assets" / key
    if not file.exists():
        return None
    body = _bytes(file, workspace, _LARGEST_CODE)
    if hashlib.sha256(body).hexdigest() != file.stem:
        raise SettingsError(
            f"{folder_of(environment)}/assets/{key} is not the file that its name says: run `invoke package` "
            "again, and commit what it writes."
        )
    return body


def _missing(workspace: Path, file: Path, environment: str) -> str:
    shown = file.relative_to(workspace) if file.is_relative_to(workspace) else file.name
    return (
        f"Copilot is not installed, and {shown} is not committed: where Copilot runs, write it with `invoke "
        f"package --env {environment}`, and commit it"
    )


def _bytes(file: Path, workspace: Path, most: int) -> bytes:
    """Return a file's content. Raises SettingsError for a link out of the workspace, ValueError, OSError."""
    manifest.inside(file, workspace)
    if file.exists() and not file.is_file():
        raise ValueError(f"{file.name} is not a file")
    with file.open("rb") as opened:
        body = opened.read(most + 1)
    if len(body) > most:
        raise ValueError(f"{file.name} is larger than {most} bytes")
    return body


def _text(file: Path, workspace: Path) -> str:
    return _bytes(file, workspace, _LARGEST).decode("utf-8")


def _parameters(text: str) -> dict[str, str]:
    found = json.loads(text)
    return {str(each["ParameterKey"]): str(each["ParameterValue"]) for each in found}


def _has_spot(workspace: Path, service: str, environment: str) -> bool:
    """Return True if the manifest in the worktree asks for Spot, which a second try takes out of it."""
    found = manifest.read(workspace / "copilot" / service / workspace_files.NAME)
    block = manifest.mapping(found, "environments", environment)
    return capacity.on_demand(block.get("count", found.get("count"))) is not None


def _answering_to(host: str, text: str) -> str:
    """Let the listener's rules answer to the host only, as branch_service does in the sandbox."""
    for _ in manifest.events(text):  # rejects hostile YAML
        pass
    body = cloudformation.parse(text)
    condition = {"Field": "host-header", "HostHeaderConfig": {"Values": [host]}}
    for name, resource in body["Resources"].items():
        if _RULE.fullmatch(name):
            conditions = resource["Properties"]["Conditions"]
            others = [each for each in conditions if each.get("Field") != "host-header"]
            resource["Properties"]["Conditions"] = [*others, condition]
    return json.dumps(body)


def _addons(text: str, workspace: Path, environment: str) -> str | None:
    """Return the addons' template that a service's template names; None where it names none."""
    found = _ADDONS.search(text)
    if found is None:
        return None
    body = asset(workspace, environment, found[0])
    if body is None:
        file = workspace / folder_of(environment) / "assets" / found[0]
        raise FileNotFoundError(errno.ENOENT, "no such file", str(file))
    return body.decode("utf-8")
