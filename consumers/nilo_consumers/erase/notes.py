"""What the receipt of an erasure says of topics of Kafka."""

from __future__ import annotations

STATE = (
    "compacted; its keys name parts of the state, not subjects. It holds a subject only as a label "
    "of an open window of a metric that is grouped by `subject`, and drops it with the window"
)
ALERTS = (
    "not looked at. It holds a subject as a label of an alert whose rule is grouped by `subject`, "
    "until detection forgets the alert"
)
SILENCES = (
    "not looked at. It holds a subject where somebody named one in a matcher or a comment: "
    "`nilo alerts silences --all` shows them, `nilo alerts unsilence` deletes one"
)
PARTIALS = "holds labels of metrics that are grouped by `subject`; not looked at"
TOMBSTONES = (
    "compacted: tombstones for the key were written to {partitions}; the values go when Kafka "
    "compacts next, for which it keeps no date unless max.compaction.lag.ms is set. Sinks make a "
    "dead letter of a tombstone (reason `empty`), which names the key"
)
REDRIVES = "not looked at. It holds places of messages, no subjects"
COMPACTED = "compacted: the newest record of each key stays"
