"""Matchers are read and written as Alertmanager has them."""

from __future__ import annotations

import pytest

from nilo_consumers.alerts.matchers import as_text, matcher
from nilo_schemas.alerts import Matcher

SAID = [
    ("model=atlas", Matcher(name="model", value="atlas"), 'model="atlas"'),
    ("model!=x", Matcher(name="model", value="x", is_equal=False), 'model!="x"'),
    ('alertname=~"Llm.*"', Matcher(name="alertname", value="Llm.*", is_regex=True), None),
    ("a.b!~x|y", Matcher(name="a.b", value="x|y", is_regex=True, is_equal=False), 'a.b!~"x|y"'),
    ("model=", Matcher(name="model", value=""), 'model=""'),
    (' q = "a=~b" ', Matcher(name="q", value="a=~b"), 'q="a=~b"'),
]


@pytest.mark.parametrize(("text", "meant", "written"), SAID)
def test_a_matcher_is_read_and_written(text: str, meant: Matcher, written: str | None) -> None:
    assert matcher(text) == meant
    assert as_text(meant) == (written or text)
    assert matcher(as_text(meant)) == meant


@pytest.mark.parametrize("text", ["", "atlas", "=atlas", "a b=c", "model=~*"])
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no matcher|no regular expression"):
        matcher(text)
