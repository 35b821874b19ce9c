from __future__ import annotations

import pytest

from scripts.answer import wrong_with


@pytest.mark.parametrize("url", ["", "file:///etc/hostname", "http://[::1/", "http://localhost:1/"])
def test_an_address_that_cannot_answer_is_a_reason_and_never_a_traceback(url: str) -> None:
    assert wrong_with(url)
