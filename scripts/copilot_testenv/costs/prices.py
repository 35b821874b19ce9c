"""Read AWS's list prices from prices.json, each with its date and source; no price is guessed."""

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
    """A price in USD for one unit, from AWS's price list of the day `as_of`; `source` is AWS's page."""

    usd: float
    unit: str
    source: str
    as_of: date


@dataclass(frozen=True)
class Typical:
    """A typical discount on a price that varies, as observed on the day `as_of`."""

    fraction: float
    source: str
    as_of: date


@dataclass(frozen=True)
class Prices:
    """The list prices of one region, by item; `regions` are all regions with at least one price."""

    region: str
    items: Mapping[str, Price]
    spot_discount: Typical
    regions: tuple[str, ...]

    def get(self, item: str) -> Price | None:
        return self.items.get(item)

    def spot(self, item: str) -> Price | None:
        """Return the item's typical price on Fargate Spot. The real price varies all the time."""
        listed, typical = self.get(item), self.spot_discount
        if not listed:
            return None
        usd = listed.usd * (1 - typical.fraction)
        return Price(usd, listed.unit, typical.source, min(listed.as_of, typical.as_of))


def load(region: str) -> Prices:
    """Return the prices of a region; without items if the region is not known."""
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
