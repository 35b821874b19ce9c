"""The load balancer finds a request's service by host, path and source, and says why there is none."""

from __future__ import annotations

import contextlib
import http.client
import time
from dataclasses import replace

import pytest

from copilot_sandbox.model import Rule
from tests.sandbox.fake_control_plane import GROUP, until
from tests.sandbox.town import HEAD, OK, Town, says


def test_without_a_healthy_target_the_reason_is_told(town: Town) -> None:
    town.reason = "startup is still running (12 s)"
    assert town.get() == (503, "503 Service Unavailable: startup is still running (12 s)\n")


def test_a_browser_gets_the_reason_as_a_page_with_nothing_to_inject(town: Town) -> None:
    town.reason = "the last task stopped: <script>alert(1)</script>"
    status, page = town.get(Accept="text/html,*/*")
    assert status == 503
    assert "<h1>503 Service Unavailable</h1>" in page
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_hosts_and_paths_choose_the_rule_by_priority(town: Town) -> None:
    for name in ("api", "shop", "rest"):
        town.add(says(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n" + name.encode().ljust(4)), group=name)
    town.rules(
        Rule(50_000, target_group_arns=("rest",)),
        Rule(2, hosts=("*.shop.example",), paths=("/*",), target_group_arns=("shop",)),
        Rule(1, paths=("/api", "/api/*", "/v?/x"), target_group_arns=("api",)),
    )
    time.sleep(0.3)
    asked = {
        "/api": "", "/api/x?y=/": "", "/v2/x": "", "/apis": "", "/API": "", "/?/api/": "",
        "/": "A.Shop.Example:8080", "/b": "127.0.0.1",
    }  # fmt: skip
    answers = [town.get(path, Host=host or "localhost")[1].strip() for path, host in asked.items()]
    assert answers == ["api", "api", "api", "rest", "rest", "rest", "shop", "rest"]


def test_a_rule_takes_only_clients_of_its_sources_whatever_they_claim_to_be(town: Town) -> None:
    for name in ("office", "rest"):
        town.add(says(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n" + name.encode().ljust(6)), group=name)
    office = Rule(
        1, paths=("/*",), sources=("198.51.100.0/24", "2001:db8::/32"), target_group_arns=("office",)
    )
    town.rules(office, Rule(50_000, target_group_arns=("rest",)))
    time.sleep(0.3)
    assert town.get(X_Forwarded_For="198.51.100.7") == (200, "rest  ")
    town.rules(replace(office, sources=(*office.sources, "127.0.0.9/8")))
    time.sleep(0.3)
    assert town.get() == (200, "office")
    with contextlib.closing(http.client.HTTPConnection("::1", town.port, timeout=5)) as connection:
        try:
            connection.request("GET", "/")
        except OSError:
            pytest.skip("this machine has no ::1")
        assert connection.getresponse().read() == b"office"


def test_a_client_that_a_service_does_not_let_in_is_told_so(town: Town) -> None:
    town.add(OK)
    town.rules(
        Rule(1, paths=("/*",), sources=("198.51.100.0/24",), target_group_arns=(GROUP,)),
        Rule(100_000, target_group_arns=("nobody",)),
    )
    time.sleep(0.3)
    status, told = town.get()
    assert status == 503
    assert told == (
        "503 Service Unavailable: 127.0.0.1 is not one of the sources that the service accepts, "
        "198.51.100.0/24: its manifest sets them with http.allowed_source_ips\n"
    )
    assert b"\r\nServer: awselb/2.0\r\n" in town.send(HEAD + b"\r\n")


def test_a_request_no_rule_matches_is_not_found(town: Town) -> None:
    town.rules(Rule(1, paths=("/only",), target_group_arns=(GROUP,)))
    time.sleep(0.3)
    assert town.get("/other")[0] == 404


def test_a_fixed_response_and_a_redirect(town: Town) -> None:
    town.rules(
        Rule(1, paths=("/gone",), fixed_status=410),
        Rule(2, hosts=("shop.example",), redirect_to="https://#{host}:443/#{path}?#{query}"),
    )
    time.sleep(0.3)
    assert town.get("/gone")[0] == 410
    connection = http.client.HTTPConnection("127.0.0.1", town.port, timeout=5)
    connection.request("GET", "/a/b?c=d", headers={"Host": "shop.example:8080"})
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Location"]) == (301, "https://shop.example:443/a/b?c=d")
    connection.close()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:{port}", 200),
        ("LOCALHOST", 200),
        ("127.0.0.1:{port}", 200),
        ("[::1]:{port}", 200),
        ("mine.localhost:{port}", 200),
        ("deep.shop.example", 200),
        ("localhost:1", 421),
        ("evil.example", 421),
        ("other.localhost:{port}", 421),
        ("localhost.evil.example", 421),
        ("mine.localhost.evil.example:{port}", 421),
        ("xmine.localhost", 421),
        ("127.0.0.1.nip.io", 421),
        ("127.1", 421),
        ("2130706433", 421),
        ("[::ffff:127.0.0.1]", 421),
        ("localhost.", 421),
        ("evil@localhost", 421),
        ("localhost, evil.example", 421),
        ("anything.com", 421),
    ],
)
def test_only_hosts_that_it_knows_are_answered(town: Town, host: str, status: int) -> None:
    town.add(OK)
    town.rules(
        Rule(1, hosts=("mine.localhost", "*.shop.example", "*", "*.com"), target_group_arns=(GROUP,)),
        Rule(50_000, target_group_arns=(GROUP,)),
    )
    until(lambda: town.get(Host="mine.localhost")[0] == 200)
    code, text = town.get(Host=host.format(port=town.port))
    assert code == status
    assert text == "ok" or text.count("\n") == 1


def test_the_name_of_one_service_opens_no_other(town: Town) -> None:
    town.add(OK, group="shared")
    town.add(says(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmine"), group="mine")
    town.rules(
        Rule(1, hosts=("rebound.example",), paths=("/mine",), target_group_arns=("mine",)),
        Rule(50_000, target_group_arns=("shared",)),
    )
    time.sleep(0.3)
    assert town.get("/mine", Host="rebound.example") == (200, "mine")
    assert town.get("/", Host="rebound.example")[0] == 404
    assert town.get("/", Host="localhost") == (200, "ok")


def test_a_name_of_the_users_domain_has_a_twin_below_localhost(town: Town) -> None:
    town.add(OK, group="shop")
    town.rules(
        Rule(1, hosts=("test.shop.example", "*.shop.example"), target_group_arns=("shop",)),
        Rule(2, hosts=("branch.localhost",), fixed_status=418),
    )
    time.sleep(0.3)
    asked = {
        "test.shop.example": 200,
        f"test.shop.example.localhost:{town.port}": 200,
        f"api.shop.example.localhost:{town.port}": 200,
        f"branch.localhost:{town.port}": 418,
        f"other.example.localhost:{town.port}": 421,
        f"test.localhost:{town.port}": 421,
    }
    assert {host: town.get(Host=host)[0] for host in asked} == asked


def test_an_address_and_a_host_that_differ_are_refused(town: Town) -> None:
    town.add(OK)
    answer = town.send(b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
