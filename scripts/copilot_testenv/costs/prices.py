"""AWS's list prices as prices.json keeps them, dated and with their source; none is guessed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("prices.json")
SPOT_DISCOUNT = "fargate-spot-discount"


@dataclass(frozen=True)
class Price:
    """USD for one unit, as AWS's price list had it on a day; `source` is AWS's page."""

    usd: float
    unit: str
    source: str
    as_of: date


@dataclass(frozen=True)
class Typical:
    """A fraction that stands for a price that varies, as it was seen on a day."""

    fraction: float
    source: str
    as_of: date


@dataclass(frozen=True)
class Prices:
    """The list prices of one region, by item; `regions` are those that any price is known of."""

    region: str
    items: Mapping[str, Price]
    spot_discount: Typical
    regions: tuple[str, ...]

    def get(self, item: str) -> Price | None:
        return self.items.get(item)

    def spot(self, item: str) -> Price | None:
        """Return what the item typically costs on Fargate Spot.

        Its price varies, and is never listed for long.
        """
        listed, typical = self.get(item), self.spot_discount
        if not listed:
            return None
        usd = listed.usd * (1 - typical.fraction)
        return Price(usd, listed.unit, typical.source, min(listed.as_of, typical.as_of))


def load(region: str) -> Prices:
    """Return the prices of a region; none where there is no such region."""
    kept: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    items = {
        group["item"]: Price(
            group["usd"][region], group["unit"], group["source"], date.fromisoformat(group["as_of"])
        )
        for group in kept["lists"]
        if region in group["usd"]
    }
    spot = kept["typical"][SPOT_DISCOUNT]
    typical = Typical(spot["fraction"], spot["source"], date.fromisoformat(spot["as_of"]))
    regions = sorted({name for group in kept["lists"] for name in group["usd"]})
    return Prices(region, items, typical, tuple(regions))
