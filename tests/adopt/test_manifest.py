"""The block `environments.test` of the service's manifest."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from copilot_testenv.adopt import service_manifest
from copilot_testenv.copilot import media
from copilot_testenv.core.errors import SettingsError, UsageError
from django_testenv.access import access
from tests.adopt.project import MANIFEST, THREE, adopt, adopted, commit, manifest, start_project

_PATH = "copilot/web/manifest.yml"


def test_three_containers_keep_what_they_have_and_only_test_is_added_to(three: Path) -> None:
    before = manifest(three)
    adopt(three)
    text = (three / _PATH).read_text()
    assert text.endswith("\n# The end.\n")
    lines = iter(text.splitlines())
    assert all(line in lines for line in THREE[_PATH].splitlines())  # in that order
    after = manifest(three)
    block = after["environments"].pop("test")
    assert after == before
    assert block["image"]["depends_on"] == {"startup": "success"}
    assert block["sidecars"].keys() == {"startup"}
    startup = block["sidecars"]["startup"]
    assert startup["command"][2].startswith("python manage.py copy_stage_db && python manage.py migrate")
    assert startup["secrets"].keys() == block["secrets"].keys() == {"DATABASE_URL", "STAGE_DATABASE_URL"}
    assert block["http"]["healthcheck"] == {"path": "/healthz", "grace_period": "3600s"}
    assert block["http"]["allowed_source_ips"] == ["127.0.0.0/8"]
    assert "# the sandbox; add your office's" in text


@pytest.mark.parametrize(
    ("own", "codes"),
    [
        ("healthcheck: /", {}),
        ("healthcheck: {path: /, success_codes: '302', interval: 10s}", {"success_codes": "200"}),
    ],
)
def test_a_health_check_that_is_a_page_opens_none_of_the_project(
    tmp_path: Path, own: str, codes: dict[str, str]
) -> None:
    folder = start_project(tmp_path / "shop", manifest=MANIFEST.replace("# healthcheck: '/'", own))
    before = manifest(folder)["http"]
    adopt(folder)
    found = manifest(folder)
    assert found["http"] == before
    check = found["environments"]["test"]["http"]["healthcheck"]
    assert check == {"path": "/healthz", **codes, "grace_period": "3600s"}


def test_the_path_that_is_asked_for_is_the_one_that_the_middleware_answers() -> None:
    assert service_manifest.HEALTH_PATH == access.HEALTHZ_PATH


@pytest.mark.parametrize("app", ["django.contrib.staticfiles", "django.contrib.messages"])
def test_a_project_without_the_app_for_static_files_collects_none(tmp_path: Path, app: str) -> None:
    folder = start_project(tmp_path / "shop")
    settings = folder / "mysite/settings.py"
    text = settings.read_text()
    assert text.count(f"    '{app}',\n") == 1
    settings.write_text(text.replace(f"    '{app}',\n", ""))
    commit(folder)
    adopt(folder)
    has_app = "django.contrib.staticfiles" in settings.read_text()
    block = manifest(folder)["environments"]["test"]
    assert ("collectstatic" in block["sidecars"]["startup"]["command"][2]) is has_app
    assert ("storage" in block) is has_app
    assert ("whitenoise=True" in settings.read_text()) is has_app


def test_a_project_with_redis_gets_it_as_a_sidecar(tmp_path: Path) -> None:
    folder = adopted(start_project(tmp_path / "shop", {"requirements.txt": "Django\nredis\n"}))
    block = manifest(folder)["environments"]["test"]
    assert block["sidecars"]["redis"]["port"] == 6379
    assert block["image"]["depends_on"] == {"redis": "start", "startup": "success"}
    assert block["variables"]["REDIS_HOST"] == "localhost"
    assert block["sidecars"]["startup"]["variables"] == block["variables"]
    assert adopt(folder).said[-1].startswith("Nothing to do")


def test_settings_that_read_the_port_of_redis_get_it(tmp_path: Path) -> None:
    folder = start_project(tmp_path / "shop", {"requirements.txt": "Django\nredis\n"})
    settings = folder / "mysite/settings.py"
    names = "import os\nREDIS = (os.environ['REDIS_HOST'], os.environ['REDIS_PORT'])\n"
    settings.write_text(settings.read_text() + names)
    commit(folder)
    variables = manifest(adopted(folder))["environments"]["test"]["variables"]
    assert (variables["REDIS_HOST"], variables["REDIS_PORT"]) == ("localhost", "6379")
    assert "REDIS_URL" not in variables


@pytest.mark.parametrize(
    ("read", "more", "is_given"),
    [
        ('os.getenv("REDIS_HOST","")', {}, False),
        ("env('REDIS_URL', default=None)", {}, False),
        ('os.getenv("REDIS_HOST", "redis")', {}, True),
        ('os.getenv("REDIS_HOST", "")', {"copilot/web/addons/cache.yml": "Outputs: {RedisHost: {}}"}, True),
    ],
)
def test_redis_that_the_settings_leave_off_is_given_if_something_switches_it_on(
    tmp_path: Path, read: str, more: dict[str, str], *, is_given: bool
) -> None:
    files = {"requirements.txt": "Django\nredis\n", **more}
    folder = start_project(
        tmp_path / "shop", files, more_settings=f"import os\nenv = os.getenv\nR = lambda: {read}\n"
    )
    block = manifest(adopted(folder))["environments"]["test"]
    assert ("redis" in block["sidecars"]) is is_given
    assert any(name.startswith("REDIS") for name in block["variables"]) is is_given


def test_a_service_of_another_name_and_its_variables_go_to_the_startup_sidecar(tmp_path: Path) -> None:
    text = (
        MANIFEST.replace("name: web", "name: api") + "\nvariables:\n  LOG_LEVEL: info\nenv_file: some.env\n"
    )
    folder = start_project(
        tmp_path / "shop", {"copilot/api/manifest.yml": text}, manifest="type: Worker Service\n"
    )
    adopt(folder)
    found = yaml.safe_load((folder / "copilot/api/manifest.yml").read_text())
    startup = found["environments"]["test"]["sidecars"]["startup"]
    assert startup["variables"]["LOG_LEVEL"] == "info"
    assert startup["env_file"] == "some.env"


def test_the_outputs_of_addons_go_to_the_startup_sidecar_too(tmp_path: Path) -> None:
    addon = """Resources:
  Secret: {Type: AWS::SecretsManager::Secret}
  Group: {Type: AWS::EC2::SecurityGroup}
