"""Calculate the resources that a service uses in an environment, as Copilot reads its manifest.

The manifest is hostile input: a value that is not valid is named in `Footprint.left_out`, and raises no
error. Defaults and merging are those of internal/pkg/manifest (`newDefault…`, transform.go) and
internal/pkg/deploy/cloudformation/stack/transformers.go of aws/copilot-cli 1.34.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_K = 1024
# The sizes of Fargate's tasks: CPU units → MiB of memory.
# Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-cpu-memory-error.html
FARGATE: Mapping[int, tuple[int, ...]] = {
    256: (512, _K, 2 * _K),
    512: tuple(range(_K, 4 * _K + 1, _K)),
    1024: tuple(range(2 * _K, 8 * _K + 1, _K)),
    2048: tuple(range(4 * _K, 16 * _K + 1, _K)),
    4096: tuple(range(8 * _K, 30 * _K + 1, _K)),
    8192: tuple(range(16 * _K, 60 * _K + 1, 4 * _K)),
    16384: tuple(range(32 * _K, 120 * _K + 1, 8 * _K)),
}
_MOST_TASKS = 5000  # a larger number is a typing error
_FREE_STORAGE, _MOST_STORAGE = 20, 200  # GiB; source: docs/include/storage.en.md of aws/copilot-cli 1.34
_TYPES = ("Load Balanced Web Service", "Backend Service", "Worker Service")
_SCALING = ("range", "cpu_percentage", "memory_percentage", "requests", "response_time", "queue_delay")
_SHOWN = 40  # characters
_BAND = re.compile(r"([0-9]{1,9})-([0-9]{1,9})")


@dataclass(frozen=True)
class Footprint:
    """The tasks that a service runs in an environment.

    One task has `cpu` in vCPU, `memory` in GB, and `storage` in GB beyond the free ones. `left_out` names the
    parts of the manifest that are not counted.
    """

    cpu: float = 0
    memory: float = 0
    storage: int = 0
    on_demand: int = 0
    spot: int = 0
    at_most: int | None = None  # the most tasks of autoscaling; `on_demand` and `spot` are then its least
    arm: bool = False
    public: bool = False  # each task has a public IPv4 address
    private: bool = False  # in Copilot's private subnets, behind NAT gateways
    balanced: bool = False  # behind the environment's load balancer
    left_out: tuple[str, ...] = ()

    @property
    def tasks(self) -> int:
        return self.on_demand + self.spot


def footprint(manifest: Mapping[str, Any], environment: str) -> Footprint:
    """Return the resources of the service in an environment; without a block, those of the base manifest."""
    reading = _Reading(manifest, environment)
    kind = manifest.get("type")  # it is the same in every environment
    if kind not in _TYPES:
        return Footprint(left_out=(f"the service: `type: {shown(kind)}` does not run on Fargate tasks",))
    arm, known = reading.platform()
    cpu, memory = reading.size() if known else (0.0, 0.0)
    on_demand, spot, at_most = reading.count()
    if arm and spot:
        reading.odd.append(f"{spot} Spot task(s) on ARM, which Copilot 1.34 refuses")
        spot = 0
    placement = reading.chosen("network", "vpc", "placement", default="public")
    if placement not in ("public", "private") and not isinstance(placement, Mapping):
        reading.odd.append(
            f"public IPv4 addresses: `placement: {shown(placement)}` is neither public nor private"
        )
    return Footprint(
        cpu=cpu,
        memory=memory,
        storage=reading.storage(),
        on_demand=on_demand,
        spot=spot,
        at_most=at_most,
        arm=arm,
        public=placement == "public",
        private=placement == "private",
        balanced=kind == _TYPES[0] and reading.balanced(),
        left_out=tuple(dict.fromkeys(reading.odd)),
    )


def shown(value: object) -> str:
    """Return a value of a manifest as a short text that is safe to show."""
    if isinstance(value, str):
        return repr(value if len(value) <= _SHOWN else f"{value[:_SHOWN]}…")
    if value is None or isinstance(value, bool | float):
        return str(value).lower()
    if isinstance(value, int):
        return str(value) if abs(value) < 10**12 else "a huge number"
    return "a mapping" if isinstance(value, Mapping) else f"a {type(value).__name__}"


@dataclass
class _Reading:
    """Read the manifest with the environment's block over it.

    Collect the values that are not valid in `odd`.
    """

    manifest: Mapping[str, Any]
    environment: str
    odd: list[str] = field(default_factory=list)
    layers: list[Mapping[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        block = self._inside(self._inside(self.manifest, "environments"), self.environment)
        self.layers = [self.manifest]
        if isinstance(block, Mapping):
            self.layers.append(block)
        elif block is not None:
            self.odd.append(f"the environment's own block: it is {shown(block)}, not a mapping")

    def chosen(self, *path: str, default: Any = None) -> Any:
        """Return the environment's own value, else the base's, else the default."""
        for layer in reversed(self.layers):
            found: Any = layer
            for key in path:
                found = self._inside(found, key)
            if found is not None:
                return found
        return default

    def _inside(self, value: Any, key: str) -> Any:
        if isinstance(value, Mapping):
            return value.get(key)
        if value is not None:
            self.odd.append(f"`{key}`: it stands in {shown(value)}, which is not a mapping")
        return None

    def size(self) -> tuple[float, float]:
        """Return a task's vCPU and GB; zeros where Fargate has no such size."""
        cpu, memory = self.chosen("cpu", default=256), self.chosen("memory", default=512)
        if _whole(cpu) and _whole(memory) and memory in FARGATE.get(cpu, ()):
            return cpu / 1024, memory / 1024
        self.odd.append(
            f"cpu and memory: `cpu: {shown(cpu)}` with `memory: {shown(memory)}` is not a size of Fargate's"
        )
        return 0.0, 0.0

    def platform(self) -> tuple[bool, bool]:
        """Return if the platform is ARM, and if its prices are known."""
        found = self.chosen("platform", default="linux/x86_64")
        if isinstance(found, Mapping):
            system = self.chosen("platform", "osfamily", default="linux")
            machine = self.chosen("platform", "architecture", default="x86_64")
        else:
            system, _, machine = found.partition("/") if isinstance(found, str) else (found, "", "")
        words = [word.lower() if isinstance(word, str) else "" for word in (system, machine)]
        if words[0] == "linux" and words[1] in {"x86_64", "amd64", "arm", "arm64"}:
            return words[1].startswith("arm"), True
        self.odd.append(f"cpu and memory: `platform: {shown(found)}` is not Linux on x86 or ARM")
        return False, False

    def storage(self) -> int:
        """Return a task's storage in GB beyond the free ones."""
        found = self.chosen("storage", "ephemeral", default=_FREE_STORAGE)
        if _whole(found) and _FREE_STORAGE <= found <= _MOST_STORAGE:
            return int(found) - _FREE_STORAGE
        self.odd.append(f"storage: `ephemeral: {shown(found)}` is not 20 to 200 GiB")
        return 0

    def balanced(self) -> bool:
        """Return True if the service is behind the environment's application load balancer."""
        if self.chosen("nlb") is not None:
            self.odd.append("the network load balancer (`nlb`): its list price is not known here")
        blocks = [layer.get("http") for layer in self.layers]
        imported = any(isinstance(block, Mapping) and block.get("alb") is not None for block in blocks)
        return self.chosen("http") is not False and not imported

    def count(self) -> tuple[int, int, int | None]:
        """Return the number of tasks on demand, of tasks on Spot, and the most tasks of autoscaling."""
        found = self._merged_count()
        if _whole(found) and 0 <= found <= _MOST_TASKS:
            return int(found), 0, None
        if isinstance(found, Mapping):
            spot: Any = found.get("spot")
            band: Any = found.get("range")
            scales = any(found.get(key) is not None for key in _SCALING)
            if _whole(spot) and 0 <= spot <= _MOST_TASKS and not scales:
                return 0, int(spot), None
            if spot is None and (ends := _ends(band)):
                return _least(*ends)
            found = band if spot is None and band is not None else found
        self.odd.append(f"the tasks: their `count` is {shown(found)}, which is not a valid number of tasks")
        return 0, 0, None

    def _merged_count(self) -> Any:
        """Merge the counts: a number replaces a mapping and the reverse, as `spot` and autoscaling do."""
        base, over = [*(layer.get("count") for layer in self.layers), None][:2]
        if over is None:
            return 1 if base is None else base
        if not isinstance(base, Mapping) or not isinstance(over, Mapping):
            return over
        if over.get("spot") is not None:
            return {"spot": over["spot"], **{key: over[key] for key in _SCALING if over.get(key) is not None}}
        given = {key: value for key, value in over.items() if value is not None}
        merged = {**base, **given}
        if any(key in given for key in _SCALING):
            merged.pop("spot", None)
        old, new = base.get("range"), given.get("range")
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            merged["range"] = {**old, **{key: value for key, value in new.items() if value is not None}}
        return merged


