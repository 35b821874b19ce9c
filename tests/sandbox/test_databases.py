from __future__ import annotations

import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
import yaml
from psycopg import errors

from copilot_sandbox.cures import cure
from copilot_sandbox.databases import ENVIRONMENTS, Databases, role_of
from copilot_sandbox.errors import Failed
from copilot_sandbox.model import Image
from copilot_sandbox.postgres import PostgresServer, remove

REPOSITORY = Path(__file__).parents[2]
Connection = psycopg.Connection[tuple[object, ...]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    state = tmp_path_factory.mktemp("databases")
    server = PostgresServer(state)
    server.start()
    yield server
    server.stop()
    remove(state)


@pytest.fixture
def databases(server: PostgresServer) -> Databases:
    """All databases as on the first day."""
    with server.connect() as connection:
        for name in ENVIRONMENTS:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())
    found = Databases(server, redis_host="127.9.9.9")
    found.prepare()
    return found


def connect(url: str, **options: str) -> Connection:
    return psycopg.connect(url, autocommit=True, **options)  # type: ignore[arg-type]  # strings are libpq's own options


def one(connection: Connection, query: str) -> object:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


@pytest.fixture
def image(tmp_path: Path) -> Image:
    """An image whose files hold a script that fills staging's database through psql."""
    app = tmp_path / "root" / "app"
    app.mkdir(parents=True)
    (app / "fill.sql").write_text(
        "CREATE TABLE customer (id bigserial PRIMARY KEY, name text);\n"
        "INSERT INTO customer (name) SELECT 'customer ' || n FROM generate_series(1, 1000) n;\n"
        "CREATE SCHEMA extra; CREATE TABLE extra.thing AS SELECT 1 AS id;\n"
    )
    return Image("sha256:0", tmp_path / "root", None, {"GREETING": "hello"}, "/app", (), (), ("/app",))


TABLES = ("customer", "extra.thing", "later", "newer.later")
FILL = 'psql -Xqv ON_ERROR_STOP=1 "$DATABASE_URL" -f fill.sql && echo {megabytes}'


def test_each_environment_has_its_own_database_and_nobody_is_superuser(databases: Databases) -> None:
    for name, secrets in databases.secrets().items():
        with connect(secrets["DATABASE_URL"]) as connection:
            row = connection.execute(
                "SELECT current_database()::text, current_user::text, rolsuper, rolcreatedb, rolcreaterole"
                " FROM pg_roles WHERE rolname = current_user"
            ).fetchone()
            connection.execute("CREATE TABLE mine (); DROP TABLE mine")
        assert row == (name, name, False, name == "test", False)


def test_the_secrets_that_the_manifest_names_are_there(databases: Databases) -> None:
    """Those it has by name; what the environments' addons export has none of its own."""
    manifest = yaml.safe_load((REPOSITORY / "copilot/web/manifest.yml").read_text())
    for environment in ENVIRONMENTS:
        named = {**manifest["secrets"], **manifest["environments"][environment].get("secrets", {})}
        paths = {name for name, value in named.items() if isinstance(value, str)}
        assert paths <= set(databases.secrets()[environment])
        assert "SECRET_KEY" in paths
    # For a project with an RDS and an ElastiCache of its own, whose addresses are secrets.
    assert {"DATABASE_URL", "REDIS_HOST"} <= set(databases.secrets()["stage"])


def test_the_urls_hold_the_sockets_folder_percent_encoded(databases: Databases) -> None:
    url = urlsplit(databases.secrets()["test"]["DATABASE_URL"])

    assert (url.scheme, url.username, url.hostname, url.path) == ("postgres", "test", None, "/test")
    assert "%2F" in url.query
    assert parse_qs(url.query) == {"host": [str(databases.server.socket_dir)]}


