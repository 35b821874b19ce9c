"""Branches that would read what is not theirs, or run code on the machine of whoever deploys them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

MANIFEST = """\
name: web
type: Load Balanced Web Service
image:
  build: Dockerfile
  port: 8000
http: {path: /}
environments:
  test:
    count: 1
"""
DATABASE = """\
Parameters:
  App: {Type: String}
  Env: {Type: String}
  Name: {Type: String}
Resources:
"""
BASE: Mapping[str, str] = {
    "copilot/.workspace": "application: demo\n",
    "copilot/web/manifest.yml": MANIFEST,
    "copilot/environments/test/manifest.yml": "name: test\ntype: Environment\n",
    "Dockerfile": "FROM python:3.12\nCOPY . /app\n",
    "app/main.py": "print()\n",
    ".gitignore": ".env\n",
}
FAR = "../../../../../../../../.."


@dataclass(frozen=True)
class Branch:
    """Files (a text), links (a target) and what else a commit differs in from the base."""

    name: str
    files: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    gone: tuple[str, ...] = ()
    says: str = ""  # a part of the refusal
    lifted_by: str = (
        ""  # the change of copilot_testenv.core.trust that allows it; nothing does where it is empty
    )
    after: Callable[[Path], None] | None = None  # done to the worktree: what Git itself cannot carry


def web(more: str = "", *, build: str = "Dockerfile", test: str = "") -> dict[str, str]:
    """The service's manifest with something added: to the base, to its build, to its block of `test`."""
    text = MANIFEST.replace("build: Dockerfile", f"build: {build}")
    return {"copilot/web/manifest.yml": text + test + more}


def addon(resource: str) -> dict[str, str]:
    return {"copilot/web/addons/more.yml": f"{DATABASE}  More:\n{resource}"}


def _fifo(at: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / at).unlink(missing_ok=True)
        (folder / at).parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(folder / at)

    return make


def _large(at: str, size: int) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / at).parent.mkdir(parents=True, exist_ok=True)
        with (folder / at).open("ab") as file:
            file.truncate(size)  # sparse: it takes no room

    return make


def _utf_16(at: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / at).parent.mkdir(parents=True, exist_ok=True)
        (folder / at).write_bytes("Resources: {}\n".encode("utf-16"))

    return make


OUT = "out of the repository"
CDK = {
    "copilot/web/overrides/cdk.json": '{"app": "node app.js"}',
    "copilot/web/overrides/package.json": '{"scripts": {"preinstall": "env > /tmp/seen"}}',
}

