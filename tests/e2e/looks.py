"""What can be seen of a clone's sandbox, and the branches that the tests deploy to it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import psutil
import psycopg

from copilot_sandbox.databases import Databases
from copilot_sandbox.postgres import PostgresServer
from copilot_sandbox.state import State
from copilot_testenv.aws import Aws
from tests.clone import ROOT, Clone, Ran, get_json

MODELS = (ROOT / "demo/shop/models.py").read_text()
FIELD = "    description = models.TextField(blank=True)\n"
MIGRATION = """from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("shop", "0001_initial")]
    operations = [{operation}]
"""


def migration(operation: str) -> str:
    return MIGRATION.format(operation=operation)


def make_conflicting_branches(clone: Clone) -> None:
    """`feature/rename` and `feature/drop`, whose migrations do not fit together."""
    assert FIELD in MODELS
    clone.branch(
        "feature/rename",
        {
            "demo/shop/models.py": MODELS.replace(FIELD, FIELD.replace("description", "summary")),
            "demo/shop/migrations/0002_rename.py": migration(
                'migrations.RenameField("product", "description", "summary")'
            ),
        },
    )
    clone.branch(
        "feature/drop",
        {
            "demo/shop/models.py": MODELS.replace(FIELD, ""),
            "demo/shop/migrations/0002_drop.py": migration(
                'migrations.RemoveField("product", "description")'
            ),
        },
    )


def deployed(ran: Ran) -> str:
    """The URL that a good deploy printed, and nothing else on standard output."""
    assert ran.code == 0, ran.err
    assert "Traceback" not in ran.err
    assert re.fullmatch(r"http://([a-z0-9-]+\.)?localhost:\d+/?\n", ran.out)
    return ran.out.strip().rstrip("/")


def query(clone: Clone, sql: str, *values: str, database: str = "test") -> list[list[Any]]:
    """What a query of a database gives, the shared slot's unless said, by the tasks' own role."""
    secrets = Databases(PostgresServer(State(clone.folder).folder)).secrets()
    with psycopg.connect(secrets["test"]["DATABASE_URL"], dbname=database, autocommit=True) as connection:
        cursor = connection.execute(sql.encode(), values)
        return [list(row) for row in cursor.fetchall()] if cursor.description else []


def columns(clone: Clone, table: str) -> set[str]:
    """The columns that a table of the slot's database has."""
    sql = "SELECT column_name FROM information_schema.columns WHERE table_name = %s"
    return {name for (name,) in query(clone, sql, table)}


TESTERS = "ada's own test product"
RENAMED = "UPDATE shop_product SET name = %s WHERE id = (SELECT min(id) FROM shop_product) RETURNING id"


def is_as_the_tester_left_it(clone: Clone) -> bool:
    return bool(query(clone, "SELECT id FROM shop_product WHERE name = %s", TESTERS))


def processes(clone: Clone, mark: str = "SANDBOX_OWNER") -> list[psutil.Process]:
    """Every process of this clone's sandbox; with the mark SANDBOX_TASK, those of containers."""
    found = []
    for process in psutil.process_iter():
        try:
            environ = process.environ()
        except (psutil.Error, OSError):
            continue
        if environ.get("SANDBOX_OWNER") == str(clone.folder / ".sandbox") and environ.get(mark):
            found.append(process)
    return found


def containers(clone: Clone) -> list[psutil.Process]:
    return processes(clone, "SANDBOX_TASK")


def stacks(clone: Clone) -> dict[str, str]:
    """Name → status of the stacks on the embedded AWS."""
    found = Aws(clone.variables())._ask("cloudformation", "describe_stacks")["Stacks"]
    return {stack["StackName"]: stack["StackStatus"] for stack in found}


def fail(clone: Clone, *rules: dict[str, Any]) -> None:
    """What fails next on the embedded AWS; nothing where no rule is given."""
    draft = clone.folder / ".sandbox/faults.new"
    draft.write_text(json.dumps(rules))
    draft.replace(clone.folder / ".sandbox/faults.json")


def run(clone: Clone, code: str) -> str:
    """Python with a client of the embedded AWS's CloudFormation at hand, and the tasks' own place."""
    start = (
        "import json\nfrom copilot_testenv.state import bucket\n"
        "from copilot_testenv.state.registry import DeploymentRecord\n"
        "from copilot_testenv.menu import session\nhere = session()\ntarget = here.enter()\n"
        "cloudformation = target.aws.client('cloudformation')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", start + code],
        cwd=clone.folder, env=clone.importing(), check=True, capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout


def served(ran: Ran, branch: str) -> None:
    assert get_json(deployed(ran) + "/status.json")["branch"] == branch


def told(ran: Ran, code: int, *words: str) -> None:
    """A failure is some lines for a person, and never a traceback."""
    assert ran.code == code, ran.err
    assert "Traceback" not in ran.err
    assert all(word in ran.err for word in words), ran.err
