"""`python -m tests.bench copy --sizes 1`: which benchmark, by name, and its own options."""

from __future__ import annotations

import argparse
import sys

from tests.bench import check, copy, deploy, engine

PARSER = argparse.ArgumentParser(prog="nox -s bench --")
BENCHMARKS = PARSER.add_subparsers(required=True, metavar="BENCHMARK")
for benchmark in (check, copy, deploy, engine):
    benchmark.add_to(BENCHMARKS)


def main(words: list[str]) -> None:
    options = PARSER.parse_args(words)
    options.run(options)


main(sys.argv[1:])