Outputs:
  mydbSecret: {Value: !Ref Secret}
  mydbSecurityGroup: {Value: !Ref Group}
  S3BucketName: {Value: !GetAtt Bucket.Name}
"""
    files = {"copilot/web/addons/db.yml": addon, "copilot/web/addons/bad.yaml": "Outputs: ["}
    folder = adopted(start_project(tmp_path / "shop", files))
    block = manifest(folder)["environments"]["test"]
    secrets = block["sidecars"]["startup"]["secrets"]
    own = "/copilot/${COPILOT_APPLICATION_NAME}/${COPILOT_ENVIRONMENT_NAME}/secrets/"
    more = {"MYDB_SECRET": f"{own}MYDB_SECRET", "S3_BUCKET_NAME": f"{own}S3_BUCKET_NAME"}
    assert secrets == block["secrets"] | more


def test_what_only_the_blocks_of_other_environments_give_is_given_to_the_test_environment(
    tmp_path: Path,
) -> None:
    text = (
        MANIFEST
        + """
variables: {SIZE: 1}
environments:
  production:
    variables: {SIZE: 9, SITE: shop.example, BUCKET: media, DJANGO_SETTINGS_MODULE: mysite.settings}
    secrets: {KEY: /shop/production/KEY, REDIS_URL: /x}
  staging:
    variables: {SITE: staging.example, MODE: fast}
    secrets: {KEY: '/shop/${COPILOT_ENVIRONMENT_NAME}/KEY', MODE: /mode}