def test_passwords_are_made_once_differ_and_are_their_owners_only(databases: Databases) -> None:
    before = databases.secrets()
    again = Databases(databases.server, redis_host="127.9.9.9")
    again.prepare()

    assert again.secrets() == before
    urls = [secrets["DATABASE_URL"] for secrets in before.values()] + [before["test"]["STAGE_DATABASE_URL"]]
    assert len({urlsplit(url).password for url in urls}) == 4
    assert len({secrets["SECRET_KEY"] for secrets in before.values()}) == 3
    assert stat.S_IMODE((databases.server.folder / "secrets.json").stat().st_mode) == 0o600


def test_no_password_reaches_the_servers_log(databases: Databases) -> None:
    with databases.server.connect() as connection:
        connection.execute("ALTER SYSTEM SET log_statement = 'all'")
        connection.execute("SELECT pg_reload_conf()")
        time.sleep(0.2)  # the reload is a signal
        databases.prepare()
        connection.execute("ALTER SYSTEM RESET log_statement")
        connection.execute("SELECT pg_reload_conf()")
    logged = databases.server.log.read_text()

    assert "ALTER ROLE" in logged
    for secrets in databases.secrets().values():
        assert str(urlsplit(secrets["DATABASE_URL"]).password) not in logged


def test_only_its_owner_and_its_reader_get_into_staging_and_only_its_owner_into_production(
    databases: Databases,
) -> None:
    secrets = databases.secrets()
    inside = {
        (role, name)
        for role, url in {
            **{name: secrets[name]["DATABASE_URL"] for name in ENVIRONMENTS},
            "reader": secrets["test"]["STAGE_DATABASE_URL"],
        }.items()
        for name in ("stage", "production")
        if _may_connect(url, name)
    }

    assert inside == {("stage", "stage"), ("reader", "stage"), ("production", "production")}


def _may_connect(url: str, database: str) -> bool:
    try:
        with connect(url, dbname=database):
            return True
    except psycopg.OperationalError as error:
        assert "permission denied for database" in str(error)  # noqa: PT017 - one of several, on purpose
        return False


def test_the_reader_reads_everything_there_is_and_will_be(databases: Databases, image: Image) -> None:
    assert databases.fill_staging(image, command=FILL)
    secrets = databases.secrets()
    with connect(secrets["stage"]["DATABASE_URL"]) as owner:
        owner.execute(
            "CREATE TABLE later AS SELECT 1; CREATE SCHEMA newer; CREATE TABLE newer.later AS SELECT 1"
        )

    with connect(secrets["test"]["STAGE_DATABASE_URL"]) as reader:
        rows = [reader.execute(f"TABLE {table}".encode()).rowcount for table in TABLES]
        assert rows == [1000, 1, 1, 1]
        assert one(reader, "SELECT last_value FROM customer_id_seq") == 1000


def test_the_reader_writes_nowhere_not_even_where_it_turns_read_only_off(
    databases: Databases, image: Image
) -> None:
    databases.fill_staging(image, command=FILL)
    url = databases.secrets()["test"]["STAGE_DATABASE_URL"]
    with connect(url) as reader, pytest.raises(errors.ReadOnlySqlTransaction):
        reader.execute("DELETE FROM customer")
    with connect(url, options="-c default_transaction_read_only=off") as reader:
        for statement in (
            "DELETE FROM customer",
            "INSERT INTO customer (name) VALUES ('x')",
            "SELECT nextval('customer_id_seq')",
            "CREATE TABLE mine ()",
            "CREATE TEMP TABLE mine ()",
            "CREATE SCHEMA mine",
            "CREATE DATABASE mine",
            "TRUNCATE customer",
        ):
            with pytest.raises(errors.InsufficientPrivilege):
                reader.execute(statement.encode())


def test_test_may_drop_and_make_its_own_database_and_leave_others_alone(databases: Databases) -> None:
    secrets = databases.secrets()
    with connect(secrets["test"]["DATABASE_URL"], dbname="template1") as connection:
        connection.execute("DROP DATABASE test")
        connection.execute("CREATE DATABASE test")
        connection.execute("CREATE DATABASE test_branch")
        connection.execute("DROP DATABASE test_branch")
        for name in ("stage", "production"):
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute(f"DROP DATABASE {name}".encode())
    with connect(secrets["test"]["DATABASE_URL"]) as connection:
        connection.execute("CREATE EXTENSION citext; CREATE TABLE mine ()")


