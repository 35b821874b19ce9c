"""The command `copilot-testenv`: `check` without tasks and for pre-commit, `schema`, and `comment` for CI."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from copilot_testenv.core.errors import UserError

_REPORT = "This is an error in copilot-testenv: please report it with the output of TASKS_TRACEBACK=1."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; an error is one line on standard error."""
    options = _parser().parse_args(arguments)
    if options.command == "schema":
        from copilot_testenv.check import json_schema  # noqa: PLC0415 - `--help` stays fast

        print(json.dumps(json_schema.of_manifests(), indent=1))  # noqa: T201 - the command's result
        return 0
    from copilot_testenv.core import display  # noqa: PLC0415 - the same

    try:
        if options.command == "comment":
            _comment()
        else:
            _check(options)
    except UserError as error:
        print(display.block(str(error)), file=sys.stderr)  # noqa: T201 - the command's result
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `copilot-testenv check | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except Exception as error:
        if os.environ.get("TASKS_TRACEBACK"):
            raise
        reason = display.line(display.masked(str(error)))
        print(f"{type(error).__name__}: {reason}. {_REPORT}", file=sys.stderr)  # noqa: T201
        return 4
    return 0


def _comment() -> None:
    from copilot_testenv.ci import comment  # noqa: PLC0415 - `--help` stays fast
    from copilot_testenv.core.terminal import Terminal  # noqa: PLC0415 - the same

    comment.read(os.environ, Terminal().say)


def _check(options: argparse.Namespace) -> None:
    from copilot_testenv import menu  # noqa: PLC0415 - `--help` stays fast
    from copilot_testenv.check import workflow  # noqa: PLC0415 - the same

    workflow.check(
        *menu.sessions(),
        json=options.json,
        style=options.format,
        fix=options.fix,
        plan=options.plan,
        baseline=options.baseline,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="copilot-testenv", description="Test environments on AWS Copilot.")
    commands = parser.add_subparsers(required=True, dest="command", metavar="check | schema | comment")
    check = commands.add_parser("check", help="find mistakes in the manifests of copilot/, without AWS")
    check.add_argument("--format", default="text", help="text, github, gitlab or sarif (default: text)")
    check.add_argument("--json", action="store_true", help="print one JSON document")
    check.add_argument("--fix", action="store_true", help="first correct what has one right answer")
    check.add_argument("--plan", action="store_true", help="with --fix: show what would change")
    check.add_argument("--baseline", action="store_true", help="keep today's findings as the baseline")
    commands.add_parser("schema", help="print a JSON schema of the manifests, for editors")
    commands.add_parser("comment", help="read a command from a comment on GitHub, in its job (docs/ci.md)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