"""
    )
    folder = start_project(tmp_path / "shop", {"requirements.txt": "Django\nredis\n"}, manifest=text)
    block = manifest(adopted(folder))["environments"]["test"]
    own = "/copilot/${COPILOT_APPLICATION_NAME}/${COPILOT_ENVIRONMENT_NAME}/secrets/"
    assert block["variables"]["SITE"] == "staging.example"
    assert block["variables"]["REDIS_URL"] == "redis://localhost:6379/0"
    assert block["variables"]["DJANGO_SETTINGS_MODULE"] == "mysite.settings"
    assert not {"SIZE", "BUCKET", "MODE"} & set(block["variables"])
    assert block["secrets"]["KEY"] == "/shop/${COPILOT_ENVIRONMENT_NAME}/KEY"
    assert block["secrets"]["MODE"] == f"{own}MODE"
    assert "REDIS_URL" not in block["secrets"]
    assert block["sidecars"]["startup"]["secrets"] == block["secrets"]


def test_an_image_that_only_other_blocks_build_is_that_of_the_test_environment_too(tmp_path: Path) -> None:
    text = """name: web
type: Load Balanced Web Service
environments:
  prod:
    image: {build: Dockerfile.prod, port: 80}
    http: {path: shop, alias: shop.example}
  dev:
    image: {build: Dockerfile, port: 8001}
    command: gunicorn mysite.wsgi
"""
    folder = start_project(tmp_path / "shop", {"Dockerfile": "FROM python\nCOPY . /srv\n"}, manifest=text)
    block = manifest(adopted(folder))["environments"]["test"]
    assert block["image"] == {"build": "Dockerfile", "port": 8001, "depends_on": {"startup": "success"}}
    assert block["sidecars"]["startup"]["image"] == {"build": "Dockerfile"}
    assert block["command"] == "gunicorn mysite.wsgi"  # beside the image that is taken
    assert (block["http"]["path"], "alias" in block["http"]) == ("shop", False)


def test_what_a_block_of_the_owners_has_is_not_among_what_it_lacks(tmp_path: Path) -> None:
    text = (
        MANIFEST
        + """
environments:
  dev:
    variables: {MODE: dev, SITE: dev.example}
  test:
    variables: {MODE: test}
