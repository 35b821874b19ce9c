"""The values that the sandbox supplies for secrets that nobody has given."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from copilot_sandbox import given, made_up
from copilot_sandbox.databases import Databases
from copilot_sandbox.made_up import Database, Values, database_part
from copilot_sandbox.postgres import PostgresServer
from copilot_sandbox.references import Reference, addon_secrets, env_files, of_environment
from copilot_sandbox.supply import Stored, Supply

VALUES = Values(b"a key", "127.83.1.1")
ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:"


@pytest.fixture
def databases(tmp_path: Path) -> Databases:
    """The passwords and addresses; the server does not run."""
    (tmp_path / "state/postgres").mkdir(parents=True)
    return Databases(PostgresServer(tmp_path / "state"), redis_host="127.83.1.1")


@pytest.fixture
def supply(tmp_path: Path, databases: Databases) -> Supply:
    return Supply(tmp_path, databases, tmp_path / "state")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SENTRY_DSN", ""),
        ("NEW_RELIC_LICENSE_KEY", ""),
        ("PAGE_SIZE", "1"),
        ("SITE_ID", "1"),
        ("DEBUG", "0"),
        ("EMAIL_USE_TLS", "0"),
        ("AWS_S3_USE_SSL", "0"),
        ("EMAIL_HOST", "localhost"),
        ("EMAIL_PORT", "25"),
        ("DEFAULT_FROM_EMAIL", "somebody@sandbox.invalid"),
        ("PAYMENT_API_URL", "https://payment-api-url.invalid"),
        ("ELASTICSEARCH_HOST", "sandbox.invalid"),
        ("DJANGO_ALLOWED_HOSTS", "*"),
        ("CELERY_BROKER_URL", "redis://127.83.1.1:6379/0"),
        ("REDIS_HOST", "127.83.1.1"),
        ("REDIS_PASSWORD", ""),
        ("FIREBASE_CREDENTIALS", "{}"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("LOG_LEVEL", "INFO"),
    ],
)
def test_a_value_has_the_form_that_its_name_promises(name: str, value: str) -> None:
    assert VALUES.value(name) == value


@pytest.mark.parametrize("name", ["STRIPE_SECRET_KEY", "API_TOKEN", "GOOGLE_CLIENT_ID", "X", "", "_"])
def test_another_value_is_a_long_text_and_the_same_each_time(name: str) -> None:
    assert len(VALUES.value(name)) == 43
    assert VALUES.value(name) == Values(b"a key", "elsewhere").value(name)
    assert VALUES.value(name) != Values(b"another key", "127.83.1.1").value(name)


def test_a_key_of_encrypted_fields_is_one_of_fernets() -> None:
    assert len(base64.urlsafe_b64decode(VALUES.value("FIELD_ENCRYPTION_KEY"))) == 32


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("DATABASE_URL", "url"),
        ("DJANGO_DB_PASSWORD", "password"),
        ("DBUSER", "username"),
        ("PGHOST", "host"),
        ("POSTGRES_DB", "dbname"),
        ("RDS_HOSTNAME", "host"),
        ("SQL_ENGINE", "engine"),
        ("DBCLUSTER_SECRET", "json"),
        ("MYDB_SECRET", "json"),
        ("DATABASE_CREDENTIALS", "json"),
        ("DB_INFO", "json"),
        ("FEEDBACK_SECRET", ""),
        ("REDIS_DB", ""),
        ("EMAIL_HOST_PASSWORD", ""),
        ("DB_CONN_MAX_AGE", ""),
    ],
)
def test_the_names_of_a_databases_address_are_known(name: str, part: str) -> None:
    assert database_part(name) == part


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY_ID"),
        ("DJANGO_AWS_SECRET_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY"),
        ("AWS_S3_SECRET_KEY", "AWS_SECRET_ACCESS_KEY"),
        ("S3_ACCESS_KEY", "AWS_ACCESS_KEY_ID"),
        ("AWS_S3_REGION_NAME", "AWS_REGION"),
        ("AWS_STORAGE_BUCKET_NAME", ""),
        ("STRIPE_SECRET_KEY", ""),
    ],
)
def test_the_names_of_a_key_of_aws_are_known(name: str, variable: str) -> None:
    assert made_up.aws_variable(name) == variable


def test_each_part_of_a_database_leads_to_the_environments_own(supply: Supply, databases: Databases) -> None:
    databases.host = "127.83.1.1"

    def value(variable: str, environment: str = "test", reference: str = "/x") -> str:
        return str(supply.secret(variable, reference, environment, None))

    assert (value("DB_NAME"), value("DB_HOST"), value("DB_PORT")) == ("test", "127.83.1.1", "5432")
    assert (value("DB_USER", "staging"), value("PGDATABASE", "prod")) == ("stage", "production")
    found = json.loads(value("RDS_SECRET"))
    assert found["password"] == value("DB_PASSWORD")
    assert value("SOME_NAME", reference=f"{ARN}shop/db:username::") == "test"
    assert value("STAGING_DATABASE_URL").startswith("postgres://stage_reader:")
    assert value("DATABASE_URL") == databases.secrets()["test"]["DATABASE_URL"]


def test_the_users_file_comes_first_by_the_variables_name_or_the_secrets(
    supply: Supply, tmp_path: Path
) -> None:
    file = tmp_path / given.FILE
    file.write_text("STRIPE_KEY=a=b\n/shop/test/MAIL='c d'\nshop/all:key=e\npartner-Token=f\nDB_PASSWORD=g\n")
    file.chmod(0o600)
    assert given.read(tmp_path)[1] == ""
    assert supply.secret("STRIPE_KEY", "/any/where", "test", "stored") == "a=b"
    arn = "arn:aws:ssm:us-east-1:123456789012:parameter/shop/test/MAIL"
    assert supply.secret("MAIL", arn, "test", None) == "c d"
    assert supply.secret("K", f"{ARN}shop/all:key::", "test", None) == "e"
    assert supply.secret("K", f"{ARN}shop/all-AbCd12:key::", "test", None) == "e"
    supply.secret_exports.add("partner-Token")
    name = supply.export("partner-Token")
    assert name != "f"
    assert supply.secret("TOKEN", name, "test", None) == "f"
    # A database of somebody else's is never reached from here.
    assert supply.secret("DB_PASSWORD", "/x", "test", None) != "g"


def test_a_stored_secret_comes_before_a_made_up_one(supply: Supply) -> None:
    assert supply.secret("ANY", "/x", "test", "stored") == "stored"
    assert supply.for_task("ANY", "/x", "test", "stored") == ("stored", "")


def test_a_new_made_up_value_is_told_once(supply: Supply) -> None:
    value, note = supply.for_task("NEW_KEY", "/x", "test", None)
    assert value
    assert note == "the value of NEW_KEY is made up: give a real one in .sandbox.env"
    assert supply.for_task("NEW_KEY", "/x", "test", None) == (value, "")


def test_what_cannot_be_guessed_is_missing_and_the_file_is_named(supply: Supply) -> None:
    value, note = supply.for_task("DJANGO_SETTINGS_MODULE", "/x", "test", None)
    assert value is None
    assert note == " In the sandbox, give it in .sandbox.env beside copilot/: DJANGO_SETTINGS_MODULE=value."


def test_a_link_is_not_read_and_a_file_that_others_may_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("A=1\n")
    file = tmp_path / given.FILE
    file.symlink_to(tmp_path / "secret")
    assert given.read(tmp_path)[0] == {}
    assert "is a link" in given.read(tmp_path)[1]
    file.unlink()
    file.write_text("A=1\nB=$A\n# C=3\n")
    file.chmod(0o644)
    warning = "other users may read .sandbox.env: run `chmod 600 .sandbox.env`"
    assert given.read(tmp_path) == ({"A": "1", "B": "$A"}, warning)


MANIFEST = """
name: web
type: Load Balanced Web Service
env_file: web.env
variables: {A: 1, B: true, C: {from_cfn: 'net-${COPILOT_ENVIRONMENT_NAME}-C'}}
secrets:
  ONE: /${COPILOT_APPLICATION_NAME}/${COPILOT_ENVIRONMENT_NAME}/ONE
  KEY: {secretsmanager: 'all:key::'}
  WHOLE: {secretsmanager: other}
