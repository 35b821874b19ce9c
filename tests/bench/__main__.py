"""`python -m tests.bench copy --sizes 1`: which benchmark, by name, and its own options."""

from __future__ import annotations

import sys

from tests.bench import check, copy, deploy

BENCHMARKS = {"check": check.run, "copy": copy.run, "deploy": deploy.run}


def main(words: list[str]) -> None:
    if not words or words[0] not in BENCHMARKS:
        sys.exit(f"Which benchmark? One of: {', '.join(BENCHMARKS)}.")
    BENCHMARKS[words[0]](words[1:])


main(sys.argv[1:])
