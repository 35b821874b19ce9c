"""Manifests for hypothesis: every section that Copilot documents for services that run as ECS services.

A section is right in itself; together with others it may still be refused, for example where a container is
named that is not there. `SLIPS` are sections that are nearly right. Which of all these manifests can be
deployed is for Copilot to say.
Source: https://aws.github.io/copilot-cli/docs/manifest/overview/
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Strategy = st.SearchStrategy[Any]
DOMAIN = "example.com"
TOPIC = {"name": "api", "publish": {"topics": [{"name": "orders"}]}}  # of another service
ENV_FILE = "service.env"
KINDS = ("Load Balanced Web Service", "Backend Service", "Worker Service")

PATHS = st.sampled_from(["/", "/healthz", "/a/b", "admin"])
SIDECARS = ("nginx", "redis", "startup")
PORTS = st.sampled_from([80, 8000, 8080, 6379])
WAITING = st.sampled_from(["start", "healthy", "complete", "success", "START"])
SHORT = st.sampled_from(["5s", "10s", "1m"])


def some(**keys: Strategy) -> Strategy:
    """A mapping with any of these keys."""
    return st.fixed_dictionaries({}, optional=keys)


def of(*values: Any) -> Strategy:
    return st.sampled_from(values)


VARIABLES = st.dictionaries(
    of("LOG_LEVEL", "REDIS_HOST", "EMPTY", "A"),
    of("info", "a b", "1", "${COPILOT_ENVIRONMENT_NAME}", {"from_cfn": "Table"}),
    max_size=3,
)
SECRETS = st.dictionaries(
    of("SECRET_KEY", "DATABASE_URL"),
    of("/copilot/demo/test/secrets/KEY", {"secretsmanager": "demo/test/key"}, {"from_cfn": "KeyArn"}),
    max_size=2,
)
DEPENDS_ON = st.dictionaries(of(*SIDECARS), WAITING, min_size=1, max_size=2)
HEALTHCHECK = st.fixed_dictionaries(
    {"command": of(["CMD", "true"], ["CMD-SHELL", "exit 0"])},
    optional={
        "interval": SHORT,
        "retries": st.integers(1, 10),
        "timeout": of("3s", "1m"),
        "start_period": of("0s", "5m"),
    },
)
BUILD = of("Dockerfile", {"dockerfile": "Dockerfile", "args": {"A": "b"}}, {"context": ".", "target": "last"})
HTTP_HEALTHCHECK = of("/healthz") | st.fixed_dictionaries(
    {"path": of("/", "/healthz")},
    optional={
        "success_codes": of("200", "200,301", "200-399"),
        "healthy_threshold": st.integers(2, 10),
        "unhealthy_threshold": st.integers(2, 10),
        "interval": SHORT,
        "timeout": of("2s", "5s"),
        "grace_period": of("30s", "3600s"),
        "port": PORTS,
    },
)
RULE: dict[str, Strategy] = {
    "healthcheck": HTTP_HEALTHCHECK,
    "stickiness": st.booleans(),
    "deregistration_delay": SHORT,
    "target_container": of("web", "nginx"),
    "target_port": PORTS,
    "allowed_source_ips": of(["10.24.34.0/23"], ["192.0.2.1/32", "10.0.0.0/8"]),
    "version": of("http1", "http2", "grpc"),
}
HTTP = st.fixed_dictionaries(
    {"path": PATHS},
    optional={
        **RULE,
        "alias": of(f"web.{DOMAIN}", [f"a.{DOMAIN}", f"b.{DOMAIN}"], [{"name": f"c.{DOMAIN}"}]),
        "redirect_to_https": st.booleans(),
        "additional_rules": st.lists(
            st.fixed_dictionaries({"path": of("/x", "/y")}, optional=RULE), min_size=1, max_size=2
        ),
    },
)
LISTENER: dict[str, Strategy] = {
    "healthcheck": some(
        port=PORTS, healthy_threshold=st.integers(2, 10), interval=of("10s"), grace_period=SHORT
    ),
    "target_port": PORTS,
    "target_container": of("web", "nginx"),
    "stickiness": st.booleans(),
    "deregistration_delay": SHORT,
}
NLB = st.fixed_dictionaries(
    {"port": of(443, "443/tcp", "8443/udp", "443/tls")},
    optional={
        **LISTENER,
        "alias": of(f"nlb.{DOMAIN}"),
        "additional_listeners": st.lists(
            st.fixed_dictionaries({"port": of("8081/tcp", 8082)}, optional=LISTENER), min_size=1, max_size=2
        ),
    },
)
SCALE = st.integers(1, 100) | st.fixed_dictionaries(
    {"value": st.integers(1, 100)}, optional={"cooldown": some(**{"in": SHORT, "out": SHORT})}
)
RANGE = of("1-10", {"min": 1, "max": 10}, {"min": 1, "max": 4, "spot_from": 2})


def count(kind: str) -> Strategy:
    queue = {"acceptable_latency": "10m", "msg_processing_time": "250ms"}
    own = (
        {"queue_delay": of(queue)}
        if kind == "Worker Service"
        else {"requests": of(100), "response_time": of("2s", {"value": "1s"})}
    )
    scaled = st.fixed_dictionaries(
        {"range": RANGE, "cpu_percentage": SCALE},
        optional={"memory_percentage": SCALE, "cooldown": some(**{"in": SHORT}), **own},
    )
    return st.integers(0, 4) | of({"spot": 1}) | scaled


SIDECAR = st.fixed_dictionaries(
    {
        "image": of(
            "public.ecr.aws/docker/library/redis:7.4.1", {"build": "Dockerfile"}, {"location": "nginx:1"}
        )
    },
    optional={
        "port": of(80, "8080", "6379/tcp", "53/udp"),
        "essential": st.booleans(),
        "variables": VARIABLES,
        "secrets": SECRETS,
        "env_file": of(ENV_FILE),
        "command": of("serve", ["sh", "-c", "true"]),
        "entrypoint": of(["sh"]),
        "labels": of({"com.example": "x"}),
        "healthcheck": HEALTHCHECK,
        "depends_on": of({"startup": "success"}, {"web": "start"}, {"redis": "start"}),
        "mount_points": of([{"source_volume": "own", "path": "/own", "read_only": False}]),
        "credentialsParameter": of("arn:aws:secretsmanager:us-west-2:123456789012:secret:registry"),
    },
)
EFS = st.booleans() | of(
    {"uid": 1000, "gid": 1000},
    {"id": "fs-12345678", "root_dir": "/data"},
    {"id": {"from_cfn": "Files"}, "auth": {"iam": True}},
)
VOLUME = st.fixed_dictionaries(
    {"path": of("/own", "/data")}, optional={"read_only": st.booleans(), "efs": EFS}
)
ALARMS = of({"cpu_utilization": 70}, {"cpu_utilization": 70, "memory_utilization": 50}, ["an-alarm"])
QUEUE = some(
    retention=of("96h"),
    delay=of("30s"),
    timeout=of("30s"),
    dead_letter=of({"tries": 10}),
    fifo=st.booleans() | of({"high_throughput": True}),
)
SUBSCRIBED = st.fixed_dictionaries(
    {"name": of("orders"), "service": of("api")},
    optional={"filter_policy": of({"store": ["a"]}), "queue": st.booleans() | QUEUE},
)


def sections(kind: str) -> dict[str, Strategy]:
    """Each section that a type of service documents; none needs to be there."""
    worker = kind == "Worker Service"
    port = {} if worker else {"port": PORTS}
    found: dict[str, Strategy] = {
        "image": st.fixed_dictionaries(
            {},
            optional={
                **port,
                "depends_on": DEPENDS_ON,
                "healthcheck": HEALTHCHECK,
                "labels": of({"a": "b"}),
                "credentials": of("arn:aws:secretsmanager:us-west-2:123456789012:secret:registry"),
            },
        ),
        "entrypoint": of("serve --all", ["sh", "-c"]),
        "command": of("python manage.py serve", ["true"]),
        "cpu": of(256, 512),
        "memory": of(512, 1024),
        "platform": of("linux/amd64", "linux/arm64", {"osfamily": "linux", "architecture": "x86_64"}),
        "count": count(kind),
        "exec": st.booleans() | of({"enable": True}),
        "variables": VARIABLES,
        "env_file": of(ENV_FILE),
        "secrets": SECRETS,
        "storage": some(
            ephemeral=st.integers(20, 200),
            readonly_fs=st.booleans(),
            volumes=st.dictionaries(of("own", "data"), VOLUME, max_size=2),
        ),
        "logging": some(
            retention=of(1, 30),
            image=of("public.ecr.aws/aws-observability/aws-for-fluent-bit:2.32.0"),
            destination=of({"Name": "cloudwatch", "region": "us-west-2"}),
            enableMetadata=st.booleans(),
            secretOptions=of({"apikey": "/datadog"}),
            configFilePath=of("/extra.conf"),
            variables=VARIABLES,
            secrets=SECRETS,
            env_file=of(ENV_FILE),
        ),
        "sidecars": st.dictionaries(of(*SIDECARS), SIDECAR, min_size=1, max_size=2),
        "network": some(
            vpc=some(
                placement=of("public", "private", {"subnets": ["subnet-1"]}),
                security_groups=of(
                    ["sg-1"], [{"from_cfn": "Group"}], {"groups": ["sg-1"], "deny_default": True}
                ),
            ),
            connect=st.booleans() if worker else st.booleans() | of({"alias": "shop"}),
        ),
        "publish": st.fixed_dictionaries(
            {"topics": of([{"name": "paid"}], [{"name": "sent", "fifo": True}])}
        ),
        "taskdef_overrides": of(
            [{"path": "ContainerDefinitions[0].Ulimits[-].Name", "value": "nofile"}],
            [{"path": "ContainerDefinitions[0].ReadonlyRootFilesystem", "value": True}],
            [{"path": "Cpu", "value": 512}, {"path": "ContainerDefinitions[0].Essential", "value": True}],
        ),
        "deployment": some(rolling=of("default", "recreate"), rollback_alarms=ALARMS),
        "observability": of({"tracing": "awsxray"}),
    }
    if worker:
        found["subscribe"] = some(topics=st.lists(SUBSCRIBED, max_size=2, unique_by=str), queue=QUEUE)
    else:
        found["http"] = HTTP
    if kind == "Load Balanced Web Service":
        found["nlb"] = NLB
    return found


# Nearly right, whatever the type: a value of another type, out of bounds, half of a pair, an unknown word.
SLIPS: Strategy = of(
    {"image": {"depends_on": {"rediss": "start"}}},
    {"image": {"depends_on": {"nginx": "started"}}},
    {"image": {"healthcheck": {"interval": 10}}},
    {"image": {"build": "Dockerfile", "location": "nginx:1"}},
    {"cpu": "half"},
    {"memory": [512]},
    {"count": "two"},
    {"count": {"range": "1-10", "spot": 2}},
    {"count": {"range": "10-1", "cpu_percentage": 70}},
    {"count": {"range": "1-10"}},
    {"count": {"cpu_percentage": 70}},
    {"count": {"range": "1-10", "cpu_percentage": 170}},
    {"exec": "maybe"},
    {"platform": "linux/sparc"},
    {"variables": ["A=b"]},
    {"variables": {"A": "${NOT_DEFINED_ANYWHERE}"}},
    {"secrets": {"KEY": {"secretsmanager": "a", "from_cfn": ["b"]}}},
    {"env_file": "settings.txt"},
    {"storage": {"ephemeral": 10}},
    {"storage": {"volumes": {"own": {"read_only": True}}}},
    {"storage": {"volumes": {"own": {"path": "/a b"}}}},
    {"storage": {"volumes": {"own": {"path": "/own", "efs": {"uid": 0, "gid": 1}}}}},
    {"storage": {"volumes": {"own": {"path": "/own", "efs": {"uid": 1000}}}}},
    {"storage": {"volumes": {"own": {"path": "/own", "efs": {"id": "fs-1", "uid": 1, "gid": 1}}}}},
    {"sidecars": {"redis": {"port": 6379}}},
    {"sidecars": {"redis": {"image": "redis:7", "port": "6379/icmp"}}},
    {"sidecars": {"redis": {"image": "redis:7", "depends_on": {"redis": "start"}}}},
    {"sidecars": {"redis": {"image": "redis:7", "essential": "no way"}}},
    {"sidecars": {"redis": {"image": "redis:7", "mount_points": [{"path": "/own"}]}}},
    {"sidecars": {"redis": {"image": "redis:7"}}, "image": {"depends_on": {"redis": "success"}}},
    {"sidecars": {"redis": {"image": "redis:7"}}, "image": {"depends_on": {"redis": "healthy"}}},
    {"sidecars": ["redis"]},
    {"network": {"vpc": {"placement": "hidden"}}},
    {"network": {"vpc": {"security_groups": "sg-1"}}},
    {"publish": {"topics": [{"name": "not a name"}]}},
    {"publish": {"topics": [{}]}},
    {"taskdef_overrides": [{"path": "Family", "value": "x"}]},
    {"taskdef_overrides": [{"path": "ContainerDefinitions[99].Image", "value": "x"}]},
    {"taskdef_overrides": [{"path": "", "value": "x"}]},
    {"deployment": {"rolling": "blue-green"}},
    {"deployment": {"rollback_alarms": {}}},
    {"observability": {"tracing": "jaeger"}},
    {"http": {"path": "/", "target_container": "gone"}},
    {"http": {"healthcheck": "/only"}},
    {"http": {"path": "/", "version": "http3"}},
    {"http": {"path": "/", "allowed_source_ips": ["everywhere"]}},
    {"http": {"path": "/", "alias": "shop.elsewhere.org"}},
    {"http": {"path": "/", "healthcheck": {"path": "/", "grace_period": 60}}},
    {"nlb": {"port": "443/http"}},
    {"nlb": {"port": "http"}},
    {"subscribe": {"topics": [{"name": "gone", "service": "api"}]}},
    {"subscribe": {"topics": [{"name": "orders"}]}},
    {"subscribe": {"queue": {"dead_letter": {"tries": -1}}}},
    {"subscribe": {"queue": {"delay": "1h"}}},
)  # fmt: skip


@st.composite
def manifests(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    """A manifest with a block for `test` and one for `production`; `stage` gets the base."""
    known = sections(kind)

    def drawn(least: int, most: int) -> dict[str, Any]:
        names = draw(st.lists(of(*known), min_size=least, max_size=most, unique=True))
        return {name: draw(known[name]) for name in names}

    base = {"name": "web", "type": kind, **drawn(2, 6)}
    blocks = {"test": drawn(1, 4), "production": drawn(1, 4), "stage": {}}
    if draw(st.integers(0, 2)) == 1:
        slip = draw(SLIPS)
        place = draw(of(blocks["test"], blocks["production"], base))
        for name in slip.keys() & known.keys():
            old, new = place.get(name), slip[name]
            place[name] = {**old, **new} if isinstance(old, dict) and isinstance(new, dict) else new
    base["image"] = image = {**base.get("image", {})}
    if not image.keys() & {"build", "location"}:
        image.update(draw(of({"location": "nginx:1"}) | BUILD.map(lambda build: {"build": build})))
    if kind == "Load Balanced Web Service":
        image.setdefault("port", 8000)
        base.setdefault("http", {"path": "/"})
    return {**base, "environments": blocks}
