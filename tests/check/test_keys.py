from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from copilot_testenv.check import keys, schema
from copilot_testenv.check.keys import repeated, unknown
from tests.check.projects import with_manifest

WEB = "name: web\ntype: Load Balanced Web Service\n"

# Each with most keys of its type, written as the documentation of Copilot does.
# Source: https://aws.github.io/copilot-cli/docs/manifest/overview/
TASK = """
cpu: 256
memory: 512
platform: {osfamily: linux, architecture: arm64}
exec: true
entrypoint: ['sh', '-c']
command: gunicorn
env_file: web.env
variables: {LOG: info, TABLE: {from_cfn: '${COPILOT_ENVIRONMENT_NAME}-Table'}}
secrets: {KEY: /key, OTHER: {secretsmanager: 'demo/test:key::'}, THIRD: {from_cfn: key-arn}}
network:
  connect: {alias: web.example}
  vpc:
    placement: {subnets: {from_tags: {kind: [private, inner]}}}
    security_groups: {deny_default: true, groups: [sg-1, {from_cfn: group}]}
storage:
  ephemeral: 30
  readonly_fs: true
  volumes:
    shared:
      path: /data
      read_only: false
      efs: {id: {from_cfn: fs}, root_dir: /, auth: {iam: true, access_point_id: fsap-1}}
    own: {path: /own, efs: {uid: 1000, gid: 1000}}
logging:
  retention: 30
  image: fluentbit:1
  destination: {Name: cloudwatch, region: us-west-2}
  enableMetadata: true
  secretOptions: {apikey: /datadog}
  configFilePath: /extra.conf
  variables: {A: b}
  secrets: {C: /d}
  env_file: log.env
publish: {topics: [{name: orders}, {name: paid, fifo: {content_based_deduplication: true}}]}
taskdef_overrides: [{path: 'ContainerDefinitions[0].Ulimits[-]', value: {Name: nofile, HardLimit: 4}}]
sidecars:
  nginx:
    port: 80/tcp
    image: {build: {context: ., dockerfile: nginx/Dockerfile, args: {A: b}, target: last, cache_from: [i]}}
    essential: false
    credentialsParameter: arn
    variables: {A: b}
    env_file: nginx.env
    secrets: {C: {secretsmanager: d}}
    mount_points: [{source_volume: own, path: /own, read_only: true}]
    labels: {com.example: x}
    depends_on: {startup: success}
    healthcheck: {command: [CMD, x], interval: 5s, retries: 2, timeout: 3s, start_period: 0s}
    entrypoint: x
    command: [y]
"""
WEB_TRAFFIC = """
http:
  alb: shared
  path: /
  version: http2
  targetContainer: nginx
  alias: [{name: a.example.com, hosted_zone: Z1}, {name: b.example.com}]
  redirect_to_https: true
  allowed_source_ips: [10.24.34.0/23]
  stickiness: true
  hosted_zone: Z2
  deregistration_delay: 5s
  healthcheck:
    {path: /, port: 8080, success_codes: '200', healthy_threshold: 3, unhealthy_threshold: 2,
     interval: 15s, timeout: 10s, grace_period: 60s}
  additional_rules: [{path: /x, target_container: nginx, target_port: 80, healthcheck: /x}]
"""
IMAGE = """
image:
  build: {dockerfile: Dockerfile}
  credentials: arn
  labels: {a: b}
  depends_on: {nginx: healthy}
  healthcheck: {command: [CMD, x]}
"""
IMAGE_WITH_PORT = f"{IMAGE}  port: 80\n"
COUNT = """
count:
  range: {min: 1, max: 10, spot_from: 2}
  cooldown: {in: 60s, out: 30s}
  cpu_percentage: {value: 70, cooldown: {in: 1s, out: 2s}}
  memory_percentage: 80
"""
DOCUMENTED = {
    "Load Balanced Web Service": TASK + IMAGE_WITH_PORT + WEB_TRAFFIC + COUNT + """
  requests: 100
nlb:
  port: 443/tls
  alias: nlb.example.com
  ssl_policy: p
  stickiness: true
  deregistration_delay: 5s
  healthcheck: {port: 80, grace_period: 5s}
  additional_listeners: [{port: 80/tcp, target_container: nginx, target_port: 80}]
deployment: {rolling: recreate, rollback_alarms: {cpu_utilization: 70, memory_utilization: 50}}
observability: {tracing: awsxray}
""",
    "Backend Service": TASK + IMAGE_WITH_PORT + WEB_TRAFFIC + COUNT + """
  response_time: {value: 2s}
deployment: {rollback_alarms: [alarm]}
""",
    "Worker Service": TASK + IMAGE + COUNT + """
  queue_delay: {acceptable_latency: 10m, msg_processing_time: 250ms, cooldown: {in: 1s}}
subscribe:
  topics:
    - {name: orders, service: api, filter_policy: {store: [a, {anything-but: b}]}, queue: {timeout: 5s}}
    - {name: paid, service: api, queue: true}
  queue:
    {retention: 96h, delay: 30s, timeout: 1m, dead_letter: {tries: 10},
     fifo: {content_based_deduplication: true, deduplication_scope: messageGroup, throughput_limit: perQueue,
            high_throughput: true}}
deployment: {rollback_alarms: {messages_delayed: 5}}
""",
    "Scheduled Job": TASK + IMAGE + """
on: {schedule: '@daily'}
retries: 3
timeout: 1h
""",
    "Request-Driven Web Service": """
http: {healthcheck: {path: /}, alias: web.example.com, private: {endpoint: vpce-1}}
image: {location: 'public.ecr.aws/x/y:1', port: 80}
cpu: 1024
memory: 2048
platform: linux/x86_64
count: high
command: x
variables: {A: b}
secrets: {C: /d}
tags: {team: x}
network: {vpc: {placement: private}}
publish: {topics: [{name: orders}]}
observability: {tracing: awsxray}
""",
    "Static Site": """
http: {alias: site.example.com, certificate: arn}
files: [{source: src, destination: static, recursive: true, exclude: '*.md', reinclude: [a.md]}]
""",
}  # fmt: skip
ENVIRONMENT = """
name: test
type: Environment
network:
  vpc:
    cidr: 10.0.0.0/16
    id: vpc-1
    subnets: {public: [{cidr: 10.0.0.0/24, az: us-east-2a}], private: [{id: subnet-1}]}
    security_group:
      ingress: [{ip_protocol: tcp, ports: 80, cidr: 0.0.0.0/0}]
      egress: [{ip_protocol: tcp, ports: 0-65535, cidr: 0.0.0.0/0}]
    flow_logs: {retention: 60}
cdn: {certificate: arn, terminate_tls: true, static_assets: {location: b, alias: c, path: d}}
http:
  public:
    certificates: [arn]
    access_logs: {bucket_name: b, prefix: p}
    ssl_policy: p
    ingress: {cdn: true, source_ips: [192.0.2.0/24]}
  private:
    {subnets: [s], certificates: [arn], ingress: {vpc: true}, ssl_policy: p,
     security_groups: {ingress: {from_vpc: true}}}
observability: {container_insights: true}
"""


