"""What receivers were told of alerts: the memory of the notifier, in a topic of its own."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from nilo_schemas.alerts import AlertState
from nilo_schemas.fields import Name, Text, Time
from nilo_schemas.record import Part, Record


class Told(Part):
    """An alert as a receiver knows it."""

    fingerprint: Name
    state: AlertState
    since: Time = Field(description="when the receiver was first told of this state")
    sure: bool = Field(
        default=True, description="false: of a sending of which nobody knows the end"
    )


class Notified(Record):
    """What a receiver was told of a group of alerts, or is just being told.

    In a compacted topic of one partition, by `key`; the newest counts. While `phase` is sending,
    nobody but the sender knows whether `told` or `before` is what the receiver knows.
    """

    kafka_topic: ClassVar[str] = "alerts.notified"

    receiver: Name
    group: dict[Text, Text] = Field(description="the labels that its alerts share")
    id: Name = Field(description="of the notification; the same when it is sent again")
    phase: Literal["sending", "sent"]
    at: Time = Field(description="when the sending began: the group interval runs from here")
    told: list[Told] = Field(description="what the receiver knows once it is sent")
    before: list[Told] = Field(description="what it knew until then")
    sent_at: Time | None = Field(default=None, description="when it was last certainly told")

    @property
    def key(self) -> str:
        """The key of the message: receiver and group."""
        return group_key(self.receiver, self.group)


def group_key(receiver: str, group: dict[str, str]) -> str:
    """The name of a group of a receiver, as Alertmanager writes it."""
    pairs = (f'{name}="{_escaped(value)}"' for name, value in sorted(group.items()))
    return f"{receiver}:{{{', '.join(pairs)}}}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
