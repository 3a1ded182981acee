"""The lake's files in the manifest: each is read and hashed once."""

from __future__ import annotations

import hashlib
from datetime import date
from pathlib import PurePosixPath
from typing import Any

from nilo_consumers.audit.spans import count, stretches
from nilo_consumers.batch import OFFSET, PARTITION
from nilo_consumers.lake import EVENT_DATE, dataset, existing_table, translated
from nilo_consumers.tables import table_name
from nilo_consumers.tiers.manifest import Entry, Manifest, now
from nilo_consumers.tiers.policy import Policy
from nilo_schemas.settings import Settings

_PIECE = 1 << 20  # bytes


def note_files(settings: Settings, topic: str, policy: Policy) -> None:
    """Bring the lines of a topic's files in the lake up to its newest version.

    The line of a file that compaction or the archive has replaced goes.

    Raises:
        StoreError: the lake does not answer, or lacks a file.
    """
    manifest = Manifest(settings)
    table = existing_table(settings, topic)
    if table is None:
        return
    lines = manifest.entries(topic)
    known = {each.path for each in lines if each.tier == "warm" and not each.removed_at}
    with translated(f"reading the files of {topic}"):
        files = dataset(table).get_fragments()
        there = {f"{table_name(topic)}/{each.path}": each for each in files}
        new = [_entry(path, topic, policy, there[path]) for path in sorted(there.keys() - known)]
    kept = [each for each in lines if each.tier != "warm" or each.removed_at or each.path in there]
    if len(kept) == len(lines):
        manifest.add(new)
    else:
        manifest.replace(topic, kept + new)


def unchanged(fragment: Any, entry: Entry) -> bool:
    """Whether a file of the lake is as its line says."""
    return _hashed(fragment) == (entry.size, entry.sha256)


def _entry(path: str, topic: str, policy: Policy, fragment: Any) -> Entry:
    size, sha256 = _hashed(fragment)
    offsets = tuple(stretches(fragment.to_table(columns=[PARTITION, OFFSET])))
    day = date.fromisoformat(PurePosixPath(path).parent.name.removeprefix(f"{EVENT_DATE}="))
    return Entry(
        path, "warm", topic, day, count(span for _, span in offsets), size, offsets, sha256,
        now(), policy.expires_on("warm", day),
    )  # fmt: skip


def _hashed(fragment: Any) -> tuple[int, str]:
    """Size and SHA-256 of a file, wherever the lake is."""
    digest, size = hashlib.sha256(), 0
    with fragment.filesystem.open_input_stream(fragment.path) as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
            size += len(piece)
    return size, digest.hexdigest()
