"""Reads ECS's environment files."""

from __future__ import annotations


def parse_env_file(text: str) -> dict[str, str]:
    """Return the variables of an environment file: a line is a name, `=` and a value without quotes.

    Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/use-environment-file.html
    """
    lines = (line.partition("=") for line in text.splitlines() if not line.lstrip().startswith("#"))
    return {name.strip(): value.strip() for name, equals, value in lines if equals and name.strip()}
