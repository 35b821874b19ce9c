"""A control plane stands open to attacks from beside."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from copilot_sandbox.control_plane import ControlPlaneServer
from tests.attacks.neighbours import client


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlaneServer]:
    plane = ControlPlaneServer(0, tmp_path_factory.mktemp("aws") / "state", None, lambda _: 0)
    plane.start()
    client(plane, "ssm").put_parameter(Name="/DATABASE_URL", Value="postgres://secret", Type="SecureString")
    yield plane
    plane.stop()