def found(workspace: Path, text: str) -> list[tuple[int, str, str]]:
    return [(one.line, one.what, one.instead) for one in unknown(with_manifest(workspace, text))]


@pytest.mark.parametrize("kind", DOCUMENTED)
def test_what_copilot_documents_is_known_in_the_base_and_in_an_environments_block(
    workspace: Path, kind: str
) -> None:
    base = DOCUMENTED[kind]
    block = "".join(f"    {line}\n" for line in base.splitlines())
    assert not found(workspace, f"name: web\ntype: {kind}\n{base}\nenvironments:\n  test:\n{block}")


def test_what_copilot_documents_of_an_environment_is_known(workspace: Path) -> None:
    (workspace / "copilot/environments/test/manifest.yml").write_text(ENVIRONMENT)
    assert not found(workspace, WEB)


@pytest.mark.parametrize(
    ("wrong", "line", "key", "instead"),
    [
        ("depends_on: {redis: start}", 3, "depends_on", "it belongs under `image`"),
        ("http:\n  grace_period: 9s", 4, "http.grace_period", "it belongs under `http.healthcheck`"),
        ("port: 80", 3, "port", "it belongs under `image` or `nlb`"),
        ("Image: {port: 80}", 3, "Image", "write `image`"),
        ("variable: {A: b}", 3, "variable", "write `variables`"),
        ("sidecars:\n  redis: {dependsOn: {}}", 4, "sidecars.redis.dependsOn", "write `depends_on`"),
        ("image: {variables: {A: b}}", 3, "image.variables", "it belongs at the top of the manifest"),
        ("image: {essential: true}", 3, "image.essential", "it belongs under `sidecars.<name>`"),
        ("healthchek: /", 3, "healthchek", "write `healthcheck` under `image` or `http` or `nlb`"),
        ("deploymet: {}", 3, "deploymet", "write `deployment`"),
        ("http: {additional_rules: [{path: /}, {pth: /x}]}", 3, "http.additional_rules.pth", "write `path`"),
        (
            "http: {redirect_to_http: true}",
            3,
            "http.redirect_to_http",
            "write `redirect_to_https`",
        ),
        (
            "environments:\n  test:\n    depends_on: {}",
            5,
            "environments.test.depends_on",
            "it belongs under `environments.test.image`",
        ),
        (
            "environments:\n  test:\n    name: web",
            5,
            "environments.test.name",
            "it belongs at the top of the manifest, for all environments",
        ),
        (
            "environments:\n  test:\n    image: {cpu: 256}",
            5,
            "environments.test.image.cpu",
            "it belongs under `environments.test`",
        ),
        (
            "exec: {wanted: true}",
            3,
            "exec.wanted",
            "remove it, or write what Copilot knows here (`enable`)",
        ),
    ],
)  # fmt: skip
def test_a_key_that_copilot_ignores_is_told_with_what_to_write_instead(
    workspace: Path, wrong: str, line: int, key: str, instead: str
) -> None:
    assert found(workspace, f"{WEB}{wrong}\n") == [
        (line, f"Copilot knows no key `{key}` and ignores it", instead)
    ]


