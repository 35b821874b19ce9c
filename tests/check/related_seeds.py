"""Further kinds of mistakes, in the form of seeds.py: keys and files that do not fit each other.

Most are refused by internal/pkg/manifest/validate.go and validate_env.go of aws/copilot-cli 1.34.
"""

from __future__ import annotations

from tests.check.further_seeds import ADDON, ENVIRONMENT, PATCH, PIPELINE, SERVICE

DOCKERFILE = r"^Dockerfile$"

RELATED: tuple[tuple[str, str, str, str], ...] = (
    # Load balancers
    (
        "a grace period of an additional rule",
        "^      healthcheck: /old",
        "      healthcheck:\n        path: /old\n        grace_period: 60s",
        SERVICE,
    ),
    (
        "two grace periods",
        "^  healthcheck: /status\n((.*\n)+?)    port: 8000\n",
        (
            "  healthcheck:\n    path: /status\n    grace_period: 60s\n\\1"
            "    port: 8000\n    grace_period: 30s\n"
        ),
        SERVICE,
    ),
    ("a zone without an alias", "^(  path: (/|inner))$", r"\1\n  hosted_zone: Z0123456789ABCDEF", SERVICE),
    (
        "a zone of the network balancer",
        "^  port: 8443/tcp",
        "  port: 8443/tcp\n  alias:\n    - name: nlb.example.com\n      hosted_zone: Z0123456789ABCDEF",
        SERVICE,
    ),
    ("a rule without its path", "^    - path: old-shop\n      healthcheck", "    - healthcheck", SERVICE),
    ("a target without a port", "target_container: nginx", "target_container: startup", SERVICE),
    (
        "a listener without its port",
        "^  target_port: 8000",
        "  additional_listeners:\n    - target_port: 8000",
        SERVICE,
    ),
    (
        "too many conditions of a rule",
        "^(  path: (/|inner))$",
        r"\1\n  alias: ['a.${COPILOT_ENVIRONMENT_NAME}.io', b.io, c.io, d.io, e.io]",
        SERVICE,
    ),
    ("no path beside an alias", "^  path: shop\n", "", SERVICE),
    (
        "requests without a load balancer",
        "^count: 2$",
        "count:\n  range: 1-3\n  requests: 100",
        "copilot/api/",
    ),
    (
        "a port of two listeners",
        "^  target_port: 8000\n",
        "  target_port: 8000\n  additional_listeners:\n    - port: 8443/tcp\n",
        "copilot/shop/",
    ),
    # Containers
    ("a port of two containers", r"^(    port: )(80|8080)$", r"\g<1>8000", SERVICE),
    ("a container that waits for itself", "^      web: start", "      nginx: start", SERVICE),
    ("an image that waits for itself", "^    startup: success", "    shop: success", SERVICE),
    (
        "containers that wait for each other",
        "^image:\n  build:\n    dockerfile: Dockerfile\n    target",
        "image:\n  depends_on:\n    nginx: start\n  build:\n    dockerfile: Dockerfile\n    target",
        SERVICE,
    ),
    ("an essential container that is to end", "^      web: start", "      web: success", SERVICE),
    ("health of a container without a check", "^    startup: success", "    startup: healthy", SERVICE),
    ("a sidecar without an image", r"^    image: nginx:1.29.1\n", "", SERVICE),
    (
        "an override without its value",
        r"Ulimits\[0\]\.SoftLimit\n    value: 1024",
        "Ulimits[0].SoftLimit",
        SERVICE,
    ),
    (
        "a system without its processor",
        "^platform: linux/(x86_64|amd64)",
        "platform:\n  osfamily: linux",
        SERVICE,
    ),
    (
        "a processor without its system",
        "^platform: linux/(x86_64|amd64)",
        "platform:\n  architecture: x86_64",
        SERVICE,
    ),
    (
        "Windows with Service Connect",
        "^platform: linux/(x86_64|amd64)",
        "platform: windows/amd64",
        "copilot/(web|api)/",
    ),
    (
        "Windows on a small task",
        "^cpu: 256\nmemory: 512",
        "platform: windows/amd64\ncpu: 512\nmemory: 1024",
        "copilot/(inner|worker)/",
    ),
    # Volumes
    ("a user without a group", "^        id: fs-12345678", "        uid: 1000", SERVICE),
    ("a group without a user", "^        id: fs-12345678", "        gid: 1000", SERVICE),
    ("root for a managed volume", "^        id: fs-12345678", "        uid: 0\n        gid: 1000", SERVICE),
    (
        "a file system and a user",
        "^        id: fs-12345678",
        "        id: fs-12345678\n        uid: 1000\n        gid: 1000",
        SERVICE,
    ),
    (
        "an access point and a folder",
        "^        id: fs-12345678",
        (
            "        id: fs-12345678\n        root_dir: /a\n"
            "        auth:\n          access_point_id: fsap-0123456789abcdef0"
        ),
        SERVICE,
    ),
    (
        "two managed volumes",
        "^      efs:\n        id: fs-12345678",
        "      efs: true\n    more:\n      path: /more\n      efs: true",
        SERVICE,
    ),
    # Scaling, queues and jobs
    (
        "a processing that lasts longer than allowed",
        "msg_processing_time: 250ms",
        "msg_processing_time: 20m",
        SERVICE,
    ),
    ("no processing time", "^    msg_processing_time: .*\n", "", SERVICE),
    ("no acceptable latency", "^    acceptable_latency: .*\n", "", SERVICE),
    ("a latency of zero", "acceptable_latency: 10m", "acceptable_latency: 0s", SERVICE),
    (
        "a high throughput in two ways",
        "^      throughput_limit: perM",
        "      high_throughput: true\n      throughput_limit: perM",
        SERVICE,
    ),
    (
        "a standard topic for a FIFO queue",
        "^subscribe:\n  queue:\n    timeout: 60s",
        "subscribe:\n  topics:\n    - name: orders\n      service: web\n  queue:\n    timeout: 60s",
        "copilot/fifo/",
    ),
    (
        "a name for a service without a port",
        "^exec: true",
        "network:\n  connect:\n    alias: jobs\nexec: true",
        "copilot/worker/",
    ),
    ("a publisher's name in capitals", "service: web", "service: Web", SERVICE),
    (
        "a cron with two days",
        'schedule: "(@daily|0 6 \\* \\* \\*)"',
        'schedule: "cron(0 6 * * * *)"',
        SERVICE,
    ),
    ("every part of a minute", 'schedule: "(@daily|0 6 \\* \\* \\*)"', 'schedule: "@every 90s"', SERVICE),
    ("a timeout of a part of a second", "^timeout: 1h30m", "timeout: 1500ms", SERVICE),
    # App Runner and static sites
    ("a public placement on App Runner", "placement: private", "placement: public", "copilot/runner/"),
    (
        "two aliases on App Runner",
        "^http:\n",
        "http:\n  alias: ['a.${COPILOT_ENVIRONMENT_NAME}.io', b.io]\n",
        "copilot/runner/",
    ),
    ("a volume on App Runner", "^tags:\n", "storage:\n  ephemeral: 30\ntags:\n", "copilot/runner/"),
    ("a file without its source", "^  - source: site\n    recursive", "  - recursive", SERVICE),
    (
        "a certificate of a site without an alias",
        "^files:",
        "http:\n  certificate: arn:aws:acm:us-east-1:123456789012:certificate/x\nfiles:",
        "copilot/site/",
    ),
    (
        "a certificate of a site in another region",
        "^files:",
        (
            "http:\n  alias: www.${COPILOT_ENVIRONMENT_NAME}.io\n"
            "  certificate: arn:aws:acm:eu-west-1:123456789012:certificate/x\nfiles:"
        ),
        "copilot/site/",
    ),
    # Environments
    ("a CDN that is not there", r"^      source_ips: \[192.*", "      cdn: true", ENVIRONMENT),
    (
        "a CDN without a certificate",
        "^http:\n  public:\n",
        "cdn: true\nhttp:\n  public:\n    certificates: [arn:aws:acm:us-east-1:123456789012:certificate/x]\n",
        ENVIRONMENT,
    ),
    (
        "a certificate of the CDN in another region",
        "^observability:",
        "cdn:\n  certificate: arn:aws:acm:eu-west-1:123456789012:certificate/x\nobservability:",
        ENVIRONMENT,
    ),
    (
        "static assets without a path",
        "^observability:",
        (
            "cdn:\n  static_assets:\n    location: b.s3.us-east-1.amazonaws.com\n"
            "    alias: a.example.com\nobservability:"
        ),
        ENVIRONMENT,
    ),
    (
        "addresses for both balancers",
        "^http:\n",
        "http:\n  private:\n    ingress:\n      source_ips: [10.0.0.0/8]\n",
        ENVIRONMENT,
    ),
    ("a rule of the group without a port", "^          ports: 80-90\n", "", ENVIRONMENT),
    ("a rule of the group without a range", "^          cidr: 10.1.0.0/16\n", "", ENVIRONMENT),
    (
        "a rule of the group without a protocol",
        "^        - ip_protocol: tcp\n          ports",
        "        - ports",
        ENVIRONMENT,
    ),
    (
        "zones of the private subnets alone",
        r"^(        - cidr: 10.0.2.0/24\n)          az: us-east-1a",
        r"\1          az: us-east-1c",
        ENVIRONMENT,
    ),
    (
        "a subnet without its zone",
        r"^(        - cidr: 10.0.3.0/24\n)          az: us-east-1b\n",
        r"\1",
        ENVIRONMENT,
    ),
    ("one private subnet alone", "^        - id: subnet-0123456789abcdef3\n", "", ENVIRONMENT),
    (
        "subnets of a balancer that are not imported",
        "^http:\n",
        "http:\n  private:\n    subnets: [subnet-0aaaaaaaaaaaaaaaa, subnet-0bbbbbbbbbbbbbbbb]\n",
        ENVIRONMENT,
    ),
    # Pipelines, addons and patches
    (
        "a step without a buildspec",
        "^      migrate:\n        buildspec: buildspec.yml",
        "      migrate: {}",
        PIPELINE,
    ),
    ("a deployment that waits for itself", r"depends_on: \[api\]", "depends_on: [web]", PIPELINE),
    (
        "a dependency on no resource",
        "^    Type: AWS::IAM::ManagedPolicy",
        "    Type: AWS::IAM::ManagedPolicy\n    DependsOn: Buckets",
        ADDON,
    ),
    (
        "a condition that is not there",
        "^    Type: AWS::S3::Bucket",
        "    Type: AWS::S3::Bucket\n    Condition: IsProduction",
        ADDON,
    ),
    ("a resource of Terraform", "^  Bucket:", "  my_bucket:", ADDON),
    ("a resource that stands twice", "^  AccessPolicy:\n    Type", "  Bucket:\n    Type", ADDON),
    ("a patch without its value", r"^  value: 60\n", "", PATCH),
    (
        "an index that is not there",
        "^  path: /Resources/LogGroup/Properties/RetentionInDays",
        "  path: /Resources/TaskDefinition/Properties/ContainerDefinitions/9/Cpu",
        PATCH,
    ),
    # Dockerfiles
    ("a server for this machine alone", r"--bind 0\.0\.0\.0", "--bind 127.0.0.1", DOCKERFILE),
    ("a command in single quotes", "^CMD .*", "CMD ['gunicorn', 'app']", DOCKERFILE),
    ("a copy to nowhere", "^EXPOSE", "COPY app\nEXPOSE", DOCKERFILE),
    ("a misspelt instruction", "^EXPOSE", "EXPOES", DOCKERFILE),
    ("a file of a stage that is not there", "^EXPOSE", "COPY --from=biuld /a /a\nEXPOSE", DOCKERFILE),
)
