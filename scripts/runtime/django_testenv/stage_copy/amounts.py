"""Read STAGE_COPY["sample"]: how many rows of which tables a sample begins with."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .problems import Misconfigured
from .secret import shown

_WHERE = 'STAGE_COPY["sample"]'
_SHARE = re.compile(r"(\d{1,3}(?:\.\d{1,6})?) ?%")


@dataclass(frozen=True)
class Amount:
    """A number of rows, or a share of them in per cent."""

    rows: int | None = None
    percent: float = 100.0

    def of(self, count: int) -> int:
        """Return the number of rows to take of `count`. A share of some rows is never none."""
        if self.rows is not None:
            return min(self.rows, count)
        return min(count, math.ceil(count * self.percent / 100))

    def __str__(self) -> str:
        """Return the amount as in the settings."""
        return f"{self.rows:,} rows" if self.rows is not None else f"{self.percent:g} %"


def read(setting: Any) -> dict[str, Amount]:
    """Parse the setting. Raise Misconfigured."""
    if not isinstance(setting, Mapping):
        raise Misconfigured(f'{_WHERE} is not a dictionary: write {{"shop_customer": "1%"}}')
    return {str(table): _amount(str(table), value) for table, value in setting.items()}


def _amount(table: str, value: Any) -> Amount:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return Amount(rows=value)
    found = _SHARE.fullmatch(value) if isinstance(value, str) else None
    if found is None or not 0 < float(found[1]) <= 100:  # noqa: PLR2004  per cent
        raise Misconfigured(
            f'{_WHERE}["{table}"] is {shown(value)}: write a number of rows, 1000, or a share, "1%" or "0.5%"'
        )
    return Amount(percent=float(found[1]))