HOSTILE = (
    # Paths of the build.
    Branch("a context above the checkout", web(build="{context: ../../}"), says=OUT),
    Branch("a context far away", web(build=f"{{context: {FAR}/etc}}"), says=OUT),
    Branch("an absolute context", web(build="{context: /etc}"), says="absolute"),
    Branch("a context at home", web(build="{context: ~/.aws}"), says="home"),
    Branch("a context that only leaves in the end", web(build="{context: app/../../..}"), says=OUT),
    Branch("a context in Git's folder", web(build="{context: .git}"), says="Git's own folder"),
    Branch("a context in Git's folder, shouted", web(build="{context: ./.GIT/hooks}"), says="Git's own"),
    Branch("a Dockerfile elsewhere, as a text", web(build="../../Dockerfile"), says=OUT),
    Branch("a Dockerfile elsewhere, as a mapping", web(build="{dockerfile: ../../x, context: .}"), says=OUT),
    Branch("a Dockerfile whose folder is elsewhere", web(build="../Dockerfile"), says=OUT),
    Branch("an escaped context", web(build='{context: "\\x2e\\x2e/\\x2e\\x2e"}'), says=OUT),
    Branch("a context in base64", web(build="{context: !!binary Li4vLi4v}"), says="tag"),
    Branch("a context behind a tag of its own", web(build="{context: !away app}"), says="tag"),
    Branch("a context with a new line", web(build='{context: "app\\n/../.."}'), says="control"),
    Branch(
        "a context behind an anchor", {"copilot/web/manifest.yml": "x: &away {context: ../..}\n"
         + MANIFEST.replace("Dockerfile", "*away")},
        says=OUT,
    ),
    Branch(
        "a context that is merged in",
        {"copilot/web/manifest.yml": "x: &away {context: ../..}\n"
         + MANIFEST.replace("build: Dockerfile", "build: {<<: [*away]}")},
        says=OUT,
    ),
    Branch(
        "a key behind an anchor",
        {"copilot/web/manifest.yml": "x: &key env_file\n" + MANIFEST + "*key : ../../.env\n"},
        says=OUT,
    ),
    Branch("a context in another environment's block", web(
        test="  stage:\n    image: {build: {context: ../..}}\n"), says=OUT),
    Branch("a context by the environment's name", web(
        build='{context: "${COPILOT_ENVIRONMENT_NAME}/../../.."}'), says=OUT),
    Branch("a sidecar's context", web(
        "sidecars:\n  nginx:\n    image: {build: {context: ../..}}\n"), says=OUT),
    Branch("a sidecar's Dockerfile in the block of test", web(
        test="    sidecars:\n      nginx: {image: {build: ../../Dockerfile}}\n"), says=OUT),
    Branch("a sidecar that is called variables", web(
        "sidecars:\n  variables: {image: x, env_file: ../../.env}\n"), says=OUT),
    Branch("a cache that is a folder of the machine", web(
        build="{dockerfile: Dockerfile, cache_from: ['type=local,src=/root']}"), says="cache_from"),
    Branch("a cache as a list in a text", web(
        build="""{dockerfile: Dockerfile, cache_from: '["type=local,src=/root"]'}"""), says="cache_from"),
    # Files that are uploaded.
    Branch("an env_file above the checkout", web("env_file: ../../.env\n"), says=OUT),
    Branch("an env_file of the machine", web(f"env_file: {FAR}/etc/shadow\n"), says=OUT),
    Branch("an env_file in the block of test", web(test="    env_file: ../../.env\n"), says=OUT),
    Branch("a sidecar's env_file", web("sidecars:\n  x: {image: x, env_file: ../../.env}\n"), says=OUT),
    Branch("the log router's env_file", web("logging: {env_file: ../../.env}\n"), says=OUT),
    Branch("an env_file that is a link", web("env_file: config.env\n"),
           {"config.env": "/etc/passwd"}, says=OUT),
    Branch("an env_file behind a linked folder", web("env_file: conf/a.env\n"), {"conf": "/etc"}, says=OUT),
    Branch("an env_file that is Git's", web("env_file: .git\n"), says="Git's own folder"),
    Branch("a static site's source", {
        "copilot/site/manifest.yml": "name: site\ntype: Static Site\nfiles:\n  - source: ../../secrets\n"},
        says=OUT),
    Branch("a job's context", {
        "copilot/job/manifest.yml": "name: job\ntype: Scheduled Job\nimage: {build: {context: ../..}}\n"},
        says=OUT),
    Branch("a worker's env_file", {
        "copilot/work/manifest.yml": "name: work\ntype: Worker Service\nenv_file: ../../.env\n"}, says=OUT),
    # Links.
    Branch("a context that is a link", web(build="{context: evil}"), {"evil": "/root"}, says=OUT),
    Branch("a link below the context", {}, {"app/key": "/root/.ssh/id_rsa"}, says=OUT),
    Branch("a relative link below the context", {}, {"app/env": "../../../.env"}, says=OUT),
    Branch("a link to a link that leads out", {}, {"app/a": "b", "app/b": "../../.."}, says=OUT),
    Branch("a link like an interpreter to a secret", {"app/pyvenv.cfg": ""},
           {"app/bin/python": "/root/.ssh/id_rsa"}, says=OUT),
    Branch("a link like an interpreter outside of an environment", {}, {"app/bin/python": "/usr/bin/python3"},
           says=OUT),
    Branch("a link that a deploy would write through, in an environment", {"app/pyvenv.cfg": ""},
           {"app/bin/deployment.json": "/usr/bin/python3"}, says=OUT),
    Branch("a Dockerfile that is a link", {}, {"Dockerfile": "/etc/passwd"}, says=OUT),
    Branch("a .dockerignore that is a link", {}, {".dockerignore": "/etc/passwd"}, says=OUT),
    Branch("a manifest that is a link", {},
           {"copilot/web/manifest.yml": "../../../../copilot/web/manifest.yml"},
           says=OUT),
    Branch("a manifest that is an endless device", {}, {"copilot/other/manifest.yml": "/dev/zero"}, says=OUT),
    Branch("copilot/ that is a link into the checkout", {}, {"copilot": "../../copilot"},
           gone=("copilot",), says=OUT),
    Branch("a service's folder that is a link", {}, {"copilot/api": "/etc"}, says=OUT),
    Branch("the environments' folder that is a link", {},
           {"copilot/environments": "../../../copilot/environments"},
           gone=("copilot/environments",), says=OUT),
    Branch("the workspace's file that is a link", {}, {"copilot/.workspace": "/etc/hostname"}, says=OUT),
    Branch("a link in Git's folder", web("env_file: config\n"), {"config": ".git"}, says=OUT),
    Branch("a link to itself", web("env_file: loop\n"), {"loop": "loop"}, says="link"),
    Branch("an env_file that is a link in the repository", web("env_file: a.env\n") | {"b.env": "A=1\n"},
           {"a.env": "b.env"}, says="is a link", lifted_by="paths"),
    # Devices and sizes.
    Branch("a manifest that is a pipe", after=_fifo("copilot/job/manifest.yml"), says="regular file"),
    Branch("an env_file that is a pipe", web("env_file: p.env\n"), after=_fifo("p.env"), says="regular file"),
    Branch("a pipe in the context", after=_fifo("app/pipe"), says="regular file"),
    Branch("a manifest without an end", after=_large("copilot/job/manifest.yml", 2 << 20), says="bytes",
           lifted_by="paths"),
    Branch("an env_file without an end",
           web("env_file: l.env\n", build="{context: app, dockerfile: Dockerfile}"),
           after=_large("l.env", 1 << 40), says="bytes",
           lifted_by="paths"),
    Branch("a context without an end", after=_large("app/data", 1 << 40), says="GiB", lifted_by="paths"),
    Branch("aliases without an end", web(
        "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}]\n"
                  for a, b in zip("abcdefgh", "bcdefghi", strict=True))), says="aliases"),
    # Addons and what they upload.
    Branch("a function's code elsewhere", addon(
        "    Type: AWS::Lambda::Function\n    Properties: {Code: ../../../.aws}\n"), says=OUT),
    Branch("a function's code, absolute", addon(
        "    Type: AWS::Lambda::Function\n    Properties: {Code: /root/.aws}\n"), says=OUT),
    Branch("a serverless function's code", addon(
        "    Type: AWS::Serverless::Function\n    Properties: {CodeUri: ../..}\n"), says=OUT),
    Branch("a layer's content", addon(
        "    Type: AWS::Lambda::LayerVersion\n    Properties: {Content: ../..}\n"), says=OUT),
    Branch("a nested template", addon(
        "    Type: AWS::CloudFormation::Stack\n    Properties: {TemplateURL: /etc/passwd}\n"), says=OUT),
    Branch("an API's body", addon(
        "    Type: AWS::ApiGateway::RestApi\n    Properties: {BodyS3Location: !Sub ../../.env}\n"), says=OUT),
    Branch("a state machine's definition", addon(
        "    Type: AWS::StepFunctions::StateMachine\n    Properties: {DefinitionS3Location: ../../.env}\n"),
        says=OUT),
    Branch("a job's script", addon(
        "    Type: AWS::Glue::Job\n    Properties: {Command: {ScriptLocation: ../../.env}}\n"), says=OUT),
    Branch("an include", addon(
        "    Type: AWS::S3::Bucket\n    Properties:\n      Fn::Transform:\n        Name: AWS::Include\n"
        "        Parameters: {Location: ../../.env}\n"), says=OUT),
    Branch("a function whose folder holds a link", addon(
        "    Type: AWS::Lambda::Function\n    Properties: {Code: ./lambda}\n"), {"lambda/x": "/etc/shadow"},
        says=OUT),
    Branch("addons that are a link", {}, {"copilot/web/addons": "/etc"}, says=OUT),
    Branch("a template that is a link", {}, {"copilot/web/addons/x.yml": "/etc/passwd"}, says=OUT),
    Branch("a template in UTF-16", after=_utf_16("copilot/web/addons/x.yml"), says="cannot be read"),
    # Overrides.
    Branch("a CDK application", CDK, says="npm", lifted_by="cdk"),
    Branch("a CDK application beside patches", CDK | {"copilot/web/overrides/cfn.patches.yml": "[]\n"},
           says="npm", lifted_by="cdk"),
    Branch("only a package.json", {"copilot/web/overrides/package.json": "{}"}, says="npm", lifted_by="cdk"),
    Branch("patches under another name", {"copilot/web/overrides/cfn.patches.yaml": "[]\n"}, says="npm",
           lifted_by="cdk"),
    Branch("patches that are a link", {}, {"copilot/web/overrides/cfn.patches.yml": "/etc/passwd"}, says=OUT),
    Branch("overrides that are a link", {}, {"copilot/web/overrides": "/opt"}, says=OUT),
    # Variables of whoever deploys.
    Branch("AWS's key", web("variables: {A: '${AWS_SECRET_ACCESS_KEY}'}\n"), says="AWS_SECRET_ACCESS_KEY"),
    Branch("the home folder", web("variables: {A: '${HOME}'}\n"), says="HOME"),
    Branch("a token in a label", web(test="    labels: {A: 'x${GITHUB_TOKEN}y'}\n"), says="GITHUB_TOKEN"),
    Branch("a variable escaped as YAML", web('variables: {A: "\\x24{HOME}"}\n'), says="HOME"),
    Branch("a variable that is escaped only once", web("variables: {A: '\\${HOME} ${HOME}'}\n"), says="HOME"),
    Branch("a variable inside a variable", web("variables: {A: '${COPILOT_${HOME}}'}\n"), says="HOME"),
    Branch("a variable in a block literal", web("variables:\n  A: |\n    ${HOME}\n"), says="HOME"),
    Branch("a variable behind an anchor", web("x: &v '${HOME}'\nvariables: {A: *v}\n"), says="HOME"),
    Branch("a variable in a list", web("command: ['echo', '${HOME}']\n"), says="HOME"),
    Branch("a variable in a path", web("env_file: '${HOME}/.aws/credentials'\n"), says="HOME"),
)  # fmt: skip

