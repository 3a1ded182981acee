"""The life of the models that a team runs."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from nilo_schemas.envelope import Event
from nilo_schemas.fields import Text


class ModelEvent(Event):
    """A model registered, changed, promoted or retired."""

    kafka_topic: ClassVar[str] = "events.model"

    type: Literal["model.registered", "model.changed", "model.promoted", "model.retired"]
    model_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = Field(
        default=None, description="SHA-256 of the model's content, lower-case hex"
    )
    git_sha: Text | None = None
    data_snapshot_id: Text | None = None
    config_version: Text | None = None
    parent_model_id: Text | None = None
    metrics: dict[Text, float] = Field(default_factory=dict)
