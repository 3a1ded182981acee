"""Calls of language models."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from nilo_schemas.envelope import Event
from nilo_schemas.fields import Cost, Count, Duration, Name, Small, Text


class LlmEvent(Event):
    """A call of a model: provider and operation as in OpenTelemetry's GenAI conventions."""

    kafka_topic: ClassVar[str] = "events.llm"

    type: Literal["llm.call", "llm.stream"]
    provider: Name | None = None
    model: Name | None = None
    operation: Name | None = Field(default=None, description="chat, text_completion, embeddings …")
    status: Literal["OK", "ERROR", "RETRIED", "FALLBACK"] = "OK"
    error_type: Text | None = None
    duration: Duration | None = Field(default=None, description="request to last token")
    time_to_first_token: Duration | None = None
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    cached_input_tokens: Count | None = None
    reasoning_tokens: Count | None = None
    cost: Cost | None = None
    attempt: Small | None = Field(default=None, description="1 is the first try")
    fallback_from: Text | None = Field(default=None, description="the model that was to answer")
    endpoint: Text | None = None
    prompt_hash: Text | None = None
