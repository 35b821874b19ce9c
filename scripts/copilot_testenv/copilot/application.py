"""Read Copilot's records of the application, and remove a branch's own service from them.

Copilot's `svc delete` removes a service from the application only without the name of an environment, and
then it assumes the role of each environment, also production's. So that step is done here without any
environment's role: it removes the service's images, its repository in the application's stack set, and its
name. Source: internal/pkg/cli/svc_delete.go and internal/pkg/deploy/cloudformation/app.go of aws/copilot-cli
1.34.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import yaml

from copilot_testenv.copilot import cloudformation, images
from copilot_testenv.core import workspace_files
from copilot_testenv.core.errors import Failed, Refused

if TYPE_CHECKING:
    from copilot_testenv.aws import Aws
    from copilot_testenv.core.settings import Settings

# UpdateStackSet takes a template of 51,200 bytes, and Copilot sends the application's as it is.
# Source: https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html
LONGEST = 51_200
A_SERVICE = 1_500  # bytes in the template for a service with a name of 60 letters
Image = Mapping[str, str]  # as ECR lists it: its digest, and its tag where it has one
_AGAIN = 8  # attempts, where other changes of the application come first


def stack_set(settings: Settings) -> str:
    return f"{settings.app}-infrastructure"


def domain(settings: Settings, aws: Aws) -> str:
    """Return the application's domain, empty where it has none. Raises Failed for an unknown application.

    `copilot app show` is not used, because it queries every environment.
    Source: internal/pkg/config/app.go of aws/copilot-cli 1.34.
    """
    record = aws.parameter(f"/copilot/applications/{settings.app}")
    if record is None:
        raise Failed(f"Copilot knows no application {settings.app} in {aws.region}: is that its region?")
    return str(json.loads(record).get("domain") or "")


def knows(settings: Settings, aws: Aws) -> bool:
    """Return True if the application has a service or job of that name.

    Source: internal/pkg/config/workload.go of aws/copilot-cli 1.34.
    """
    return aws.parameter(f"/copilot/applications/{settings.app}/components/{settings.service}") is not None


def require_room(settings: Settings, aws: Aws) -> None:
    """Raise Failed where the application's stack set has no room for one more service."""
    size = len(str(aws.stack_set(stack_set(settings))["TemplateBody"]).encode())
    if size + A_SERVICE > LONGEST:
        raise Failed(
            f"The application {settings.app} has as many services as Copilot can keep (its template has "
            f"{size} of {LONGEST} bytes): tear down an isolated deployment first, or use the shared slot."
        )


def change(
    settings: Settings, aws: Aws, edit: Callable[[str], tuple[str, int] | None], pause: Callable[[], None]
) -> bool:
    """Change the application's template in its stack set; return False where others came first each time.

    `edit` returns the changed template and its version, or None where there is nothing to change.
    """
    for _ in range(_AGAIN):
        current = aws.stack_set(stack_set(settings))
        changed = edit(str(current["TemplateBody"]))
        if changed is None or aws.update_stack_set(current, changed[0], str(changed[1])):
            return True
        pause()
    return False


def withdraw(settings: Settings, aws: Aws, pause: Callable[[], None]) -> list[str]:
    """Remove an isolated service from the application; return the names of the removed things. Idempotent.

    Its stack must be gone. Raises Refused for any other service, Failed where AWS refuses the change.
    """
    pushed = require_ours(settings, aws, aws.every_stack())
    return withdraw_several([(settings, pushed)], aws, pause)[settings.service]


def withdraw_several(
    slots: Sequence[tuple[Settings, Sequence[Image]]], aws: Aws, pause: Callable[[], None]
) -> dict[str, list[str]]:
    """Remove several isolated services by one change of the application's stack set, which takes a while.

    Each comes with its images, as `require_ours` returns them. Return the names of the removed things by
    service; see `withdraw`.
    """
    gone: dict[str, list[str]] = {own.service: [] for own, _ in slots}

    def without_all(text: str) -> tuple[str, int] | None:
        version = 0
        for own, pushed in slots:
            if changed := without(text, images.repository(own), own.service):
                if not gone[own.service]:
                    aws.empty_repository(images.repository(own), pushed)
                gone[own.service] = [f"repository {images.repository(own)}"]
                text, version = changed
        return (text, version) if version else None

    first = slots[0][0]
    if not change(first, aws, without_all, pause):
        names = ", ".join(gone)
        raise Failed(
            f"{names} could not be removed from the application {first.app}: another change came first "
            "each time. Run `invoke teardown` again."
        )
    names_of = {own.service: f"/copilot/applications/{own.app}/components/{own.service}" for own, _ in slots}
    known = aws.delete_parameters(list(names_of.values()))
    return {
        service: [*gone[service], *([f"service {service}"] if name in known else [])]
        for service, name in names_of.items()
    }


