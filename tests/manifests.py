"""Manifests in the many ways that people write them, for what must leave their bytes alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import yaml
from hypothesis import strategies as st

# Each has an environment `test`, to which every entry of the catalogue can be added.
SHAPES = {
    "plain": """\
name: web
type: Load Balanced Web Service
image:
  build: Dockerfile
  port: 8000
secrets:
  SECRET_KEY: /key
environments:
  test:
    cpu: 256
""",
    "commented": """\
# The service.
name: web            # its name
image:               # its image
  build: Dockerfile
  # Django listens here.
  port: 8000
environments:        # below: what differs
  # The throw-away one.
  test:              # test
    # Small.
    cpu: 256         # a quarter
    # variables:
    #   A: b
  # The end of test.

# The end.
""",
    "everything there": """\
name: web
image: {build: Dockerfile, port: 8000}
sidecars:
  startup:
    essential: false
    image: {build: Dockerfile}
environments:
  test:
    image:
      depends_on:
        startup: success     # migrate first
    variables:
      DEBUG: '1'             # only here

    secrets:
      TOKEN: /token
    sidecars:
      startup:
        variables:
          DEBUG: '1'
        depends_on:
          other: start
      other:
        image: example.org/other:1.0   # pinned
        port: 9999
  production:
    cpu: 1024
""",
    "flow": """\
name: web
image: {build: Dockerfile, port: 8000}
environments: {test: {cpu: 256, variables: {A: b}}, production: {cpu: 1024}}
""",
    "flow over lines": """\
name: web
image: { build: Dockerfile, port: 8000 }
environments: {
  test: {
    cpu: 256,
    image: { depends_on: { startup: success } },   # migrate first
    sidecars: { startup: { image: { build: Dockerfile }, essential: false } },
  },
  production: { cpu: 1024 }
}
""",
    "json": """\
{
  "name": "web",
  "image": {"build": {"dockerfile": "Dockerfile", "args": {"A": "b"}}, "port": 8000},
  "environments": {
    "test": {
      "cpu": 256,
      "variables": {"A": "b"}
    }
  }
}
""",
    "block in which flow stands": """\
name: web
image:
    build: {dockerfile: Dockerfile, context: .}
    port: 8000
environments:
    test:
        variables: {A: b, "C": 'd'}
        image: {depends_on: {}, labels: {a: b}}
        sidecars: {nginx: {image: 'nginx:1.27', port: 80}}
""".replace("depends_on: {}, ", ""),
    "odd indentation": """\
name: web
image:
         build: Dockerfile
         port: 8000
sidecars:
 startup:
     secrets:
        KEY: /key
environments:
   test:
          variables:
           A: b
          sidecars:
                startup:
                 variables:
                      A: b
""",
    "anchors elsewhere": """\
name: web
image: {build: Dockerfile, port: 8000}
x-limits: &limits
  cpu: 256
  memory: 512
variables: &base
  A: b
environments:
  stage: &stage
    secrets: {REDIS_HOST: /redis}
  production: *stage
  test:
    <<: *limits
    secrets: {TOKEN: /token}
""",
    "shared variables": """\
name: web
image: {build: Dockerfile, port: 8000}
environments:
  test:
    variables: &variables    # the project's, wherever it runs
      A: b
    sidecars:
      startup:
        image: {build: Dockerfile}
        variables: *variables
      beat:
        secrets: {TOKEN: /token}
        variables:
          <<: *variables
          B: c
""",
    "block scalars": """\
name: web
image: {build: Dockerfile, port: 8000}
environments:
  test:
    variables:
      TEXT: |
        one
        two
      FOLDED: >-
        three
        four


    command: |
      gunicorn
        --bind :8000

  # behind the command
""",
    "kept lines at the end": """\
name: web
image: {build: Dockerfile, port: 8000}
environments:
  test:
    variables:
      TEXT: |+
        one

    cpu: 256
""",
    "long scalars": """\
name: web
image: {build: Dockerfile, port: 8000}
environments:
  test:
    command: "gunicorn
      --bind :8000"
    variables:
      PLAIN: one
        two three
      QUOTED: 'it''s #1: "{}"'
""",
    "a document with its signs": """\
%YAML 1.1
---
name: web
image: {build: Dockerfile, port: 8000}
environments:
  test:
    cpu: 256
...
# behind the end
""",
    "quoted keys": """\