def test_a_database_that_a_broken_reset_left_dropped_is_made_again(databases: Databases) -> None:
    with databases.server.connect() as connection:
        connection.execute("DROP DATABASE test")

    databases.prepare()

    with connect(databases.secrets()["test"]["DATABASE_URL"]) as connection:
        connection.execute("CREATE TABLE mine ()")


def test_staging_is_filled_once_analysed_and_survives_the_next_start(
    databases: Databases, image: Image
) -> None:
    assert not databases.filled()
    assert databases.fill_staging(image, megabytes=7, command=FILL)
    assert databases.log.read_text().endswith("7\n")

    again = Databases(databases.server)
    again.prepare()
    assert again.filled()
    assert not again.fill_staging(image, command="exit 1")
    with connect(again.secrets()["stage"]["DATABASE_URL"]) as connection:
        assert one(connection, "SELECT reltuples::int FROM pg_class WHERE relname = 'customer'") == 1000


def test_addons_that_make_stagings_database_do_not_meet_its_filling(
    databases: Databases, image: Image
) -> None:
    """As on a first start: the addons of an environment are made while staging is filled."""
    errors, over = list[Exception](), threading.Event()

    def make() -> None:
        while not over.is_set():
            try:
                databases.database("stage", "of_addons", "secret")
            except psycopg.Error as error:
                errors.append(error)
                return

    thread = threading.Thread(target=make)
    thread.start()
    try:
        for _ in range(5):
            with databases.server.connect() as connection:
                connection.execute("COMMENT ON DATABASE stage IS NULL")
            assert databases.fill_staging(image, command="true")
    finally:
        over.set()
        thread.join()
    assert errors == []


def test_an_interrupted_fill_is_done_again_from_nothing(databases: Databases, image: Image) -> None:
    with pytest.raises(Failed, match="exit code 3"):
        databases.fill_staging(image, command=f"{FILL} && exit 3")
    assert not databases.filled()

    assert databases.fill_staging(image, command=FILL)
    with connect(databases.secrets()["stage"]["DATABASE_URL"]) as connection:
        assert one(connection, "SELECT count(*) FROM customer") == 1000


def test_a_failed_fill_shows_the_commands_last_lines(databases: Databases, image: Image) -> None:
    with pytest.raises(
        Failed, match=r"(?s)`echo what it said; false`.*ended with exit code 1:\n  what it said"
    ):
        databases.fill_staging(image, command="echo what it said; false")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ModuleNotFoundError: No module named 'shop.local'", "The image has no module shop.local: "),
        (
            "ImportError: libGL.so.1: cannot open shared object file: No such file",
            "The image has no library libGL.so.1: ",
        ),
        ("OSError: cannot load library 'libpango-1.0-0': x", "The image has no library libpango-1.0-0: "),
        ("ImproperlyConfigured: Could not find the GDAL library (tried ", "The image has no library GDAL: "),
        ("ValueError: Dependency on app with no migrations: shop", "Git has no migrations of the app shop: "),
        ('UndefinedTable: relation "shop_book" does not exist', "Nothing has made the table shop_book: "),
        ("  os.environ[\"SHOP_KEY\"]\nKeyError: 'SHOP_KEY'", "The manifest gives no variable SHOP_KEY: "),
        (
            "ImproperlyConfigured: Set the DEPTH environment variable",
            "The manifest gives no variable DEPTH: ",
        ),
        ("decouple.UndefinedValueError: MODE not found. Declare it", "The manifest gives no variable MODE: "),
        ("KeyError: 'WORD'", ""),
        ("it is broken", ""),
    ],
)
def test_what_a_project_lacks_in_git_is_told(line: str, said: str) -> None:
    found = cure(f"Traceback:\n{line}")
    assert (found.startswith(said), bool(found)) == (True, bool(said))


