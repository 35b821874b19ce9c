"""Read addons: the variables that a service gets of them, and an environment's own database, for its cost."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from copilot_testenv.copilot import cloudformation
from copilot_testenv.core.errors import SettingsError

FILE = Path("copilot/environments/addons/database.yml")
_CLASS = re.compile(r"db(\.[a-z0-9-]{1,20}){2}")
_FIND_WORDS = 3  # of Fn::FindInMap: the mapping, the row and the key
_LARGEST = 65536  # GB of gp3; https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/CHAP_Storage.html


@dataclass(frozen=True)
class Database:
    """An environment's own RDS instance; `two_zones`: it has a standby."""

    size: str
    gigabytes: int
    two_zones: bool


def database(root: Path, environment: str) -> Database | None:
    """Return the environment's own database; None where the addons define none, or there are no addons.

    Raises SettingsError where the template, or the environment's row in it, is not valid.
    """
    try:
        found = cloudformation.parse((root / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValueError, RecursionError) as error:
        why = str(error).replace("\n", " ")
        raise SettingsError(f"{FILE} cannot be read: {why}.") from error
    for key in ("Mappings", "Database", environment):
        found = found.get(key) if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping):
        return None  # the project wrote its own template
    if found.get("Server") != "own":
        return None
    size, gigabytes = found.get("Class"), found.get("Storage")
    if not isinstance(size, str) or not _CLASS.fullmatch(size):
        raise SettingsError(f"{FILE}: the Class of `{environment}` must be one like db.t4g.micro.")
    if type(gigabytes) is not int or not 0 < gigabytes <= _LARGEST:
        raise SettingsError(
            f"{FILE}: the Storage of `{environment}` must be a whole number of GB, such as 20."
        )
    return Database(size, gigabytes, str(found.get("MultiAZ")).lower() == "true")


def variables(text: str) -> list[str]:
    """Return the variables that Copilot gives the service's main container for an addon's outputs.

    A managed policy and a security group are not given. Empty where the template cannot be read, which
    Copilot itself reports. Source: internal/pkg/addon/output.go of aws/copilot-cli 1.34.
    """
    try:
        found = cloudformation.parse(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return []
    resources, outputs = (_mapping(_mapping(found).get(key)) for key in ("Resources", "Outputs"))
    return [
        _as_variable(str(name))
        for name, output in outputs.items()
        if _mapping(resources.get(str(_mapping(_mapping(output).get("Value")).get("Ref")))).get("Type")
        not in {"AWS::IAM::ManagedPolicy", "AWS::EC2::SecurityGroup"}
    ]


def files(root: Path, owner: str) -> list[Path]:
    """Return the templates of the addons of a service, or of `environments`."""
    return sorted((root / "copilot" / owner / "addons").glob("*.y*ml"))


def missing_rows(text: str, environment: str) -> Iterator[tuple[int, str, str]]:
    """Yield the line of each mapping that lacks the environment's row, what is wrong, and what to write."""
    for name, rows in without_row(text, environment).items():
        line = next((at for at, each in enumerate(text.splitlines(), 1) if name in each), 1)
        what = (
            f"the mapping {name} has no row `{environment}`, and is looked up by the environment's name, so "
            f"that no stack of {environment} can be made"
        )
        like = ", ".join(rows) or "another environment"
        yield line, what, f"write a row `{environment}` below it, like one of {like}"


def without_row(text: str, environment: str) -> dict[str, list[str]]:
    """Return the mappings that are looked up by the environment's name and lack it, each with its rows.

    CloudFormation makes no stack then. Empty where the template cannot be read.
    """
    try:
        found = _mapping(cloudformation.parse(text))
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    by_environment = {
        str(name)
        for name, row, *_ in _looked_up(found)
        if isinstance(row, Mapping) and row.get("Ref") == "Env"
    }
    mappings = {str(name): _mapping(rows) for name, rows in _mapping(found.get("Mappings")).items()}
    return {
        name: [str(row) for row in rows]
        for name, rows in mappings.items()
        if name in by_environment and environment not in rows
    }


def _looked_up(node: Any) -> Iterator[list[Any]]:
    """Yield the arguments of each Fn::FindInMap."""
    if isinstance(node, Mapping):
        words = node.get("Fn::FindInMap")
        if isinstance(words, list) and len(words) >= _FIND_WORDS:
            yield words
    for each in node.values() if isinstance(node, Mapping) else node if isinstance(node, list) else ():
        yield from _looked_up(each)


def _as_variable(output: str) -> str:
    """Return an output's name as Copilot writes it as a variable: `mydbSecret` is MYDB_SECRET."""
    apart = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", output)
    return re.sub(r"([A-Z])([A-Z][a-z])", r"\1_\2", apart).upper()


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
