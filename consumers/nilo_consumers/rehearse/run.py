"""A rehearsal: every place that a new contract would be read from, and what breaks there."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from nilo_consumers.audit.in_kafka import InKafka
from nilo_consumers.rehearse.in_kafka import Letters, Progress, Stratum, dead_letters, retained
from nilo_consumers.rehearse.in_lake import Rows, stored
from nilo_consumers.rehearse.in_postgres import Plan, plan
from nilo_consumers.rehearse.judge import Judge
from nilo_consumers.rehearse.tally import Tally
from nilo_schemas.contracts import records, stored_records, versions
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings


@dataclass(frozen=True)
class Rehearsal:
    """What a new contract does to a topic.

    Args:
        kafka: the retained records by partition and writer's schema.
        lake: the rows of the Delta table; None: there is none.
        letters: the dead letters by reason.
        postgres: None: the topic has no table.
    """

    topic: str
    kafka: Mapping[Stratum, Tally]
    lake: Rows | None
    letters: Mapping[str, Letters]
    postgres: Plan | None

    @property
    def breaks(self) -> bool:
        """Whether records or rows break, or PostgreSQL cannot be brought to it."""
        tallies = [*self.kafka.values(), *([self.lake] if self.lake else [])]
        impossible = bool(self.postgres and self.postgres.impossible)
        return impossible or any(tally.breaks.records for tally in tallies)

    def as_json(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "topic": self.topic,
            "breaks": self.breaks,
            "kafka": [
                {"partition": partition, "schema_id": schema_id, **tally.as_json()}
                for (partition, schema_id), tally in self.kafka.items()
            ],
            "lake": self.lake and self.lake.as_json(),
            "dlq": [{"reason": name, **each.as_json()} for name, each in self.letters.items()],
            "postgres": self.postgres and self.postgres.as_json(),
        }


def rehearse(
    settings: Settings,
    topic: str,
    reader: dict[str, Any],
    *,
    sample: int | None,
    progress: Progress,
) -> Rehearsal:
    """Read everything of a topic (without prefix) with a new contract. Nothing is written.

    Args:
        reader: the new contract, as `proposed` gives it.
        sample: how many records of each partition and writer's schema in Kafka (None: all).
        progress: called now and then.

    Raises:
        UnreachableError: the brokers or the registry do not answer.
        StoreError: the lake does not answer, or a server refuses us.
    """
    record, kept = records()[topic], topic in stored_records()
    judge = Judge(record, Registry(settings).schema, reader)
    version = f"version {max(versions(topic), default='in force')} of the contract"
    with closing(InKafka(settings)) as kafka:
        return Rehearsal(
            topic,
            retained(kafka, topic, judge, sample=sample, progress=progress),
            stored(settings, topic, reader, progress) if kept else None,
            dead_letters(kafka, topic, judge, progress),
            plan(settings, record, reader, version) if kept else None,
        )
