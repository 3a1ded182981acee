"""Everything that is told of an alert, as one value: for programs, and for the page."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nilo_cli.why.chain import Chain, Node
from nilo_cli.why.evidence import Evidence
from nilo_cli.why.selected import RawEvent
from nilo_cli.why.upstream import Upstream
from nilo_schemas.alerts import Alert
from nilo_schemas.catalogue import Catalogue
from nilo_schemas.catalogue_files import SHIPPED
from nilo_schemas.rule_checks import runbook_is_url

_LINES = 10  # of a runbook


@dataclass(frozen=True)
class Account:
    """An alert, where it was found, and what is known of its cause.

    `rule` says whether the catalogue's rule is the one that the alert was found by. `runbook` has
    the first lines where it is a file.
    """

    alert: Alert
    where: str
    rule: str
    evidence: Evidence
    upstream: Upstream
    runbook: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """It as one JSON value."""
        return {
            "alert": self.alert.model_dump(mode="json", exclude_none=True),
            "found_in": self.where,
            "rule": self.rule,
            "runbook": self.runbook,
            "events": {
                "total": self.evidence.total,
                "from": dict(self.evidence.came_from),
                "lost": [each.model_dump() for each in self.evidence.lost],
                "trouble": self.evidence.trouble,
                "shown": [event_json(each) for each in self.evidence.events],
            },
            "upstream": {
                "from": self.upstream.where,
                "note": self.upstream.note,
                "events": _chain_json(self.upstream.chain),
                "earliest": _node_json(self.upstream.chain.earliest),
            },
        }


def rule_in_force(alert: Alert, catalogue: Catalogue) -> str:
    """Whether the rule of an alert is still that of the catalogue: same, changed or gone."""
    rule = catalogue.rules.get(alert.rule)
    if rule is None:
        return "gone"
    return "same" if rule.hash == alert.rule_hash else "changed"


def runbook_lines(runbook: str, folder: Path | None) -> list[str]:
    """The first lines of a runbook that is a file beside the catalogue; none of a URL."""
    if not runbook or runbook_is_url(runbook):
        return []
    for path in (each / runbook for each in (folder, SHIPPED) if each is not None):
        if path.is_file():
            lines = path.read_text(errors="replace").splitlines()
            return [*lines[:_LINES], *(["…"] if len(lines) > _LINES else [])]
    return []


def event_json(event: RawEvent) -> dict[str, Any]:
    """An event with its place, as JSON has it."""
    return {
        "topic": event.topic,
        "partition": event.partition,
        "offset": event.offset,
        "value": event.value,
        "error": event.error,
        "event": dict(event.values),
    }


def _chain_json(chain: Chain) -> list[dict[str, Any]]:
    nodes = sorted(chain.nodes.values(), key=lambda node: node.event.time)
    return [
        {
            "id": node.event.id,
            "caused_by": chain.causes.get(node.event.id),
            "found": node.event.id in chain.found,
            **(_node_json(node) or {}),
        }
        for node in nodes
    ]


def _node_json(node: Node | None) -> dict[str, Any] | None:
    if node is None:
        return None
    alert = node.alert
    about = alert and {"id": alert.id, "fingerprint": alert.fingerprint, "rule": alert.rule}
    return {**event_json(node.event), "alert": about}
