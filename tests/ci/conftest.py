"""A forge answers the tests as GitHub, GitLab and Bitbucket do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from copilot_testenv.ci import pull_request
from tests.forges import Forge, forge


@pytest.fixture(scope="module")
def server() -> Iterator[Forge]:
    with forge() as running:
        yield running


@pytest.fixture
def here(server: Forge, monkeypatch: pytest.MonkeyPatch) -> Forge:
    """An empty forge without faults, that is reached directly and is Bitbucket too."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pull_request, "_BITBUCKET", "https://api.bitbucket.org/2.0")
    monkeypatch.setattr(pull_request, "_BITBUCKET_PROXY", server.address)
    server.pulls, server.comments, server.statuses, server.asked = [], {}, {}, []
    server.deployments, server.reactions, server.permissions = [], [], {}
    server.fault, server.reads_only, server.filters = "", False, True
    return server


@pytest.fixture
def direct(here: Forge, monkeypatch: pytest.MonkeyPatch) -> Forge:
    """The same, with Bitbucket's interface for those who have a token."""
    monkeypatch.setattr(pull_request, "_BITBUCKET", f"{here.address}/2.0")
    return here
