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
    ],
)
def test_the_line_is_that_of_the_key_or_value_which_copilot_names(why: str, line: int) -> None:
    document = Document("m.yml", TEXT, manifest.parse(TEXT, "m.yml"))
    assert location.of_verdict(document, ["prod"], why) == line
