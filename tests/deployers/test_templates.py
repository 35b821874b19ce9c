from __future__ import annotations

import json

import pytest

from copilot_testenv.copilot.templates import Template
from copilot_testenv.core.errors import SettingsError
from copilot_testenv.deployers.templates import filled

TASK = {
    "Type": "AWS::ECS::TaskDefinition",
    "Properties": {
        "ContainerDefinitions": [{"Name": "web", "Image": "x"}, {"Name": "start-up", "Image": None}]
    },
}
IMAGES = {"web": "web@1", "start-up": "start@1"}


def template(*parameters: str, **values: str) -> Template:
    declared = {name: {"Type": "String"} for name in parameters}
    return Template(json.dumps({"Parameters": declared, "Resources": {"TaskDefinition": TASK}}), values)


def test_images_and_files_go_where_copilot_would_put_them() -> None:
    names = ("ContainerImage", "ContainerImageForstartDASHup", "EnvFileARN", "EnvFileARNForstartDASHup", "A")
    made = template(*names, A="1", ContainerImage="old", Undeclared="x")
    body, parameters = filled(made, "web", IMAGES, {"start-up": "arn"}, {"A": "2"})
    assert parameters == {
        "ContainerImage": "web@1", "ContainerImageForstartDASHup": "start@1",
        "EnvFileARN": "", "EnvFileARNForstartDASHup": "arn", "A": "2",
    }  # fmt: skip
    containers = body["Resources"]["TaskDefinition"]["Properties"]["ContainerDefinitions"]
    assert [each["Image"] for each in containers] == ["x", "start@1"]
    assert made.body["Resources"]["TaskDefinition"] == TASK  # the one that was compared stays as it was


def test_what_has_no_value_is_told() -> None:
    with pytest.raises(SettingsError, match="a parameter without a value: A"):
        filled(template("A"), "web", IMAGES, {}, {})
    with pytest.raises(SettingsError, match="builds no image for start-up"):
        filled(template(), "web", {"web": "web@1"}, {}, {})
