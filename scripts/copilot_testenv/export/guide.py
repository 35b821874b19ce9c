"""The README beside the templates: it lists the stacks and the commands that deploy them."""

from __future__ import annotations

from collections.abc import Sequence

from copilot_testenv.copilot.commands import VERSION
from copilot_testenv.core import documents
from copilot_testenv.export.plain import BUCKET, DEPLOYMENT, KEY, Stack

_BY_FUNCTION = {BUCKET, KEY, DEPLOYMENT}

_TEXT = """\
# The environment `{environment}` of `{app}` as plain CloudFormation

These are the stacks that Copilot {version} would deploy, written by `invoke package --env {environment}`.
Nothing here needs Copilot: {leaving} says how to leave it. Stack names, logical ids and exports
are Copilot's, so that its stacks can be updated in place.

| Stack, and file | To give |
|---|---|
{table}

`<stack>.yml` is the template, `<stack>.parameters.json` has the values that hold in every account. If a
parameter is neither in that file nor given, it keeps its value in the stack: services themselves change
`ALBWorkloads` and similar parameters of their environment. `assets/` has the code of Copilot's custom
resources and the templates of addons, by their keys in the bucket.

## Commands

In this folder, in bash, with the AWS CLI 2 and `jq`, `AWS_REGION` set:

```bash
# The stack with the bucket: that of the application that Copilot made,
FROM=$(aws cloudformation list-stack-instances --stack-set-name {app}-infrastructure --output text \\
    --query "Summaries[?Region=='$AWS_REGION'].StackId | [0]")
# or, in an account without Copilot's application, a stack of its own:
# FROM={artifacts}
# aws cloudformation deploy --stack-name $FROM --template-file $FROM.yml --no-fail-on-empty-changeset \\
#     --parameter-overrides AppName={app} --tags copilot-application={app}

output() {{
    aws cloudformation describe-stacks --stack-name "$FROM" --output text \\
        --query "Stacks[0].Outputs[?OutputKey=='$1'].OutputValue"
}}
BUCKET=$(output PipelineBucket) KEY=$(output KMSKeyARN)
aws s3 sync assets "s3://$BUCKET"

# deploy STACK TAGS [PARAMETER=VALUE …]; MORE=--no-execute-changeset only shows the changes
deploy() {{
    local stack=$1 tags=$2
    shift 2
    set -- {bucket}="$BUCKET" {key}="$KEY" {deployment}="$(date +%s)" "$@"
    aws cloudformation deploy --stack-name "$stack" --template-file "$stack.yml" --tags $tags $MORE \\
        --capabilities CAPABILITY_IAM CAPABILITY_NAMED_IAM CAPABILITY_AUTO_EXPAND \\
        --no-fail-on-empty-changeset --parameter-overrides "$(
            jq -c 'map("\\(.ParameterKey)=\\(.ParameterValue)") + $ARGS.positional' \\
                "$stack.parameters.json" --args "$@"
        )"
}}
{deploys}
```

The tags are needed: the roles' permissions depend on them. An image is the name that `docker push` used, with
its tag or digest; a container that Copilot built from the same Dockerfile (`ContainerImageFor…`) gets the
same image.

Before you update a stack that Copilot made, look at the changes: `MORE=--no-execute-changeset` makes a change
set, and this command shows it.

```bash
aws cloudformation describe-change-set --output table --change-set-name ARN \\
    --query "Changes[].ResourceChange.[Action,Replacement,LogicalResourceId]"
```

Nothing may be removed, and only `TaskDefinition` may be replaced (a new revision). If there is more, do not
execute the change set: {leaving} names the possible reasons.
"""


def readme(app: str, environment: str, artifacts: str, stacks: Sequence[tuple[str, Stack]]) -> str:
    """Return the README. `stacks` are in the order of deployment, each with its service's name or ""."""
    tags = f"copilot-application={app} copilot-environment={environment}"
    rows, deploys = [f"| `{artifacts}` | only in an account without Copilot's application |"], []
    for service, stack in stacks:
        given = [name for name in stack.asked if name not in _BY_FUNCTION]
        rows.append(f"| `{stack.name}` | {', '.join(f'`{name}`' for name in given) or 'nothing'} |")
        of_service = f" copilot-service={service}" if service else ""
        words = "".join(f" {name}=…" for name in given)
        deploys.append(f'deploy {stack.name} "{tags}{of_service}"{words}')
    return _TEXT.format(
        app=app,
        environment=environment,
        version=VERSION,
        artifacts=artifacts,
        table="\n".join(rows),
        deploys="\n".join(deploys),
        bucket=BUCKET,
        key=KEY,
        deployment=DEPLOYMENT,
        leaving=documents.page("after-copilot.md"),
    )
