"""Open URLs without following redirects."""

from __future__ import annotations

import urllib.request


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follow no redirect: urllib raises HTTPError with its status instead."""

    def redirect_request(self, *_: object) -> None:
        return None
