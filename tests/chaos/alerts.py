"""What the transitions of alerts must be, whatever died meanwhile: whole chains, each said once.

Which windows a rule saw before late events came depends on the moment, so the alerts of two rounds
differ. What one round says must hold together: no id with two contents, no transition that is
missing, and at the end the compacted topic says the same as the last transition.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from nilo_schemas.alerts import STATE_TOPIC
from nilo_schemas.settings import Settings
from tests.chaos.reading import Decoder, TopicReader, Values

CATALOGUE = Path(__file__).parent / "catalogue"
# Looked up when it is published, so it may be there one time and not another.
NOT_CONTENT = ("samples",)
_OVER = ("inactive", "resolved")


def read_alerts(settings: Settings, topic: str) -> list[tuple[str, Values | None]]:
    """Key and content of every message of a topic of alerts, each partition in order."""
    reader, decode, found = TopicReader(settings, topic), Decoder(settings), []
    for message in reader.news():
        key, value = message.key(), message.value()
        assert isinstance(key, bytes)
        content = decode(value) if value else None
        found.append((key.decode(), content and _content(content)))
    reader.close()
    return found


def _content(alert: Values) -> Values:
    return {name: value for name, value in alert.items() if name not in NOT_CONTENT}


def wrong_alerts(settings: Settings) -> tuple[int, list[str]]:
    """How many transitions there are, and what is wrong with them, line by line."""
    once: dict[str, Values] = {}
    found: list[str] = []
    for _, alert in read_alerts(settings, "alerts"):
        assert alert is not None
        if once.setdefault(alert["id"], alert) != alert:
            found.append(f"alert {alert['id']} has two contents")
    chains: dict[str, list[Values]] = {}
    for alert in sorted(once.values(), key=lambda each: (each["starts_at"], each["revision"])):
        chains.setdefault(alert["fingerprint"], []).append(alert)
    for chain in chains.values():
        found += _breaks(chain)
    newest = dict(read_alerts(settings, STATE_TOPIC))
    for fingerprint, chain in chains.items():
        held = newest.get(fingerprint)
        if held is None and chain[-1]["state"] in _OVER:
            continue
        if held != chain[-1]:
            found.append(f"the state of {chain[-1]['id']} is {held and held['id']}")
    return len(once), found


def _breaks(chain: list[Values]) -> Iterator[str]:
    if (chain[0]["revision"], chain[0]["previous"]) != (1, "inactive"):
        yield f"alert {chain[0]['id']} has no beginning"
    for before, after in pairwise(chain):
        begins = before["state"] in _OVER
        wanted = (1 if begins else before["revision"] + 1, before["state"])
        # A life that was over for long is forgotten, and the next one begins from nothing.
        if begins and after["previous"] == "inactive":
            wanted = (1, "inactive")
        if (after["revision"], after["previous"]) != wanted:
            yield f"{after['id']} ({after['previous']}) follows {before['id']} ({before['state']})"
