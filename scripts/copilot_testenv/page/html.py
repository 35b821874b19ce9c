"""Render the deployments as one self-contained HTML page for people without a terminal."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from html import escape

_SOON = timedelta(hours=24)
_LINK = re.compile(r"https?://[!-~]+", re.IGNORECASE)
# Characters that are invisible or change the direction of text: control characters, surrogates (no file can
# hold one), line separators, and Unicode's bidirectional controls.
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028-\u202e\u2066-\u2069]")
_KINDS = {"live": "live", "asleep": "asleep", "being changed": "changing"}  # any other state is a failure

_STYLE = """
:root {
  --paper: #f6f5f1; --card: #fff; --ink: #1d2421; --quiet: #5a6661; --line: #dfded7;
  --link: #17604f; --good: #1f6f5c; --soon: #7a4a00; --bad: #b3261e;
  --mono: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #121715; --card: #1a211e; --ink: #e8ece9; --quiet: #9aa8a2; --line: #2c3632;
    --link: #7fd3ba; --good: #6cc7ad; --soon: #f0b860; --bad: #ff8a80;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
  overflow-wrap: anywhere;
}
main { max-width: 72rem; margin: 0 auto; padding: clamp(1.25rem, 4vw, 3rem) clamp(1rem, 4vw, 2rem) 3rem; }
p { margin: 0; }
h1 { margin: 0 0 .25rem; font-size: clamp(1.6rem, 5vw, 2.25rem); line-height: 1.15; letter-spacing: -.02em; }
h2 { margin: .5rem 0 .15rem; font-size: 1.25rem; line-height: 1.25; letter-spacing: -.01em; }
code { font-family: var(--mono); font-size: .92em; }
a { color: var(--link); text-underline-offset: .2em; }
a:focus-visible { outline: 3px solid var(--link); outline-offset: 3px; border-radius: .2rem; }
.made, .ago { color: var(--quiet); }
.warning, .empty { margin-top: 1.5rem; padding: .9rem 1.1rem; background: var(--card); border-radius: .5rem; }
.warning { border: 1px solid var(--soon); border-left-width: 5px; }
.warning strong { color: var(--soon); }
.empty { border: 1px dashed var(--quiet); }
.cards {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1rem;
  margin: 1.75rem 0 0; padding: 0; list-style: none;
}
article {
  height: 100%; padding: 1.1rem 1.25rem 1.25rem;
  background: var(--card); border: 1px solid var(--line); border-top: 4px solid var(--good);
  border-radius: .5rem;
}
article.changing { border-top-color: var(--soon); }
article.asleep { border-top-color: var(--quiet); }
article.failed { border-top-color: var(--bad); }
.signs { display: flex; flex-wrap: wrap; gap: .25rem .9rem; font-size: .9rem; }
.state { color: var(--good); font-weight: 650; }
.state::before { content: "\\25cf\\a0"; content: "\\25cf\\a0" / ""; }
.changing .state { color: var(--soon); }
.changing .state::before { content: "\\25d0\\a0"; content: "\\25d0\\a0" / ""; }
.failed .state { color: var(--bad); }
.failed .state::before { content: "\\2715\\a0"; content: "\\2715\\a0" / ""; }
.own { color: var(--quiet); }
.address { font-size: 1.05rem; }
.why, .note { margin-top: .6rem; }
.note { color: var(--soon); }
dl { margin: .9rem 0 0; }
dl div { display: grid; grid-template-columns: 6rem minmax(0, 1fr); padding: .4rem 0; }
dl div { border-top: 1px solid var(--line); }
dt { color: var(--quiet); }
dd { margin: 0; }
.mark { display: inline-block; padding: .05rem .5rem; border: 1px solid; border-radius: 1rem; }
.mark { font-size: .85rem; line-height: 1.4; }
.mark:empty { display: none; }
.soon { color: var(--soon); }
.overdue { color: var(--bad); }
@media print {
  :root { --paper: #fff; --card: #fff; --ink: #000; --quiet: #444; --line: #bbb; }
  :root { --link: #000; --good: #000; --soon: #000; --bad: #000; }
  main { max-width: none; padding: 0; }
  article, .warning { break-inside: avoid; }
  .ago { display: none; }
}
"""

# Adds the relative time to each moment, and marks expiries by the reader's clock instead of the writer's.
# Without JavaScript, the page still shows all facts.
_SCRIPT = """
(function () {
  "use strict";
  var now = Date.now();
  var words = new Intl.RelativeTimeFormat("en");
  function relative(moment) {
    var seconds = (moment - now) / 1000, size = Math.abs(seconds);
    if (size < 60) { return "now"; }
    if (size < 3600) { return words.format(Math.trunc(seconds / 60), "minute"); }
    if (size < 172800) { return words.format(Math.trunc(seconds / 3600), "hour"); }
    return words.format(Math.trunc(seconds / 86400), "day");
  }
  document.querySelectorAll("time").forEach(function (time) {
    var span = document.createElement("span");
    span.className = "ago";
    span.textContent = " (" + relative(Date.parse(time.dateTime)) + ")";
    time.after(span);
  });
  document.querySelectorAll(".mark").forEach(function (mark) {
    var left = Date.parse(mark.dataset.end) - now;
    mark.className = left <= 0 ? "mark overdue" : left <= 86400000 ? "mark soon" : "mark";
    mark.textContent = left <= 0 ? "expired" : left <= 86400000 ? "expires within 24 hours" : "";
  });
})();
"""


@dataclass(frozen=True)
class Row:
    """One deployment on the page. Times have the form of `status --json`; an unknown value is None.

    `expires_at` is None if it does not expire. `state` is `live`, `asleep`, `being changed`, or names the
    failure. `note` is a sentence about it, or empty.
    """

    branch: str | None
    url: str | None
    commit: str | None
    deployed_by: str | None
    deployed_at: str | None
    expires_at: str | None
    data_copied_at: str | None
    why: str
    note: str
    state: str
    isolated: bool
    more_urls: Mapping[str, str] = field(default_factory=dict)  # of its other web services, by their names


def page(rows: Sequence[Row], *, title: str, made_at: datetime, warning: str = "") -> str:
    """Return the page as HTML. `made_at` must have a time zone; `warning` is a sentence for the top."""
    many = "One deployment" if len(rows) == 1 else f"{len(rows)} deployments"
    body = [
        "<header>",
        f"<h1>{_text(title)}</h1>",
        f'<p class="made">{many if rows else "No deployment"} as of {_moment(made_at)}</p>',
        "</header>",
    ]
    if warning:
        body.append(f'<p class="warning" role="note"><strong>Note:</strong> {_text(warning)}</p>')
    if rows:
        body += ['<ul class="cards">', *(f"<li>{_card(row, made_at)}</li>" for row in rows), "</ul>"]
    else:
        body.append(
            '<p class="empty">Nothing is deployed. A developer puts a branch here with '
            "<code>invoke deploy-test --branch B</code>.</p>"
        )
    tail = ["</main>", f"<script>{_SCRIPT}</script>", "</body>", "</html>"]
    return "\n".join([*_head(title), "<body>", "<main>", *body, *tail])


def _head(title: str) -> list[str]:
    policy = (
        f"default-src 'none'; style-src '{_digest(_STYLE)}'; script-src '{_digest(_SCRIPT)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="robots" content="noindex">',
        '<meta name="referrer" content="no-referrer">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{_text(title)}</title>",
        f"<style>{_STYLE}</style>",
        "</head>",
    ]


def _digest(text: str) -> str:
    """Return the hash by which a Content-Security-Policy allows an inline style or script.

    Source: https://www.w3.org/TR/CSP3/#match-element-to-source-list
    """
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _card(row: Row, made_at: datetime) -> str:
    own = '<span class="own">own service and database</span>' if row.isolated else ""
    facts = [
        ("Expires", _expiry(row.expires_at, made_at)),
        ("Data of", _when(row.data_copied_at)),
        ("Deployed", f"{_when(row.deployed_at)}<br>by <bdi>{_text(row.deployed_by or 'unknown')}</bdi>"),
        ("Commit", f"<code><bdi>{_text((row.commit or 'unknown')[:12])}</bdi></code>"),
    ]
    why = f'<p class="why"><bdi>{_text(row.why)}</bdi></p>' if row.why.strip() else ""
    note = f'<p class="note">{_text(row.note)}</p>' if row.note.strip() else ""
    more = "".join(
        f'<p class="address">{_text(name)}: {_address(url)}</p>' for name, url in row.more_urls.items()
    )
    return (
        f'<article class="{_KINDS.get(row.state, "failed")}">'
        f'<p class="signs"><span class="state">{_text(row.state[:1].upper() + row.state[1:])}</span>{own}</p>'
        f"<h2><bdi>{_text(row.branch or 'an unknown branch')}</bdi></h2>"
        f'<p class="address">{_address(row.url)}</p>{more}{why}{note}'
        f"<dl>{''.join(f'<div><dt>{name}</dt><dd>{value}</dd></div>' for name, value in facts)}</dl>"
        "</article>"
    )


def _address(url: str | None) -> str:
    """Return the address as HTML: a link if it is http or https; `javascript:` and the like stay text."""
    if not url:
        return "No address"
    text = _text(url)
    return f'<a href="{text}">{text}</a>' if _LINK.fullmatch(url) else f"<bdi>{text}</bdi>"


def _expiry(expires_at: str | None, made_at: datetime) -> str:
    if expires_at is None:
        return "never: kept until somebody tears it down"
    expiry = _read(expires_at)
    if not expiry:
        return _when(expires_at)
    left = expiry - made_at
    kind, text = ("soon", "expires within 24 hours") if left <= _SOON else ("", "")
    if left <= timedelta(0):
        kind, text = "overdue", "expired"
    mark = f'<strong class="{f"mark {kind}".strip()}" data-end="{expiry.isoformat()}">{text}</strong>'
    return f"{_moment(expiry)} {mark}"


def _when(text: str | None) -> str:
    """Return a moment in readable form; text that is not a moment is shown unchanged."""
    if not text:
        return "unknown"
    moment = _read(text)
    return _moment(moment) if moment else f"<bdi>{_text(text)}</bdi>"


def _moment(moment: datetime) -> str:
    at = moment.astimezone(UTC)
    return f'<time datetime="{at.isoformat()}">{at:%a} {at.day} {at:%b %Y, %H:%M}&nbsp;UTC</time>'


def _read(text: str) -> datetime | None:
    """Parse a moment with a time zone, as UTC; None if it is invalid, has no zone, or is out of range."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _text(text: str) -> str:
    """Escape any text as one line, for an element or a quoted attribute."""
    return escape(_UNSEEN.sub("\N{REPLACEMENT CHARACTER}", " ".join(text.split())))
