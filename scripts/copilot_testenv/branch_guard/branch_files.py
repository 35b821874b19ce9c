"""Looks at a branch's files before Copilot or Docker is started in them: a branch is data until then.

What they would read must be a regular file or folder of the repository, of bounded size; variables of the
deployer's are handed on by name only; a CDK override, which is code that runs here, needs somebody's word.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from copilot_testenv.branch_guard import branch_manifests
from copilot_testenv.branch_guard.branch_manifests import OWN_VARIABLES, Named, Read
from copilot_testenv.branch_guard.branch_paths import Repository, Wrong, walk
from copilot_testenv.core import git, trust
from copilot_testenv.core.errors import Refused
from copilot_testenv.core.process import Shell
from copilot_testenv.core.settings import Settings

ENVIRONMENTS = "environments"  # the folder of copilot/ that is no service's
_PATCHES = "cfn.patches.yml"
# What `copilot svc override` writes beside the patches; Copilot reads none of it.
_BESIDE_PATCHES = frozenset({_PATCHES, "readme.md", ".gitignore"})
_YAML = (".yml", ".yaml")
_TEXT = (*_YAML, ".workspace")  # what is read whole
_INSTALLED = frozenset({"node_modules", ".build"})  # what npm and the CDK have left in a person's checkout


@dataclass(frozen=True)
class Scope:
    """The services and environments that Copilot is to be started for.

    `services` are folders of copilot/ that it renders or deploys, and `environments` says whether it does
    environments; None: all services. Without `paths` nothing is built or uploaded: what manifests name is
    not read. `listed`: see branch_paths.Repository.
    """

    services: Collection[str] | None = None
    environments: bool = True
    paths: bool = True
    listed: frozenset[str] | None = None


def listed(root: Path, shell: Shell) -> frozenset[str]:
    """List the files of a checkout that Git tracks; none where Git cannot say."""
    real = os.path.realpath(root)
    found = shell.run(git.command(root, "ls-files", "-z")).stdout
    return frozenset(f"{real}/{path}" for path in found.split("\0") if path)


def require(folder: Path, settings: Settings, environ: Mapping[str, str], scope: Scope, of: str = "") -> None:
    """Raise Refused (3) where a file of the workspace in `folder` is not as it must be.

    `of` names the branch; `environ` has the values of MANIFEST_VARIABLES.
    """
    found = wrong(folder, settings, environ, scope)
    if not found:
        return
    first = next((each for each in found if not each.change), found[0])
    more = len(found) - 1
    also = f" ({more} more like it: `invoke check` on a checkout tells each)" if more else ""
    reason = f"{first.path}:{first.line}{f' of {of}' if of else ''}: {first.what}{also}"
    if first.change:
        raise trust.refused(first.change, reason)
    raise Refused(f"{reason}. Copilot was not started, and nothing was changed. Instead: {first.instead}.")


def wrong(folder: Path, settings: Settings, environ: Mapping[str, str], scope: Scope) -> list[Wrong]:
    """Return the faults that settings.trusted does not allow, by file and line."""
    look = _Look(Repository(folder, scope.listed), settings, environ, scope)
    return sorted({each for each in look.all() if each.change not in settings.trusted or not each.change})


@dataclass(frozen=True)
class _Look:
    repository: Repository
    settings: Settings
    environ: Mapping[str, str]
    scope: Scope
    walked: dict[str, list[Wrong]] = field(default_factory=dict)

    def all(self) -> Iterator[Wrong]:
        root = self.repository.root
        structure = list(self._structure())
        yield from structure
        if any(not each.change for each in structure):
            return  # what is no file is not opened
        for owner in self._owners():
            folder = root / "copilot" / owner
            files = [folder / "manifest.yml", folder / "manifest.yaml"]
            judged = self._judged(owner)
            if owner == ENVIRONMENTS:
                files = sorted(folder.glob("*/manifest.y*ml"))
            for each in self._manifests(files, judged=judged):
                yield replace(each, owner=owner)
            if judged:
                for each in (*self._overrides(folder / "overrides"), *self._addons(folder / "addons")):
                    yield replace(each, owner=owner)

    def _owners(self) -> list[str]:
        """List the folders of copilot/ with what Copilot may deploy: services, jobs, `environments`."""
        folder = self.repository.root / "copilot"
        return sorted(each.name for each in folder.iterdir() if each.is_dir())

    def _judged(self, owner: str) -> bool:
        if owner == ENVIRONMENTS:
            return self.scope.environments
        return self.scope.services is None or owner in self.scope.services

    def _structure(self) -> Iterator[Wrong]:
        """Yield what is wrong with copilot/ itself.

        Copilot lists it, and reads every manifest to know its type.
        """
        repository = self.repository
        folder = str(repository.root / "copilot")
        if not os.path.lexists(folder):
            yield Wrong("copilot", 1, "copilot/ is not there", "commit it")
            return
        place, found = repository.follow(folder)
        if found or place is None or not stat.S_ISDIR(os.lstat(folder).st_mode):
            what = found.what if found else "copilot is no folder"
            change = found.change if found else ""
            yield Wrong("copilot", 1, what, "make it a folder of the repository", change)
            if place is None or not Path(place).is_dir():
                return
        for link, mode, _ in walk(str(place), _INSTALLED):
            shown = repository.shown(link)
            if stat.S_ISLNK(mode):
                _, found = repository.follow(link)
                if found:
                    yield replace(found, path=shown, line=1)
            elif stat.S_ISREG(mode):
                if link.endswith(_TEXT) and (large := repository.too_large(link)):
                    yield replace(large, path=shown, line=1)
            elif not stat.S_ISDIR(mode):
                what = f"{shown} is neither a regular file nor a folder"
                yield Wrong(shown, 1, what, "make it a file of the repository")

    def _manifests(self, files: list[Path], *, judged: bool) -> Iterator[Wrong]:
        for file in files:
            if not file.is_file():
                continue
            shown = self.repository.shown(str(file))
            try:
                found = branch_manifests.read(file)
            except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
                if judged:
                    yield _unreadable(shown, error)
                continue
            if judged:
                yield from self._values(shown, found)
            if self.scope.paths:
                for each in branch_manifests.paths(found):
                    yield from self._named(shown, each)

    def _values(self, shown: str, found: Read) -> Iterator[Wrong]:
        for line, tag in found.tags:
            what = f"the tag {tag.removeprefix('tag:yaml.org,2002:')!r} makes something else of the value"
            yield Wrong(shown, line, what, "write the value itself")
        for line, name in found.variables:
            if name not in (*OWN_VARIABLES, *self.settings.manifest_variables):
                what = f"`${{{name}}}` would be filled in from the environment of whoever deploys"
                instead = (
                    f"write the value itself, or `\\${{{name}}}` where the container's shell is to fill it in"
                )
                if not name.upper().startswith(("AWS_", "COPILOT_")):
                    instead += f"; whoever deploys may hand it on by MANIFEST_VARIABLES={name}"
                yield Wrong(shown, line, what, instead)
        for line, name in branch_manifests.caches(found):
            if "=" in name or "," in name:
                what = f"`cache_from` names {name!r}, and Docker would read or write elsewhere for it"
                yield Wrong(shown, line, what, "name an image, as repository:tag")

    def _named(self, shown: str, named: Named) -> Iterator[Wrong]:
        """Say what is wrong with a path, as it is written and as Copilot fills it in for each environment."""
        texts = {named.path, *(branch_manifests.filled(named.path, values) for values in self._filled_in())}
        for text in sorted(texts):
            place, found = self.repository.locate(text, absolute=named.kind == "asset")
            if found:
                yield replace(found, path=shown, line=named.line)
            if place is None:
                continue  # Copilot says that it is not there
            for each in self._read(place, named):
                yield replace(each, path=shown, line=named.line)

    def _filled_in(self) -> Iterator[dict[str, str]]:
        environments = self.repository.root / "copilot" / ENVIRONMENTS
        names = {self.settings.test_env}
        if environments.is_dir():
            names.update(each.name for each in environments.iterdir() if each.is_dir())
        given = {name: self.environ.get(name, "") for name in self.settings.manifest_variables}
        for name in sorted(names):
            yield {**given, **dict(zip(OWN_VARIABLES, (self.settings.app, name), strict=True))}

    def _read(self, place: str, named: Named) -> Iterator[Wrong]:
        """Say what is wrong with a file or folder that is there."""
        repository = self.repository
        if named.kind in {"file", "dockerfile"}:
            if not Path(place).is_dir() and (large := repository.too_large(place)):
                yield large
        elif Path(place).is_dir():
            if place not in self.walked:
                self.walked[place] = list(repository.below(place))
            yield from self.walked[place]
        if named.kind in {"dockerfile", "context"}:
            yield from self._ignoring(f"{place}{'.' if named.kind == 'dockerfile' else '/.'}dockerignore")

    def _ignoring(self, ignore: str) -> Iterator[Wrong]:
        """Say what is wrong with a .dockerignore, where there is one."""
        real, found = self.repository.follow(ignore)
        if found:
            yield found
        if real and (large := self.repository.too_large(real)):
            yield large

    def _overrides(self, folder: Path) -> Iterator[Wrong]:
        """Let patches pass; what else is there may be a CDK application, which Copilot installs.

        Source: internal/pkg/override/override.go of aws/copilot-cli 1.34.
        """
        if not folder.is_dir():
            return
        names = {each.name for each in folder.iterdir()}
        odd = sorted(name for name in names if name.lower() not in _BESIDE_PATCHES)
        if odd:
            shown = self.repository.shown(str(folder))
            what = (
                f"an override by the CDK ({', '.join(odd)}) is code of the branch, which "
                "Copilot installs with npm and runs on this machine"
            )
            yield Wrong(shown, 1, what, f"say it in {_PATCHES}, or let whoever deploys trust it", "cdk")

    def _addons(self, folder: Path) -> Iterator[Wrong]:
        for file in sorted(folder.glob("*.y*ml")) if folder.is_dir() else ():
            shown = self.repository.shown(str(file))
            try:
                found = branch_manifests.read(file)
            except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
                yield _unreadable(shown, error)
                continue
            for line, tag in found.tags:
                if not tag.startswith("!"):  # CloudFormation's own begin with one
                    yield Wrong(
                        shown, line, f"the tag {tag!r} is none of CloudFormation's", "write the value"
                    )
            if self.scope.paths:
                for named in branch_manifests.assets(found):
                    yield from self._named(shown, named)


def _unreadable(shown: str, error: Exception) -> Wrong:
    why = " ".join(str(error).split())
    mark = getattr(error, "problem_mark", None)
    return Wrong(shown, mark.line + 1 if mark else 1, f"it cannot be read: {why}", "write it as plain YAML")