def _whole(value: Any) -> bool:
    """Return True for a whole number; in YAML, `true` is not a number."""
    return isinstance(value, int) and not isinstance(value, bool)


def _ends(band: Any) -> tuple[int, int, int | None] | None:
    """Return a range's least and most, and its first task on Spot; None where it is not a range."""
    least: Any = None
    most: Any = None
    spot_from: Any = None
    if isinstance(band, str) and (match := _BAND.fullmatch(band)):
        least, most = int(match[1]), int(match[2])
    elif isinstance(band, Mapping):
        least, most, spot_from = (band.get(key) for key in ("min", "max", "spot_from"))
    if not _whole(least) or not _whole(most) or not 0 <= least <= most <= _MOST_TASKS:
        return None
    if spot_from is not None and (not _whole(spot_from) or spot_from < 0):
        return None
    return least, most, spot_from


def _least(least: int, most: int, spot_from: int | None) -> tuple[int, int, int]:
    """Return the least tasks of an autoscaling range: on demand, on Spot, and its most.

    Copilot runs one less than `spot_from` on demand, and none at all where `spot_from` is below the least.
    """
    if spot_from is None:
        return least, 0, most
    on_demand = min(least, max(spot_from - 1, 0)) if spot_from >= least else 0
    return on_demand, least - on_demand, most