# What ordinary branches do.
ORDINARY = (
    Branch("the base"),
    Branch("a context of dots", web(build="{context: ./app/.., dockerfile: ./Dockerfile}")),
    Branch("a Dockerfile in a folder", web(build="docker/Dockerfile") | {"docker/Dockerfile": "FROM x\n"}),
    Branch("an env_file of the repository", web("env_file: config/test.env\n")
           | {"config/test.env": "A=1\n"}),
    Branch("an env_file by the environment's name", web(
        "env_file: 'config/${COPILOT_ENVIRONMENT_NAME}.env'\n") | {"config/test.env": "A=1\n"}),
    Branch("an env_file that is not committed", web("env_file: .env.local\n")),
    Branch("links in the context that stay", {"docs/v2/a.md": "a"},
           {"docs/latest": "v2", "docs/b": "v2/a.md"}),
    Branch("a virtual environment", {"venv/pyvenv.cfg": "home = /usr/bin\n"},
           {"venv/bin/python3.9": "/usr/bin/python3.9", "venv/bin/python": "python3.9"}),
    Branch("a link that leads out where nothing is read", web(build="{context: app, dockerfile: Dockerfile}"),
           {"etc": "/etc"}),
    Branch("a link into nothing of the repository", {}, {"app/later": "made-by-the-build"}),
    Branch("variables of the container's shell", web("command: ['sh', '-c', 'echo \\${HOME} $HOME']\n")),
    Branch("Copilot's own variables", web(
        "secrets: {A: '/copilot/${COPILOT_APPLICATION_NAME}/${COPILOT_ENVIRONMENT_NAME}/secrets/A'}\n")),
    Branch("variables whose names are keys of Copilot's", web(
        "variables: {env_file: /app/.env, context: /etc, build: '2'}\n")),
    Branch("an image that is named", web("sidecars:\n  nginx: {image: 'nginx:1.27', port: 80}\n")),
    Branch("a cache by its name", web(build="{dockerfile: Dockerfile, cache_from: ['demo/web:latest']}")),
    Branch("patches with a README", {"copilot/web/overrides/cfn.patches.yml": "[]\n",
                                     "copilot/web/overrides/README.md": "what they do\n"}),
    Branch("overrides with a README only", {"copilot/web/overrides/README.md": "none yet\n"}),
    Branch("an addon with its code inside", addon(
        "    Type: AWS::Lambda::Function\n    Properties: {Code: {ZipFile: 'exports.handler = 1'}}\n")),
    Branch("an addon with a folder", addon(
        "    Type: AWS::Lambda::Function\n    Properties: {Code: ./lambda}\n") | {"lambda/index.js": "1"}),
    Branch("an addon with a template by URL", addon(
        "    Type: AWS::CloudFormation::Stack\n"
        "    Properties: {TemplateURL: !Sub 'https://x/${Env}.yml'}\n")),
    Branch("an addon that asks for SAM", {"copilot/web/addons/more.yml":
           f"Transform: AWS::Serverless-2016-10-31\n{DATABASE}  More: {{Type: 'AWS::S3::Bucket'}}\n"}),
    Branch("another service's variables", {"copilot/job/manifest.yml":
           "name: job\ntype: Scheduled Job\nimage: {location: '${TAG}'}\n"}),
    Branch("anchors and merges", {"copilot/web/manifest.yml":
           "x: &of {context: ., dockerfile: Dockerfile}\n"
           + MANIFEST.replace("build: Dockerfile", "build: {<<: *of}")}),
)  # fmt: skip
