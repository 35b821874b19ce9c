"""Keep one unchanged copy of staging on the target's server, from which branches' databases are cloned.

Its name contains a digest of the source and the rules, so that changed rules lead to a new copy. Nobody may
connect to it, or to the spare clone that can be kept ready beside it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from . import code_digest, copy_metadata, swap
from .problems import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from .database import Connection, Database
    from .options import Options

PREFIX = "stage_copy_golden_"
SPARE = "_spare"


@dataclass(frozen=True)
class GoldenCopy:
    """The golden copy, with its spare clones."""

    name: str
    max_age: float  # seconds
    wants_spare: bool
    role: str = ""  # that the settings of the target assume; empty: the login role

    @classmethod
    def of(cls, source: Database, server: Connection, options: Options, role: str = "") -> GoldenCopy | None:
        """Return the golden copy for these options; None if they do not want one."""
        if options.golden is None:
            return None
        rules = {
            column: [rule.described(), _path(rule.call), code_digest.of(rule.call) if rule.call else ""]
            for column, rule in sorted(options.mask.items())
        }
        rules[""] = [code_digest.of_files("constants", "fakes", "links", "masking")] if rules else []
        address = {key: source.parameters.get(key, "") for key in ("host", "hostaddr", "port", "service")}
        facts = [address, source.name, role or server.info.user, rules, sorted(options.exclude_data)]
        facts += [options.large_objects] if options.large_objects == "drop" else []
        facts += (
            [{table: str(amount) for table, amount in sorted(options.sample.items())}]
            if options.sample
            else []
        )
        digest = hashlib.sha256(json.dumps([*facts, options.mask_key]).encode())
        return cls(PREFIX + digest.hexdigest()[:16], options.golden.max_age, options.golden.spare, role)

    def require_ours(self, server: Connection) -> None:
        """Raise Refused if a database with one of these names belongs to another role."""
        for name in (self.name, *self._spares(server)):
            if not swap.is_ours(server, name):
                raise Refused(
                    f'the golden copy would be database "{self.name}", but "{name}" belongs to another role: '
                    'have its owner drop it, or take STAGE_COPY["golden"] out'
                )

    def age(self, server: Connection) -> float | None:
        """Return the golden copy's age in seconds; None if there is no golden copy."""
        found = copy_metadata.of(server, self.name)
        if found is None:
            return None
        return (datetime.now(timezone.utc) - datetime.fromisoformat(found["copied_at"])).total_seconds()

    def ready_spare(self, server: Connection) -> str | None:
        """Return the name of the spare clone of the present golden copy; None if there is none."""
        name = self._spare(server)
        return name if name and swap.exists(server, name) else None

    def order_spare(self, server: Connection, maintenance: Database) -> None:
        """Let the server make a spare clone without waiting for it; drop those of earlier golden copies.

        A server finishes a statement although its client is gone, and a database exists only when it is
        complete.
        """
        wanted = self._spare(server)
        swap.drop(server, *(name for name in self._spares(server) if name != wanted))
        if wanted and not swap.exists(server, wanted):
            swap.order_clone(maintenance, wanted, self.name)

    def drop_spares(self, server: Connection) -> None:
        swap.drop(server, *self._spares(server))

    def _spare(self, server: Connection) -> str | None:
        """Return the name for a spare clone, with the golden copy's time; None if there is no golden copy."""
        found = copy_metadata.of(server, self.name)
        if found is None:
            return None
        return f"{self.name}{SPARE}_{datetime.fromisoformat(found['copied_at']):%Y%m%d%H%M%S}"

    def _spares(self, server: Connection) -> list[str]:
        rows = server.execute(
            "SELECT datname::text FROM pg_database WHERE starts_with(datname, %s)", [self.name + SPARE]
        )
        return [name for (name,) in rows]

    def drop_others(self, server: Connection, say: Callable[[str], None]) -> None:
        """Drop our role's golden copies for other rules once they are older than `max_age`."""
        rows = server.execute(  # spares come before their golden copy, which has the date of both
            "SELECT datname::text FROM pg_database WHERE starts_with(datname, %s) "
            "AND pg_get_userbyid(datdba) IN (current_user, %s) ORDER BY 1 DESC",
            [PREFIX, self.role],
        ).fetchall()
        for (name,) in rows:
            if name.startswith(self.name):
                continue
            found = copy_metadata.of(server, name.partition(SPARE)[0])
            if found is None:
                continue  # another run is making it
            age = (datetime.now(timezone.utc) - datetime.fromisoformat(found["copied_at"])).total_seconds()
            if age > self.max_age:
                say(f'golden copy "{name}" of {found["copied_at"]} is not asked for any more: it is dropped')
                swap.drop(server, name)


def _path(call: object) -> str | None:
    """Return a function's module and name: two modules may have functions of the same name."""
    return f"{getattr(call, '__module__', '')}.{getattr(call, '__qualname__', '')}" if call else None