"""
    )
    said = adopt(start_project(tmp_path / "shop", manifest=text)).said
    (step,) = [each for each in said if "has a block `environments.test` of its own" in each]
    lacks = yaml.safe_load(step.partition("Add what is missing there:\n")[2])
    assert lacks["variables"]["SITE"] == "dev.example"
    assert "MODE" not in lacks["variables"]
    assert lacks["sidecars"]["startup"]["variables"]["MODE"] == "test"


def test_a_host_name_of_the_base_is_named_as_a_step(tmp_path: Path) -> None:
    text = MANIFEST.replace("path: '/'", "path: '/'\n  alias: shop.example")
    said = adopt(start_project(tmp_path / "shop", manifest=text)).said
    line = next(number for number, line in enumerate(text.splitlines(), 1) if "alias: shop" in line)
    (step,) = [each for each in said if each.startswith(f"Left as it is: copilot/web/manifest.yml:{line}: ")]
    assert "test would have the host name shop.example of the base" in step
    assert "move `http.alias` below the environments that need it" in step


def test_a_mapping_of_the_addons_without_the_environment_is_named_as_a_step(tmp_path: Path) -> None:
    addon = (
        "Mappings:\n  scaling:\n    stage: {Least: 1}\n"
        "Resources: {A: {Type: 'AWS::SNS::Topic', Properties: {A: !FindInMap [scaling, !Ref Env, Least]}}}\n"
    )
    said = adopt(start_project(tmp_path / "shop", {"copilot/environments/addons/db.yml": addon})).said
    (step,) = [
        each for each in said if each.startswith("Left as it is: copilot/environments/addons/db.yml:2: ")
    ]
    assert "write a row `test` below it, like one of stage" in step


def test_an_env_file_that_git_does_not_have_is_named_as_a_step(tmp_path: Path) -> None:
    text = MANIFEST + "\nenv_file: shop.env\n"
    said = adopt(start_project(tmp_path / "shop", manifest=text)).said
    (step,) = [each for each in said if "`env_file` is shop.env, which Git does not have" in each]
    assert "that `environments.test.env_file` names" in step
    there = start_project(tmp_path / "other", {"shop.env": "A=1\n"}, manifest=text)
    assert not [each for each in adopt(there).said if "`env_file` is" in each]


def test_an_app_whose_migrations_git_does_not_have_is_named_as_a_step(tmp_path: Path) -> None:
    models = "from django.db import models\n\n\nclass Book(models.Model):\n    pass\n"
    files = {
        "books/models.py": models,
        "books/migrations/__init__.py": "",
        "shelf/models.py": models,
        "shelf/migrations/0001_initial.py": "",
        "views/models.py": f"{models}    class Meta:\n        managed = False\n",
        "empty/models.py": "from django.db import models\n",
    }
    said = adopt(start_project(tmp_path / "shop", files)).said
    (step,) = [each for each in said if "Git has no migrations of" in each]
    assert step.startswith("Left as it is: books/migrations: ")


def test_redis_that_the_base_gives_as_a_secret_is_no_variable_too(tmp_path: Path) -> None:
    text = MANIFEST + "\nsecrets: {REDIS_URL: /x}\n"
    folder = adopted(start_project(tmp_path / "shop", {"requirements.txt": "redis\n"}, manifest=text))
    assert "REDIS_URL" not in manifest(folder)["environments"]["test"]["variables"]


@pytest.mark.parametrize(
    ("entry_point", "script", "is_replaced"),
    [
        ('["/srv/start.sh"]', "#!/bin/sh\nexec gunicorn\n# $@\n", True),
        ('["/srv/start.sh"]', '#!/bin/sh\nset -e\nexec "$@"\n', False),
        ('["/bin/bash"]', "", True),
        ("gunicorn mysite.wsgi", "", True),
        ('["/usr/bin/tini", "--"]', "", False),
        ('["poetry", "run"]', "", False),
    ],
)
def test_an_entrypoint_that_passes_no_command_on_is_replaced_for_startup(
    tmp_path: Path, entry_point: str, script: str, *, is_replaced: bool
) -> None:
    files = {"Dockerfile": f"FROM python\nCOPY . /srv\nWORKDIR /srv\nENTRYPOINT {entry_point}\n"}
    folder = start_project(tmp_path / "shop", {**files, "docker/start.sh": script} if script else files)
    startup = manifest(adopted(folder))["environments"]["test"]["sidecars"]["startup"]
    command = "python manage.py copy_stage_db && python manage.py migrate --noinput"
    assert startup["command"] == ([command] if is_replaced else ["sh", "-c", command])
    assert startup.get("entrypoint") == (["sh", "-c"] if is_replaced else None)


_TAILS = {
    "empty": "environments:\n",
    "four spaces": "environments:\n    production:\n        count: 2   # two\n\n# The end.\n",
    "in the middle": "environments:\n  production:\n    command: |\n      a\n      b\ncount: 2\n",
    "a line that ours explains": "environments:\n  production:\n    deployment:\n      rolling: recreate\n",
    "empty flow": "environments: {}\n",
    "no line end": "environments:\n  production:\n    count: 2",
}


@pytest.mark.parametrize("tail", _TAILS.values(), ids=_TAILS.keys())
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_manifest_keeps_every_other_line(tmp_path: Path, tail: str, end: str) -> None:
    text = (
        f"name: web\ntype: Load Balanced Web Service\nimage: {{build: Dockerfile, port: 80}}\n{tail}".replace(
            "\n", end
        )
    )
    folder = start_project(tmp_path / "shop", manifest=text)
    report = adopt(folder)
    after = (folder / _PATH).read_bytes().decode()
    if tail in {_TAILS["empty"], _TAILS["empty flow"]}:
        assert after == text
        assert any("nothing can be added. Write there:\n    environments:\n" in line for line in report.said)
        return
    lines = iter(after.split(end))
    assert all(line in lines for line in text.split(end))
    assert after.count("\n") == after.count(end)
    assert "copy_stage_db" in str(yaml.safe_load(after)["environments"]["test"])
    commit(folder)
    assert adopt(folder).said[-1].startswith("Nothing to do")


def test_a_manifest_of_both_line_ends_keeps_each(tmp_path: Path) -> None:
    text = MANIFEST.replace("\n", "\r\n", 5) + "\nenvironments:\n  production:\n    count: 2\n# The end.\n"
    folder = adopted(start_project(tmp_path / "shop", manifest=text))
    lines = iter((folder / _PATH).read_bytes().decode().splitlines(keepends=True))
    assert all(line in lines for line in text.splitlines(keepends=True))


def test_a_block_of_the_projects_own_is_left_and_said(tmp_path: Path) -> None:
    text = MANIFEST + "\nenvironments:\n  test:\n    count: 1\n"
    folder = start_project(tmp_path / "shop", manifest=text)
    report = adopt(folder)
    assert (folder / _PATH).read_text() == text
    assert any("`environments.test` of its own. Add what is missing there:\n" in line for line in report.said)


def with_command(folder: Path, command: str) -> None:
    file = folder / _PATH
    lines = [
        f"    command: {command}" if "command:" in line else line for line in file.read_text().splitlines()
    ]
    file.write_text("\n".join(lines) + "\n")
    commit(folder)


@pytest.mark.parametrize("command", ["", "{a: b}", "[1, 2]"])
def test_a_startup_command_that_the_copy_cannot_go_before_is_named(three: Path, command: str) -> None:
    with_command(three, command)
    with pytest.raises(SettingsError, match="the startup sidecar has no command"):
        adopt(three)


@pytest.mark.parametrize(
    ("command", "copied"),
    [
        ("python manage.py migrate", "python manage.py copy_stage_db && python manage.py migrate"),
        ("['python', 'my start.py']", "python manage.py copy_stage_db && python 'my start.py'"),
    ],
)
def test_the_copy_is_put_before_every_kind_of_command(three: Path, command: str, copied: str) -> None:
    with_command(three, command)
    adopt(three)
    startup = manifest(three)["environments"]["test"]["sidecars"]["startup"]
    assert startup["command"] == ["sh", "-c", copied]


def test_media_bring_a_bucket_rights_and_two_variables_and_stay_without_the_flag(tmp_path: Path) -> None:
    folder = start_project(tmp_path / "shop")
    with pytest.raises(UsageError, match="is not the name of a bucket"):
        adopt(folder, media="../x")
    adopted(folder, media="shop-media, shop-papers")
    block = manifest(folder)["environments"]["test"]
    for holder in (block, block["sidecars"]["startup"]):
        assert holder["variables"]["STAGE_MEDIA_BUCKET"] == "shop-media,shop-papers"
        assert holder["variables"]["TEST_MEDIA_BUCKET"] == {
            "from_cfn": "${COPILOT_APPLICATION_NAME}-${COPILOT_ENVIRONMENT_NAME}-TestMediaBucket"
        }
    rights = (folder / "copilot/web/addons/media.yml").read_text()
    assert rights.count("s3:::shop-papers/*") == 2
    assert "HasTestMedia: !Equals [!Ref Env, test]" in (folder / media.ADDON).read_text()
    assert "Nothing to do" in " ".join(adopt(folder).said)
    adopted(folder, media="shop-media")  # the team has moved its papers
    assert "shop-papers" not in (folder / "copilot/web/addons/media.yml").read_text()