def test_a_key_of_another_type_of_service_is_unknown(workspace: Path) -> None:
    subscribe = "subscribe: {topics: []}\n"
    assert not found(workspace, f"name: web\ntype: Worker Service\n{subscribe}")
    assert [line for line, _, _ in found(workspace, f"{WEB}{subscribe}")] == [3]


def test_an_unknown_key_of_an_environments_own_manifest_is_told(workspace: Path) -> None:
    file = workspace / "copilot/environments/test/manifest.yml"
    file.write_text("name: test\ntype: Environment\nobservability:\n  containerInsights: true\n")
    (one,) = unknown(with_manifest(workspace, WEB))
    assert str(one) == (
        "copilot/environments/test/manifest.yml:4: unknown-key: Copilot knows no key "
        "`observability.containerInsights` and ignores it: write `container_insights`"
    )


def test_names_of_ones_own_and_what_copilot_hands_on_are_no_keys(workspace: Path) -> None:
    assert not found(
        workspace,
        f"{WEB}variables: {{depends_on: x, Image: y}}\nsidecars: {{imge: {{image: 'a:1'}}}}\n"
        "taskdef_overrides: [{path: A, value: {Anything: [{goes: here}]}}]\n"
        "storage: {volumes: {efs: {path: /x}}}\n",
    )


def test_a_holder_of_anchors_is_no_mistake_at_the_top_only(workspace: Path) -> None:
    assert not found(workspace, f"{WEB}x-common: &common {{A: b, image: x}}\nvariables: *common\n")
    ((line, _, _),) = found(workspace, f"{WEB}http:\n  x-common: 1\n")
    assert line == 4


def test_a_wrong_key_in_an_anchor_is_told_once_where_it_stands(workspace: Path) -> None:
    text = (
        f"{WEB}x-side: &side\n  essental: false\n"
        "sidecars:\n  a: {<<: *side}\n  b: *side\n  c: {<<: [*side]}\n"
    )
    assert [(line, instead) for line, _, instead in found(workspace, text)] == [(4, "write `essential`")]


def test_a_type_that_copilot_does_not_have_is_left_to_copilot(workspace: Path) -> None:
    assert not found(workspace, "name: web\ntype: Web Service\nanything: 1\n")
    assert not found(workspace, "name: web\ntype: [x]\nanything: 1\n")
    assert not found(workspace, "anything: 1\n")


@pytest.mark.parametrize("key", ["~", "null", "1", "on", "yes", "true", "''", "2024-01-01", "1.5"])
def test_a_key_that_is_no_text_is_compared_as_it_is_written(workspace: Path, key: str) -> None:
    ((line, what, _),) = found(workspace, f"{WEB}{key}: x\n")
    assert (line, what) == (3, f"Copilot knows no key `{key.strip(chr(39))}` and ignores it")
    job = "name: web\ntype: Scheduled Job\non: {schedule: '@daily'}\n"
    assert not found(workspace, f"{job}variables: {{{key}: x}}\n")


