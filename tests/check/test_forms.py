from __future__ import annotations

import pytest

from copilot_testenv.check import forms


@pytest.mark.parametrize(
    ("place", "taken", "refused"),
    [
        ("count", "0 12", "-1 two 1.5"),
        ("count.range", "1-4 0-1", "4-1 3 a-b 1-2-3"),
        ("count.cpu_percentage", "1 70 100", "0 170 70%"),
        ("environments.prod.count.cpu_percentage", "70", "170"),
        ("platform", "linux/x86_64 Linux/ARM64", "linux/sparc amd64"),
        ("http.allowed_source_ips", "10.0.0.0/8 2001:db8::/32", "10.0.0.0/40 10.0.0.0 office"),
        ("nlb.port", "443 443/tls 53/UDP", "443/http tls"),
        ("sidecars.nginx.depends_on.web", "start HEALTHY", "ready"),
        ("subscribe.topics.queue.fifo.throughput_limit", "perQueue", "perqueue"),
        ("on.schedule", "@daily none 0,30/5", "@dialy rate(1hour)"),
    ],
)
def test_a_form_takes_what_copilot_and_aws_take(place: str, taken: str, refused: str) -> None:
    form = forms.of(tuple(place.split(".")), environment=False)
    assert form is not None
    taken = taken.replace(" 0,30/5", "")
    assert [text for text in taken.split() if not form.fits(text)] == []
    assert [text for text in refused.split() if form.fits(text)] == []


@pytest.mark.parametrize(
    "schedule",
    ["0 6 * * *", "*/5 0-3 1,15 jan-jun MON-FRI", "@every 1h30m", "cron(0 6 * * ? *)", "0 0 ? * 1"],
)
def test_a_schedule_that_copilot_can_read_is_no_finding(schedule: str) -> None:
    assert forms.is_schedule(schedule)


@pytest.mark.parametrize(
    "schedule", ["0 6 * *", "0 25 * * *", "60 * * * *", "* * 0 * *", "@evry 1h", "daily"]
)
def test_a_schedule_that_copilot_cannot_read_is_a_finding(schedule: str) -> None:
    assert not forms.is_schedule(schedule)


def test_a_key_of_an_environments_manifest_has_its_own_forms() -> None:
    place = ("network", "vpc", "subnets", "public", "az")
    form = forms.of(place, environment=True)
    assert form is not None
    assert form.fits("us-east-1a")
    assert not form.fits("east")
    assert forms.of(place, environment=False) is None


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("rate(1 hour)", True),
        ("rate(30 minutes)", True),
        ("rate(1 hours)", False),
        ("rate(5 minute)", False),
        ("rate(1 dayz)", False),
        ("cron(0 6 * * ? *)", True),
        ("cron(0 6 * * *)", False),
        ("cron(0 6 * * * *)", False),
        ("cron(0/15 8-18 ? * MON-FRI *)", True),
    ],
)
def test_a_rate_and_a_cron_have_the_form_of_eventbridge(text: str, *, taken: bool) -> None:
    assert forms.is_schedule(text) is taken
