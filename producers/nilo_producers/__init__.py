"""The SDK: typed events into Kafka, files played as events, a simulated fleet."""

from nilo_producers.delivery import Counts, Delivery
from nilo_producers.errors import (
    ClosedError,
    DeliveryError,
    FileError,
    MappingError,
    PlayError,
    ProducerError,
    QueueFullError,
    RowError,
)
from nilo_producers.fleet import Incident, simulate
from nilo_producers.mapping import parse_map
from nilo_producers.player import Played, Progress, parse_speed, play
from nilo_producers.producer import Producer

__all__ = [
    "ClosedError",
    "Counts",
    "Delivery",
    "DeliveryError",
    "FileError",
    "Incident",
    "MappingError",
    "PlayError",
    "Played",
    "Producer",
    "ProducerError",
    "Progress",
    "QueueFullError",
    "RowError",
    "parse_map",
    "parse_speed",
    "play",
    "simulate",
]
