"""Dead letters sent again: those that would succeed now, each where it is missing, and once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from nilo_consumers.audit.in_kafka import InKafka
from nilo_consumers.batch import Span
from nilo_consumers.dlq.adding import add
from nilo_consumers.dlq.cases import Case, known_by_origin, rounds
from nilo_consumers.dlq.history import stored
from nilo_consumers.dlq.journal import Journal
from nilo_consumers.dlq.letters import Chosen
from nilo_consumers.dlq.places import Place
from nilo_consumers.dlq.plan import Act, Failure, Message, Verdict, verdicts
from nilo_consumers.dlq.readable import Readable, readable
from nilo_consumers.dlq.sender import LEASE, Sender
from nilo_consumers.dlq.standing import STORES, Standings, standings
from nilo_consumers.dlq.tally import Line, Tally
from nilo_consumers.dlq.target import Parcel, Target
from nilo_schemas.catalogue_files import load_catalogue
from nilo_schemas.contracts import stored_records
from nilo_schemas.dead_letters import redriven_headers
from nilo_schemas.registry import Registry
from nilo_schemas.settings import Settings

Tell = Callable[[str], None]
Planned = Sequence[tuple[Readable, Mapping[Failure, Verdict]]]
PARTIALS = "partials are no events: a replay makes them anew"
LOST = "an earlier run was cut short, and Kafka no longer has what it may have sent"
OTHER = "another run has it in hand"
TOO_LARGE = "with two more headers it is larger than its topic takes (max.message.bytes)"
REFUSES = "the store refuses it still"


def redrive(settings: Settings, chosen: Chosen, tell: Tell, *, dry_run: bool) -> list[Line]:
    """Send the letters that are asked for and would succeed now; the others are left.

    Running it again sends nothing twice, after it was killed at any moment too; nor do two runs at
    the same time.

    Args:
        settings: where Kafka, the registry and the stores are.
        chosen: which letters.
        tell: progress.
        dry_run: only look; what a store would be given it may still refuse.

    Raises:
        UnreachableError: the brokers or the registry do not answer.
        StoreError: a store does not answer.
        ContractError: the topic of redrives does not exist.
    """
    with ExitStack() as held:
        kafka = held.enter_context(closing(InKafka(settings)))
        journal = held.enter_context(closing(Journal(settings)))
        target = held.enter_context(closing(Target(settings, LEASE / 2)))
        run = _Run(settings, kafka, journal, Sender(journal, target), dry_run=dry_run)
        run.begin(tell)
        for topic in chosen.topics:
            tell(f"{topic} …")
            run.work(topic, chosen)
        return run.tally.lines()


class _Run:
    """One run over the dead letters of several topics."""

    def __init__(
        self, settings: Settings, kafka: InKafka, journal: Journal, sender: Sender, *, dry_run: bool
    ) -> None:
        self.tally = Tally()
        self._settings, self._prefix, self._dry_run = settings, settings.topic_prefix, dry_run
        self._kafka, self._journal, self._sender = kafka, journal, sender
        self._registry = Registry(settings)
        self._counted = load_catalogue(settings.catalogue).topics()
        self._future = timedelta(seconds=settings.future_bound)

    def begin(self, tell: Tell) -> None:
        """Learn what was redriven before."""
        if self._dry_run:
            self._journal.read()
        else:
            self._sender.settle(tell)

    def work(self, topic: str, chosen: Chosen) -> None:
        """Redrive what is asked for of one topic (without prefix)."""
        found, foreign = known_by_origin(self._kafka, topic, self._prefix, chosen)
        self.tally.foreign(topic, foreign)
        spans = self._kafka.bounds(topic)
        for cases in rounds(self._kafka, topic, self._prefix, found):
            if topic in stored_records():
                self._round(topic, self._fresh(cases), spans)
            else:
                self._leave(cases, PARTIALS)

    def _round(self, topic: str, cases: Sequence[Case], spans: Mapping[int, Span]) -> None:
        """A few hundred messages: those that decode are sent, or given to stores that lack them."""
        found = readable(self._settings, self._registry.schema, cases, spans, self.tally)
        if not found:
            return
        planned = self._planned(topic, found)
        self._send(planned)
        for store in STORES:
            self._store(topic, store, planned)
        for one, plan in planned:
            for failure, verdict in plan.items():
                if verdict.act in (Act.BEFORE, Act.LEFT):
                    self._count(one, [failure], verdict)

    def _fresh(self, cases: Sequence[Case]) -> list[Case]:
        """Without those that were sent before, or of which nobody can tell."""
        sent, lost = self._journal.history.sent, self._sender.lost
        for case in cases:
            if case.origin in sent:
                self.tally.case(case, Act.BEFORE)
        self._leave([each for each in cases if each.origin in lost], LOST)
        return [each for each in cases if each.origin not in sent and each.origin not in lost]

    def _leave(self, cases: Sequence[Case], why: str) -> None:
        for case in cases:
            self.tally.case(case, Act.LEFT, why=why)

    def _planned(self, topic: str, found: Sequence[Readable]) -> Planned:
        """What is to be done about each letter of these messages."""
        stores = standings(self._settings, topic, [one.place for one in found])
        return [(one, verdicts(self._message(topic, one, stores))) for one in found]

    def _message(self, topic: str, one: Readable, stores: Mapping[str, Standings]) -> Message:
        return Message(
            one.case.known.failures,
            counted=topic in self._counted,
            ahead=_time(one.row) > datetime.now(UTC) + self._future,
            stores={name: each[one.place] for name, each in stores.items() if each},
        )

    def _send(self, planned: Planned) -> None:
        """Through their topic, the messages that have letters to go that way."""
        wanted = _asked_for(planned, Act.SENT)
        if not wanted or self._dry_run:
            told = None
        else:
            told = self._sender.send([_parcel(one) for one, _ in wanted])
        for one, failures in wanted:
            verdict = Verdict(Act.SENT)
            if told and one.case.origin not in told.offsets:
                too_large = one.case.origin in told.too_large
                verdict = Verdict(Act.LEFT, TOO_LARGE if too_large else OTHER)
            self._count(one, failures, verdict)

    def _store(self, topic: str, store: str, planned: Planned) -> None:
        """Into one store, the messages that it lacks and has letters of."""
        wanted = _asked_for(planned, Act.STORED, store)
        refused: Mapping[Place, str] = {}
        if wanted and not self._dry_run:
            rows = pa.concat_tables([one.row for one, _ in wanted])
            refused = add(self._settings, store, self._prefix + topic, rows)
            done = [one.case.origin for one, _ in wanted if one.place not in refused]
            self._journal.write(stored(origin, store) for origin in done)
        for one, failures in wanted:
            why = refused.get(one.place)
            verdict = Verdict(Act.LEFT, REFUSES) if why else Verdict(Act.STORED)
            self._count(one, failures, verdict, into=store, detail=why or "")

    def _count(
        self, one: Readable, failures: Sequence[Failure], verdict: Verdict, **more: str
    ) -> None:
        for failure in failures:
            self.tally.failure(one.case, failure, verdict, **more)


def _asked_for(
    planned: Planned, act: Act, connector: str | None = None
) -> list[tuple[Readable, list[Failure]]]:
    """The messages of which this is done about a letter that is asked for, with those letters."""
    found = []
    for one, plan in planned:
        failures = [
            failure
            for failure, each in plan.items()
            if each.act is act and connector in (None, failure[0])
        ]
        if not set(failures).isdisjoint(one.case.known.asked):
            found.append((one, failures))
    return found


def _time(row: pa.Table) -> datetime:
    """When the event happened; what is no event lies in no future."""
    found: datetime = (
        row["time"][0].as_py() if "time" in row.column_names else datetime.min.replace(tzinfo=UTC)
    )
    return found


def _parcel(one: Readable) -> Parcel:
    message = one.message
    headers = redriven_headers(message.headers, one.case.story)
    return Parcel(one.case.origin, message.key, message.value, headers)