def require_ours(settings: Settings, aws: Aws, stacks: Collection[str]) -> Sequence[Image]:
    """Return the images of a branch's service, whose own stack is gone.

    `stacks` are the names of all. Raises Refused where the service is not a branch's, or something else seems
    to use it.
    """
    if not settings.slug:
        raise Refused(f"{settings.service} is not an isolated deployment: it stays in the application.")
    others = workspace_files.environment_names(settings.root) | set(settings.protected_envs)
    for name in sorted(others - {settings.test_env}):
        if f"{settings.app}-{name}-{settings.service}" in stacks:
            raise Refused(
                f"{settings.service} is also deployed to {name}, which these tasks never do: it stays in the "
                "application, with its images."
            )
    pushed = aws.image_list(images.repository(settings))
    foreign = images.foreign(settings, [image["imageTag"] for image in pushed if "imageTag" in image])
    if foreign:
        raise Refused(
            f"The repository {images.repository(settings)} has images that these tasks did not push "
            f"({foreign[0]}): {settings.service} stays in the application, with its images."
        )
    return pushed


def without(text: str, repository: str, service: str) -> tuple[str, int] | None:
    """Return the application's template without a service, and its new version; None without that service.

    Only the lines of that service are removed, and the version changes, as Copilot would write it. Raises
    Failed where the template is not as Copilot 1.34 writes it.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        before = cloudformation.parse(text)
        name = next(
            (
                key
                for key, resource in before["Resources"].items()
                if resource["Type"] == "AWS::ECR::Repository"
                and resource["Properties"]["RepositoryName"] == repository
            ),
            None,
        )
        kept = [workload for workload in before["Metadata"]["Workloads"] if workload["Name"] != service]
        if name is None and len(kept) == len(before["Metadata"]["Workloads"]):
            return None
        version = int(before["Metadata"]["Version"]) + 1
        cuts = [
            *_entries(value_of(root, "Metadata", "Workloads"), lambda entry: _name_of(entry) == service),
            *_entries(value_of(root, "Resources"), lambda key: key.value == name),
            *_entries(value_of(root, "Outputs"), lambda key: key.value == name),
        ]
        lines = text.splitlines(keepends=True)
        set_version(root, lines, version)
        changed = "".join(line for at, line in enumerate(lines) if not any(at in cut for cut in cuts))
        _require_only(before, cloudformation.parse(changed), name, kept, version)
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise Failed(
            f"{service} was not removed from the application's stack set: it is not what Copilot 1.34 writes "
            f"({type(error).__name__}: {error}). Use `copilot svc delete` with an administrator's rights."
        ) from error
    return changed, version


def set_version(root: Any, lines: list[str], version: int) -> None:
    """Write a version into the lines of the application's template, wherever it stands."""
    for place in (("Metadata", "Version"), ("Outputs", "StackSetOpId", "Value")):
        mark = value_of(root, *place).start_mark
        lines[mark.line] = f"{lines[mark.line][: mark.column]}{version}\n"


def _require_only(before: Any, after: Any, name: str | None, kept: list[Any], version: int) -> None:
    """Raise ValueError unless only that service is removed: the images of other services depend on it."""
    before["Metadata"] |= {"Workloads": kept, "Version": version}
    for section in ("Resources", "Outputs"):
        before[section].pop(name, None)
    before["Outputs"]["StackSetOpId"]["Value"] = version
    if not kept or before != after:
        raise ValueError("removing the service would change more than that")


def value_of(node: Any, *keys: str) -> Any:
    for key in keys:
        node = next(value for name, value in node.value if name.value == key)
    return node


def _name_of(entry: Any) -> str:
    return str(value_of(entry, "Name").value)


def _entries(node: Any, wanted: Callable[[Any], bool]) -> Iterator[range]:
    """Yield the line ranges of the wanted entries of a mapping or list.

    Each ends where the next one begins.
    """
    starts = [entry[0] if isinstance(entry, tuple) else entry for entry in node.value]
    lines = [entry.start_mark.line for entry in starts]
    for entry, first, end in zip(starts, lines, [*lines[1:], node.end_mark.line], strict=True):
        if wanted(entry):
            yield range(first, end)
