"""Names that would take somebody else's requests: of branches, of TEST_DOMAIN, of manifests."""

# ruff: noqa: E501 - a manifest a line reads as a table
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from copilot_testenv.copilot import aliases, branch_service
from copilot_testenv.core.errors import Refused, SettingsError
from copilot_testenv.core.git import slug
from copilot_testenv.core.settings import Settings

WEB = "name: web\ntype: Load Balanced Web Service\n"


def write(settings: Settings, text: str, service: str = "web") -> Path:
    file = settings.root / "copilot" / service / "manifest.yml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return file


def require_own(settings: Settings, text: str) -> None:
    aliases.require_own(WEB + text, "copilot/web/manifest.yml", settings)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("http: {path: /, alias: www.example.com}\nenvironments: {test: {}}\n", 3),
        ("http:\n  path: /\n  alias: [a.example.com, b.example.com]\nenvironments: {test: {http: {path: /x}}}\n", 5),
        ("http:\n  alias:\n    - {name: www.example.com, hosted_zone: Z1}\nenvironments: {test: {cpu: 256}}\n", 4),
        ("http:\n  alias: ${COPILOT_ENVIRONMENT_NAME}.example.com\nenvironments: {test: {}}\n", 4),
        ("http: {alias: www.example.com}\nenvironments: {test: {http: {alias: ''}}}\n", 3),
        ("http: {alias: www.example.com}\nenvironments: {test: {http: {alias: []}}}\n", 3),
        ("http: {alias: www.example.com}\nenvironments: {test: {http: {alias: null}}}\n", 3),
        ("http:\n  path: /\n  additional_rules:\n    - path: /a\n      alias: a.example.com\nenvironments: {test: {}}\n", 7),
        ("nlb: {port: 443/tls, alias: tcp.example.com}\nenvironments: {test: {}}\n", 3),
        ("x: &h {alias: www.example.com}\nhttp: {<<: *h, path: /}\nenvironments: {test: {}}\n", 4),
    ],
)  # fmt: skip
def test_an_alias_of_the_base_never_reaches_test(settings: Settings, text: str, line: int) -> None:
    with pytest.raises(
        SettingsError, match=rf"manifest\.yml:{line}: .*move `(http|nlb)\..*environments\.test"
    ):
        require_own(settings, text)


@pytest.mark.parametrize(
    "text",
    [
        "http: {path: /}\nenvironments: {test: {}, production: {http: {alias: www.example.com}}}\n",
        "http: {alias: www.example.com}\nenvironments: {test: {http: {alias: test.example.com}}}\n",
        "http: false\nenvironments: {test: {}}\n",
        "http: {alias: www.example.com}\nenvironments: {test: {http: false}}\n",
        "http: {additional_rules: [{path: /a, alias: a.example.com}]}\nenvironments: {test: {http: {additional_rules: [{path: /a}]}}}\n",
    ],
)
def test_a_manifest_whose_test_has_its_own_or_none_passes(settings: Settings, text: str) -> None:
    require_own(settings, text)


@pytest.mark.parametrize("name", ["www", "api", "staging", "production", "test", "mail", "admin", "blog"])
def test_a_branchs_name_is_no_name_of_the_domain(settings: Settings, name: str) -> None:
    own = replace(settings, target="aws").isolated_for(slug(name))
    assert branch_service.host(own, "example.com") == f"web-{name}.test.demo.example.com"


@pytest.mark.parametrize(
    "test_domain",
    [
        "example.com", "shop.example.com", "demo.shop.example.com", "production.demo.shop.example.com",
        "eu.production.demo.shop.example.com", "stage.demo.shop.example.com", "live.demo.shop.example.com",
    ],
)  # fmt: skip
def test_test_domain_is_no_zone_of_others(settings: Settings, test_domain: str) -> None:
    own = replace(settings, test_domain=test_domain)
    with pytest.raises(SettingsError, match="TEST_DOMAIN"):
        aliases.require_domain_of_its_own(own, "shop.example.com")


@pytest.mark.parametrize("test_domain", ["", "try.shop.example.com", "test.demo.shop.example.com", "try.org"])
def test_a_domain_for_tests_alone_passes(settings: Settings, test_domain: str) -> None:
    aliases.require_domain_of_its_own(replace(settings, test_domain=test_domain), "shop.example.com")


@pytest.mark.parametrize(
    "alias",
    [
        "www.try.example.com", "WWW.Try.Example.com.", "'*.try.example.com'", "'*.example.com'", "'w?w.try.example.com'",
        "[x.example.com, www.try.example.com]", "[{name: www.try.example.com}]", "${NAME}.try.example.com",
        "'x.example.com, www.try.example.com'",
    ],
)  # fmt: skip
@pytest.mark.parametrize("service", ["web", "api"])
def test_a_host_that_a_manifest_gives_to_others_is_refused(
    settings: Settings, alias: str, service: str
) -> None:
    write(
        settings,
        f"{WEB}environments:\n  test: {{}}\n  production:\n    http:\n      alias: {alias}\n",
        service,
    )
    own = replace(settings, target="aws", test_domain="try.example.com").isolated_for("www")
    with pytest.raises(Refused, match=rf"copilot/{service}/manifest\.yml:7 gives .*in production"):
        aliases.require_free({branch_service.host(own, ""): "www"}, own, [settings.root])


def test_the_shared_slots_alias_is_its_own_and_nobody_elses(settings: Settings) -> None:
    text = f"{WEB}environments:\n  test: {{http: {{alias: t.example.com}}}}\n  production: {{http: {{alias: %s}}}}\n"
    write(settings, text % "www.example.com")
    aliases.require_free({"t.example.com": "main"}, settings, [settings.root])
    write(settings, text % "'*.example.com'")
    with pytest.raises(Refused, match="in production"):
        aliases.require_free({"t.example.com": "main"}, settings, [settings.root])
    write(settings, text % "www.example.com")
    own = replace(settings, target="aws", test_domain="example.com").isolated_for("t")
    with pytest.raises(Refused, match="in test"):
        aliases.require_free({branch_service.host(own, ""): "t"}, own, [settings.root])