sidecars: {job: {secrets: {TWO: /two}}}
environments:
  test:
    variables: {A: 2}
    sidecars: {job: {secrets: {TWO: /test/two}}, more: {secrets: {THREE: {from_cfn: X}}}}
"""
ADDON = """
Resources:
  S: {Type: 'AWS::SecretsManager::Secret'}
  P: {Type: 'AWS::IAM::ManagedPolicy'}
Outputs:
  mydbSecret: {Value: !Ref S}
  bucketName: {Value: !GetAtt B.Name}
  policy: {Value: !Ref P}
"""


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_manifests_and_addons_name_what_each_container_is_given(tmp_path: Path, supply: Supply) -> None:
    write(tmp_path, {
        "copilot/web/manifest.yml": MANIFEST,
        "copilot/web/addons/db.yml": ADDON,
        "copilot/web/addons/bad.yml": "Outputs: [",
        "copilot/worker/manifest.yml": "secrets: {FOUR: /four}\n",
        "copilot/bad/manifest.yml": "[",
        "web.env": "# of the image\nD=4 = 5\nE\n",
    })  # fmt: skip
    found = of_environment(tmp_path, "shop", "test", {})
    assert [(each.container, each.variable, each.kind, each.name) for each in found] == [
        ("web", "A", "plain", "2"),
        ("web", "B", "plain", "true"),
        ("web", "C", "import", "net-test-C"),
        ("web", "ONE", "ssm", "/shop/test/ONE"),
        ("web", "KEY", "secretsmanager", "all:key::"),
        ("web", "WHOLE", "secretsmanager", "other"),
        ("job", "TWO", "ssm", "/test/two"),
        ("more", "THREE", "secret import", "X"),
        ("web", "MYDB_SECRET", "addon", "mydbSecret"),
        ("web", "BUCKET_NAME", "addon", "bucketName"),
        ("worker", "FOUR", "ssm", "/four"),
    ]
    assert env_files(tmp_path, "web", "test") == {"D": "4 = 5"}
    stored = {each.name: each for each in supply.stored(found, "test")}
    assert set(stored) == {"/shop/test/ONE", "/test/two", "/four", "all", "other"}
    value = json.dumps({"key": supply.secret("KEY", "x", "test", None)})
    assert stored["all"] == Stored("all", value, "test", is_parameter=False)
    environment = supply.environment(found, "web", "test", "stage")
    assert environment["A"] == "2"
    assert json.loads(environment["MYDB_SECRET"])["dbname"] == "stage"
    assert set(environment) == {"A", "B", "C", "ONE", "KEY", "WHOLE", "MYDB_SECRET", "BUCKET_NAME"}
    assert supply.invented(found, "shop", "test") == {"C", "ONE", "KEY", "WHOLE", "TWO", "THREE", "FOUR"}


ATTACHED = """
Resources:
  Kept:
    Type: AWS::SecretsManager::Secret
    Properties: {Name: !Sub '${App}/${Env}/${Name}', GenerateSecretString: {}}
  Other: {Type: 'AWS::SecretsManager::Secret'}
  Broker:
    Type: AWS::SSM::Parameter
    Properties: {Name: !Sub '/${App}/${Env}/broker', Type: String, Value: a}
  Link: {Type: 'AWS::SecretsManager::SecretTargetAttachment', Properties: {SecretId: !Ref Kept}}