@pytest.mark.parametrize(
    "text",
    [
        "http: [[[[[{path: /}]]]]]",
        "http: null\nimage: 3\nsidecars: [a, [b]]\nenvironments: [test]",
        "sidecars: {a: null, b: x, c: []}\nenvironments: {test: null, stage: 3}",
        "x: " + "[" * 100 + "]" * 100,
        "http: &a {additional_rules: [*a, *a, *a]}",
        "image: &a [*a]",
    ],
)
def test_a_hostile_manifest_makes_no_rule_fall(workspace: Path, text: str) -> None:
    project = with_manifest(workspace, f"{WEB}{text}\n")
    for rule in keys.RULES:
        list(rule(project))


def test_a_key_that_stands_twice_is_told_with_both_lines(workspace: Path) -> None:
    text = f"{WEB}cpu: 256\nenvironments:\n  test: {{}}\n  test: {{cpu: 1}}\ncpu: 512\n"
    assert [(one.line, one.what) for one in repeated(with_manifest(workspace, text))] == [
        (7, "`cpu` is repeated here, first on line 3"),
        (6, "`test` is repeated here, first on line 5"),
    ]


def test_the_same_key_in_two_places_or_over_a_merged_one_is_no_repetition(workspace: Path) -> None:
    text = f"{WEB}x-a: &a {{cpu: 1}}\ncpu: 256\nenvironments:\n  test: {{<<: *a, cpu: 1}}\n  stage: *a\n"
    assert not list(repeated(with_manifest(workspace, text)))


def test_each_type_has_its_keys_and_no_shape_is_left_over() -> None:
    file = yaml.safe_load(Path(schema.__file__).with_name("keys.yml").read_text(encoding="utf-8"))
    assert all(schema.read_of(kind) for kind in file["types"])
    assert set(DOCUMENTED) == set(file["types"]) - {"Environment", "Pipeline"}


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        (WEB + "sidecars: {log: {port: 1}}\nlog: {essential: false}\n", "it belongs under `sidecars`"),
        (
            WEB + "environments: {test: {startup: {command: x}}}\n",
            "it belongs under `environments.test.sidecars`",
        ),
        (WEB + "environments: {stage: {}}\ntest: {count: 1}\n", "it belongs under `environments`"),
    ],
)
def test_a_block_that_slipped_out_of_its_holder_is_told_where_it_belongs(
    workspace: Path, text: str, instead: str
) -> None:
    (told,) = unknown(with_manifest(workspace, text))
    assert told.instead == instead


@pytest.mark.parametrize("owner", ["web", "environments"])
def test_a_mapping_of_addons_without_the_test_environments_row_is_told(workspace: Path, owner: str) -> None:
    folder = workspace / "copilot" / owner / "addons"
    folder.mkdir()
    (folder / "a.yml").write_text(
        "Mappings:\n  Whole: {test: {A: 1}}\n  Sizes: {stage: {A: 1}}\n  Regions: {us-east-1: {A: 1}}\n"
        "Outputs:\n  One: {Value: !FindInMap [Sizes, !Ref Env, A]}\n"
        "  Two: {Value: !FindInMap [Whole, !Ref Env, A]}\n"
        "  Three: {Value: !FindInMap [Regions, !Ref 'AWS::Region', A]}\n"
    )
    project = with_manifest(workspace, WEB)
    (told,) = keys.rows(project)
    assert (told.path, told.line, told.rule) == (f"copilot/{owner}/addons/a.yml", 3, "row")
    assert told.instead == "write a row `test` below it, like one of stage"


def test_a_section_of_addons_that_copilot_leaves_out_is_told(workspace: Path) -> None:
    folder = workspace / "copilot/web/addons"
    folder.mkdir()
    (folder / "a.yml").write_text("Resources: {}\nOutput:\n  A: {Value: !Ref B}\n")
    (folder / "addons.parameters.yml").write_text("Parameters: {A: b}\n")
    (told,) = keys.sections(with_manifest(workspace, WEB))
    assert (told.path, told.line, told.instead) == ("copilot/web/addons/a.yml", 2, "write `Outputs`")
