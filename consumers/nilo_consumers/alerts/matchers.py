"""Matchers in Alertmanager's syntax: model=atlas, model!=x, alertname=~"Llm.*", model!~x|y."""

from __future__ import annotations

import re

from pydantic import ValidationError

from nilo_schemas.alerts import Matcher

_MATCHER = re.compile(r"""\s*([^\s=!~"{},]+)\s*(=~|!~|!=|=)\s*(.*?)\s*""", re.DOTALL)


def matcher(text: str) -> Matcher:
    """The matcher that a text says; its value may stand in double quotes, escaped by backslashes.

    Raises:
        ValueError: it says none, or its value is to be a regular expression and is none.
    """
    found = _MATCHER.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no matcher: use model=atlas, model!=x or alertname=~Llm.*")
    name, sign, value = found.groups()
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = re.sub(r"\\(.)", r"\1", value[1:-1], flags=re.DOTALL)
    try:
        return Matcher(name=name, value=value, is_regex="~" in sign, is_equal="!" not in sign)
    except ValidationError as error:
        raise ValueError(f"{text!r}: {error.errors()[0]['msg']}") from None


def as_text(one: Matcher) -> str:
    """A matcher as it is written."""
    value = re.sub(r'(["\\])', r"\\\1", one.value)
    return f'{one.name}{"=" if one.is_equal else "!"}{_sign(one)}"{value}"'


def _sign(one: Matcher) -> str:
    if one.is_regex:
        return "~"
    return "" if one.is_equal else "="