Outputs:
  djangoSecret: {Value: !Ref Kept, Export: {Name: !Sub '${App}-${Env}-Kept'}}
  linkOutput: {Value: !Ref Link}
  otherSecret: {Value: !Ref Other}
"""


def test_a_secret_that_an_addon_attaches_to_a_database_is_one_whatever_its_name(
    tmp_path: Path, supply: Supply
) -> None:
    write(tmp_path, {"copilot/web/addons/db.yml": ATTACHED, "copilot/environments/addons/db.yml": ATTACHED})
    found, named = addon_secrets(tmp_path, "shop", "test")
    assert named == {"shop/test/web", "shop/test/environments", "/shop/test/broker"}
    assert found == {
        "shop/test/web", "shop/test/environments", "shop-test-Kept", "DJANGO_SECRET", "LINK_OUTPUT",
    }  # fmt: skip
    supply.database_secrets |= found
    for variable, name in (("DJANGO_SECRET", "/x"), ("A", "shop-test-Kept"), ("A", "shop/test/web")):
        assert json.loads(str(supply.secret(variable, name, "test", None)))["dbname"] == "test"
    assert supply.secret("A", "shop/test/web:username::", "test", None) == "test"
    supply.addon_secrets |= named
    named_by_them = [
        Reference("web", "web", "A", "secretsmanager", "shop/test/web:username"),
        Reference("web", "web", "BROKER_HOST", "ssm", "/shop/test/broker"),
    ]
    assert supply.stored(named_by_them, "test") == []
    assert len(str(supply.secret("OTHER_SECRET", "/x", "test", None))) == 43


def test_an_environment_file_outside_of_the_workspace_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "outside.env").write_text("A=1\n")
    write(tmp_path / "shop", {"copilot/web/manifest.yml": "env_file: ../outside.env\n"})
    (tmp_path / "shop/link.env").symlink_to(tmp_path / "outside.env")
    assert env_files(tmp_path / "shop", "web", "test") == {}
    write(tmp_path / "shop", {"copilot/web/manifest.yml": "env_file: link.env\n"})
    assert env_files(tmp_path / "shop", "web", "test") == {}


def test_a_database_is_given_as_rds_writes_it() -> None:
    database = Database("postgres://…", "h", 5432, "d", "u", "p")
    assert json.loads(database.part("json")) == {
        "username": "u", "password": "p", "host": "h", "port": 5432, "dbname": "d", "engine": "postgres",
    }  # fmt: skip
    assert database.part("engine") == "django.db.backends.postgresql"
    assert made_up.asks_for_staging("STAGE_DATABASE_URL")


def test_a_manifest_without_what_it_needs_names_nothing(tmp_path: Path) -> None:
    write(tmp_path, {"copilot/web/manifest.yml": "secrets: [A]\nvariables: 1\nsidecars: {a: null}\n"})
    assert of_environment(tmp_path, "shop", "test", {}) == []
    assert Reference("w", "c", "V", "plain", "1").name == "1"