@pytest.mark.parametrize(
    ("line", "is_named"),
    [
        ("    assert SHOP_MODE in ('live', 'beta')\nAssertionError", True),
        ("    raise ImproperlyConfigured\nImproperlyConfigured: SHOP_MODE is not known", True),
        ("    int(env['SHOP_MODE'])\nValueError: invalid literal for int()", True),
        ("    OTHER_SHOP_MODE_2\nAssertionError", False),
        ("    SHOP_MODE\nZeroDivisionError: division by zero", False),
    ],
)
def test_a_value_that_the_settings_refuse_is_named_with_the_file_for_a_real_one(
    line: str, *, is_named: bool
) -> None:
    found = cure(f'File "/app/settings.py", line 3\n{line}', ["SHOP_MODE", "UNUSED"])
    assert (" SHOP_MODE=value, into .sandbox.env " in found) is is_named
    assert "UNUSED" not in found


def test_a_fill_is_cancelled_with_its_processes(databases: Databases, image: Image) -> None:
    cancelled = threading.Event()
    threading.Timer(0.3, cancelled.set).start()
    begun = time.monotonic()

    with pytest.raises(Failed, match="was stopped"):
        databases.fill_staging(image, command="sleep 60 & sleep 60", cancelled=cancelled)

    assert time.monotonic() - begun < 30
    assert not databases.filled()


def test_a_fill_has_stagings_secrets_and_the_images_settings_and_works_on_a_copy(
    databases: Databases, image: Image
) -> None:
    command = (
        'test "$GREETING $REDIS_HOST $SANDBOX_OWNER" = "hello 127.9.9.9 me" && test -n "$SECRET_KEY"'
        ' && test -z "$PYTEST_CURRENT_TEST" && echo > written && pg_dump --version && echo "$DATABASE_URL"'
    )

    databases.fill_staging(image, command=command, env={"SANDBOX_OWNER": "me"})

    assert not (image.root / "app" / "written").exists()
    assert databases.log.read_text().splitlines()[-1] == databases.secrets()["stage"]["DATABASE_URL"]


def test_a_master_user_owns_a_database_of_its_own_and_acts_as_the_owner_of_one_that_is_there(
    databases: Databases,
) -> None:
    for name, owner in (("fresh", "freshadmin"), ("stage", "stage")):
        for password in ("first-password", "second-password"):  # what a stack is told again, changed
            host = databases.database(name, f"{name}admin", password)
        with connect(f"postgres://{name}admin:second-password@{host}:5432/{name}") as connection:
            assert one(connection, "SELECT current_user::text") == owner
            connection.execute("CREATE TABLE made ()")
            assert one(connection, "SELECT tableowner::text FROM pg_tables WHERE tablename = 'made'") == owner
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            connect(f"postgres://{name}admin:first-password@{host}:5432/{name}")
    with connect(databases.secrets()["test"]["STAGE_DATABASE_URL"]) as reader:
        assert one(reader, "SELECT count(*) FROM made") == 0
    assert databases.cache() == "127.9.9.9"


def test_environments_of_any_names_have_databases_alike(server: PostgresServer) -> None:
    names = ("dev", "test", "postgres", "public", "none", "template1", "x" * 60, "x" * 64, "x" * 64 + "-2")
    found = Databases(server, environments=names, redis_host="127.9.9.9")
    found.prepare()
    secrets = found.secrets()
    assert set(secrets) == set(names)
    databases = set()
    for name in names:
        assert set(secrets[name]) == {"DATABASE_URL", "SECRET_KEY", "REDIS_HOST"}
        with connect(secrets[name]["DATABASE_URL"]) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS mine ()")
            connection.execute("CREATE DATABASE for_the_tests")
            connection.execute("DROP DATABASE for_the_tests")
            assert one(connection, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False
            databases.add(one(connection, "SELECT current_database()::text"))
    assert len(databases) == len(names)
    assert (role_of("dev"), role_of("x" * 60)) == ("dev", "x" * 60)


def test_an_environment_that_comes_later_leaves_the_others_passwords(server: PostgresServer) -> None:
    before = Databases(server, environments=("dev",)).secrets()["dev"]
    assert Databases(server, environments=("dev", "later")).secrets()["dev"] == before
    assert Databases(server, environments=()).secrets() == {}
