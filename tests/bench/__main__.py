"""`python -m tests.bench deploy`: which benchmark, by name."""

from __future__ import annotations

import sys

from tests.bench import deploy

BENCHMARKS = {"deploy": deploy.run}


def main(names: list[str]) -> None:
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown or not names:
        sys.exit(f"Which benchmark? One or more of: {', '.join(BENCHMARKS)}.")
    for name in names:
        BENCHMARKS[name]()


main(sys.argv[1:])