'name': web
"image": {build: Dockerfile, port: 8000}
'environments':
  "test":
    'variables':
      "A": b
    'image': {'depends_on': {startup: success}}
""",
    "test in the middle": """\
name: web
environments:
  stage:
    cpu: 256
  test:

    variables:

      A: b


  production:
    cpu: 1024
image:
  build: Dockerfile
  port: 8000
""",
    "words of other alphabets": """\
name: web   # größer als „test“ 🎉
image: {build: Dockerfile, port: 8000}
environments:
  test:
    variables: {GREETING: 'Привет 🎉', EMPTY: , NULL: ~}   # 你好
""",
}


def crlf(text: str) -> str:
    return text.replace("\n", "\r\n")


def tabs_before_comments(text: str) -> str:
    return re.sub(r"(?<=\S) +#", " \t#", text)


DRESSES: dict[str, Callable[[str], str]] = {
    "as it is": lambda text: text,
    "CRLF": crlf,
    "no final line break": lambda text: text.rstrip("\n"),
    "CRLF and no final line break": lambda text: crlf(text.rstrip("\n")),
    "a byte order mark": lambda text: f"\ufeff{text}",
    "tabs before comments": tabs_before_comments,
    "blank lines and blanks at the end": lambda text: f"{text}\n  \n\n",
}

_KEYS = st.sampled_from(["A", "B_C", "LOG_LEVEL", "x", "a-b", "on", "1"])
_WORDS = st.sampled_from(
    ["b", "", "1", "true", "a: b", "it's", '"', "# no comment", "größe", "🎉", " x ", "null"]
)
_TEXTS = st.dictionaries(_KEYS, _WORDS, min_size=1, max_size=3)
_SIDECAR = st.fixed_dictionaries(
    {"image": st.sampled_from(["example.org/x:1", {"build": "Dockerfile"}])},
    optional={
        "variables": _TEXTS,
        "secrets": _TEXTS,
        "depends_on": st.just({"other": "start"}),
        "command": st.just(["sh", "-c", "a && b"]),
        "essential": st.booleans(),
    },
)
_BLOCK = st.fixed_dictionaries(
    {"cpu": st.just(256)},
    optional={
        "variables": _TEXTS,
        "secrets": _TEXTS,
        "image": st.just({"depends_on": {"startup": "success"}}),
        "sidecars": st.dictionaries(st.sampled_from(["startup", "nginx"]), _SIDECAR, min_size=1, max_size=2),
    },
)
_MANIFEST = st.fixed_dictionaries(
    {
        "name": st.just("web"),
        "image": st.just({"build": "Dockerfile", "port": 8000}),
        "environments": st.fixed_dictionaries({}, optional={"stage": _BLOCK, "production": _BLOCK}).flatmap(
            lambda others: _BLOCK.map(lambda test: {**others, "test": test})
        ),
    },
    optional={
        "variables": _TEXTS,
        "sidecars": st.dictionaries(st.just("startup"), _SIDECAR, min_size=1, max_size=1),
    },
)


@st.composite
def written(draw: st.DrawFn) -> str:
    """A manifest as somebody might write it, at random."""
    found = draw(_MANIFEST)
    names = draw(st.permutations(list(found)))
    lines: list[str] = []
    _write(draw, {name: found[name] for name in names}, 0, lines)
    text = "\n".join(lines)
    ending = draw(st.sampled_from(["\n", "\r\n"]))
    return text.replace("\n", ending) + draw(st.sampled_from(["", ending, ending * 2, f"{ending}  {ending}"]))


def _write(draw: st.DrawFn, found: dict[str, Any], column: int, lines: list[str]) -> None:
    step = draw(st.integers(1, 5))
    for key, value in found.items():
        lines += draw(st.lists(st.sampled_from(["", "# a comment", "  # another", "# a\ttab"]), max_size=1))
        name = draw(st.sampled_from([_flow(key), f"'{key}'"]))
        comment = draw(st.sampled_from(["", "", "  # why", "\t# tab"]))
        if isinstance(value, dict) and draw(st.booleans()):
            lines.append(f"{' ' * column}{name}:{comment}")
            _write(draw, value, column + step, lines)
        else:
            lines.append(f"{' ' * column}{name}: {_flow(value)}{comment}")


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML asks of each value
        return True


def _flow(value: Any) -> str:
    text = yaml.dump(
        value, Dumper=_Plain, default_flow_style=True, width=10_000, allow_unicode=True, sort_keys=False
    )
    return text.strip().removesuffix("...").strip()
