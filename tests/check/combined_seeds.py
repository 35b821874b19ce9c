"""Further kinds of mistakes, in the form of seeds.py: keys that a block lacks, or that exclude each other."""

from __future__ import annotations

from tests.check.further_seeds import PATCH, SERVICE

_BALANCED = "copilot/(web|inner)/manifest"
_RUNNER, _SITE = "copilot/runner/", "copilot/site/"
_SIZE = "^cpu: 1024\nmemory"

COMBINED: tuple[tuple[str, str, str, str], ...] = (
    ("no image", r"^type: (.*)\n((.*\n)*?)image:.*\n( +.*\n)+", r"type:  \1\n\2", SERVICE),
    ("no load balancing of a web service", r"^type: (Load.*)\n\nhttp:\n( +.*\n)+", r"type:  \1\n", SERVICE),
    ("load balancing by true", r"^http:\n( +.*\n)+", "http: true\n", "copilot/(web|shop)/manifest"),
    (
        "load balancing without a port",
        r"^image:\n((  .*\n)*)  port: 8000\n",
        r"image: \n\1",
        "copilot/inner/",
    ),
    ("a secret of two stores", r"^(    secretsmanager: .*)$", r"\1\n    from_cfn: token", SERVICE),
    (
        "two volumes at a path",
        r"^    files:\n      path: /files\n",
        "    files:\n      path: /files\n    more:\n      path: /files\n",
        SERVICE,
    ),
    (
        "two mounts of a sidecar at a path",
        r"^      - source_volume: files\n        path: /files\n",
        2 * "      - source_volume: files\n        path: /files\n",
        SERVICE,
    ),
    ("a list of exports", r"^  (LOG_LEVEL|MODE|REPORT): .*", r"  \1: {from_cfn: [a]}", SERVICE),
    ("no files of a site", r"^files:\n(  .*\n)+", "files: []\n", SERVICE),
    ("a number of instances of App Runner", _SIZE, "count: 3\ncpu: 1024\nmemory", _RUNNER),
    ("a platform of App Runner", _SIZE, "platform: linux/amd64\ncpu: 1024\nmemory", _RUNNER),
    ("a variable that begins with a digit", r"^  (LOG_LEVEL|MODE|REPORT|DEBUG): .*", "  2FA: x", SERVICE),
    ("a number of tasks of a job", "^retries: 3", "count: 2\nretries: 3", "copilot/job/"),
    ("a sidecar without an image", r"^    image: nginx.*\n", "", SERVICE),
    (
        "a target that is not there",
        r"^(  path: (/|shop|inner))$",
        r"\1\n  target_container: ngnix",
        _BALANCED,
    ),
    ("a sidecar at the service's port", r"^    port: (80|8080)$", "    port: 8000", SERVICE),
    ("a range alone", r"^count:\n  range: (.*)\n(  .*\n)+", r"count:\n  range:  \1\n", SERVICE),
    ("a cooldown alone", r"^count: \d+$", "count:\n  cooldown: {in: 30s}", SERVICE),
    ("half of a queue's delay", r"^    msg_processing_time: .*\n", "", SERVICE),
    ("half of a platform", r"^platform: .*", "platform: {osfamily: linux}", SERVICE),
    ("a file system without an id", r"^        id: fs-.*", "        root_dir: /x", SERVICE),
    (
        "two users of a file system",
        r"^(        id: fs-.*)$",
        r"\1\n        uid: 1000\n        gid: 1000",
        SERVICE,
    ),
    ("a user without a group", r"^        id: fs-.*", "        uid: 1000", SERVICE),
    ("a volume without a path", r"^      path: /files\n", "", SERVICE),
    ("a topic without a name", r"^    - name: (orders|done)\n( +)fifo", r"    - fifo", SERVICE),
    ("a subscription without a service", r"^      service: web\n", "", SERVICE),
    (
        "two kinds of throughput",
        r"^      throughput_limit: .*",
        "      high_throughput: true\n      throughput_limit: perQueue",
        SERVICE,
    ),
    ("a job without a time", r"^on:\n  schedule: .*\n", "", SERVICE),
    (
        "an image of two origins in a sidecar",
        r"^    image: nginx.*",
        "    image: {build: Dockerfile, location: a}",
        SERVICE,
    ),
    (
        "a certificate of a site without an alias",
        r"^files:",
        "http:\n  certificate: arn:aws:acm:us-east-1:1:certificate/a\nfiles:",
        _SITE,
    ),
    ("a text for a number in a patch", r"^  value: 60", "  value: many", PATCH),
)
