"""The lines of Copilot's own verdicts, as Copilot 1.34.1 words them."""

from __future__ import annotations

import pytest

from copilot_testenv.check import location
from copilot_testenv.check.document import Document
from copilot_testenv.copilot import manifest

TEXT = """\
name: web
type: Load Balanced Web Servic
http:
  path: /
  alias: web.example.com
  additional_rules:
    - path: /a
    - path: /b
      version: http3
image:
  port: 80
subscribe:
  topics:
    - name: orders
sidecars:
  nginx:
    image: nginx
    port: 80
count:
  range: 9-1
environments:
  prod:
    http:
      version: http4
    deployment:
      rolling: recreat
"""


@pytest.mark.parametrize(
    ("why", "line"),
    [
        (
            'validate "http": validate "additional_rules[1]": "version" field value "http3"',
            9,
        ),
        ('validate against environment "prod": validate "http": "version" field value "http4"', 24),
        ('validate "deployment": validate "rolling": invalid value', 26),
        ('validate "count": validate "range": range value 9-1 cannot be used', 20),
        ('validate "image": must specify one of "build" and "location"', 10),
        ('validate "subscribe": "path" must be specified', 12),
        ('validate load balancer target for "http": "/b" is no container', 8),
        ('validate "sidecars": "port" is no number', 18),
        ("unmarshal: invalid manifest type: Load Balanced Web Servic", 2),
        ("web.example.com is not a valid domain against arn:aws:acm", 5),
        ("containers `nginx` and `web` are exposing the same port", 16),
        ("something else", 22),
        ('validate "http": "hosted_zone" must be specified if "alias" is specified', 5),
        ('validate "grace_period": "version" specified for "http.additional_rules[1]"', 9),
        ('validate "http": listener rule has more than five conditions a, b, c, d, e, f', 5),
        ('containers "web" and "nginx" are exposing the same port 80', 18),
        ('validate "subscribe": validate topics[0]: "service" must be specified', 14),
        ("App Runner services can only build on amd64 and x86_64 architectures", 22),
    ],
)
def test_the_line_is_that_of_the_key_or_value_which_copilot_names(why: str, line: int) -> None:
    document = Document("m.yml", TEXT, manifest.parse(TEXT, "m.yml"))
    assert location.of_verdict(document, ["prod"], why) == line


ENVIRONMENT = """\
name: test
network:
  vpc:
    subnets:
      public:
        - az: us-east-1a
        - az: us-east-1b
      private:
        - az: us-east-1a
        - %s
    security_group:
      ingress:
        - ports: 80
        - ports: 81
http:
  public:
    ingress:
      cdn: true
"""


@pytest.mark.parametrize(
    ("subnet", "why", "line"),
    [
        ("az: us-east-1c", "public subnets and private subnets do not span the same availability zones", 10),
        ("cidr: 10.0.0.0/24", "public and private subnets do not span the same availability zones", 10),
        ("az: us-east-1b", "CDN must be enabled to limit security group ingress to CloudFront", 18),
        ("az: us-east-1b", 'validate "security_group": validate ingress[1]: "cidr" must be specified', 14),
    ],
)
def test_the_line_of_an_environments_key_is_found_where_copilot_names_a_part_of_its_path(
    subnet: str, why: str, line: int
) -> None:
    text = ENVIRONMENT % subnet
    document = Document("m.yml", text, manifest.parse(text, "m.yml"))
    assert location.of_verdict(document, ["test"], why) == line


def test_the_second_managed_volume_is_the_one_too_many() -> None:
    text = "storage:\n  volumes:\n    a:\n      efs: true\n    b:\n      efs: {uid: 1, gid: 1}\n    c: {}\n"
    document = Document("m.yml", text, manifest.parse(text, "m.yml"))
    why = 'validate "storage": cannot specify more than one managed volume per service'
    assert location.of_verdict(document, ["test"], why) == 6
