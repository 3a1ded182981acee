"""The whole way, counted at its end: events, workers, `alerts`, the notifier, two receivers.

All lines are played at once, by one worker and one notifier, then by those that follow them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from nilo_producers import Producer
from nilo_schemas.alerts import Alert
from nilo_schemas.settings import Settings
from tests.alerts import published
from tests.integration.drawn_series import CATALOGUE, LETTERS, Drawn, beats, calls, transitions
from tests.integration.hook import Got, Hook, hook
from tests.integration.notifying import notified, with_receivers
from tests.integration.programs import Program, free_port, healthy, running, wait_for

pytestmark = pytest.mark.integration
# Who asks for calm has a group interval of an hour; it is over at !, as the notifier that starts
# then has one of a second.
SERIES = {
    # It rises six times. The third time within 30 windows it is held, until 10 are quiet.
    # Calm: it fires, and when the hour is over it still does; the end is told.
    "storm": Drawn(
        "## . ## . ##.##.## ! .. ## .......... _",
        "PF R PF R PF                        R",
        " F                                  R",
    ),
    # Killed while it is resolved: whoever has been told so is not told again, the other is.
    "over": Drawn(
        "## . .. . ........ ! .. .. .......... _",
        "PF R",
        " F                 R",
    ),
    # Killed while it is without data, for which three windows are missing.
    "back": Drawn(
        "## _ __ _ ________ ! .. .. .......... _",
        "PF    N              R",
        " F                 N R",
    ),
    # It comes no more: after a day it is over.
    "gone": Drawn(
        "## _ __ _ ________ ! __ __ __________ _",
        "PF    N                               R",
        " F                 N                  R",
    ),
    # The same for the rule that asks for three minutes of silence; it is over after a day of it.
    "mute": Drawn(
        ".. _ __ _ ________ ! __ __ __________ _",
        "      F                               R",
        "      F                               R",
    ),
    # Killed while it fires. It also fires while a worker joins, and while the first one leaves.
    "fire": Drawn(
        ".. . .. . ......## ! ## ## .......... _",
        "                PF         R",
        "                 F         R",
    ),
    # Killed while it is pending: then it fires, or does not.
    "pend": Drawn(
        ".. . .. . .......# ! ## ## .......... _",
        "                 P   F     R",
        "                     F     R",
    ),
    "fade": Drawn(
        ".. . .. . .......# ! .. .. .......... _",
        "                 P   I",
        "",
    ),
    # It fires while there are two workers.
    "join": Drawn(
        ".. . .. . ........ ! .. ## .......... _",
        "                        PF R",
        "                         F R",
    ),
}
KILLED, AFTER, TWO_WORKERS, ONE_LEFT, A_DAY = range(5, 10)  # columns
AT_KILL = {
    "storm": "F", "fire": "F", "mute": "F", "back": "N", "gone": "N", "over": "R", "pend": "P",
    "fade": "P",
}  # fmt: skip
WINDOWS, DAY = 29, 1440  # minutes
RECEIVERS = "each", "calm"


@dataclass
class Play:
    """What plays the lines, and what it has come to."""

    settings: Settings
    server: Hook
    folder: Path

    def got(self, receiver: str) -> list[Got]:
        """The notifications that a receiver has got."""
        return [got for got in list(self.server.got) if got.path == f"/{receiver}"]

    def told(self, receiver: str) -> dict[str, str]:
        """What a receiver was told of the alert of each model, in this order."""
        found = dict.fromkeys(SERIES, "")
        for got in self.got(receiver):
            for alert in got.json["alerts"]:
                found[alert["labels"]["model"]] += LETTERS[alert["nilo"]["state"]]
        return found

    def alerts(self) -> list[Alert]:
        """The transitions of our rules on `alerts`."""
        return [alert for alert in published(self.settings) if alert.rule.startswith("Own")]

    def worker(self, port: str) -> AbstractContextManager[Program]:
        log = self.folder / f"worker-{port}.log"
        return running(self.settings, "process", "--metrics-port", port, log=log)

    def notifier(self, interval: str) -> AbstractContextManager[Program]:
        """A notifier; `interval` is the group interval of who asks for calm."""
        usual = {"group_by": ["..."], "group_wait": "0s", "rate_limit": 100}
        usual |= {"matchers": ['alertname=~"Own.*"']}
        receivers = [
            {"name": name, "webhook": f"{self.server.url}/{name}", "group_interval": each, **usual}
            for name, each in zip(RECEIVERS, ("1s", interval), strict=True)
        ]
        mine = with_receivers(self.settings, self.folder, *receivers)
        return running(mine, "sink", "notify", log=self.folder / "notifier.log")

    def play(self, column: int) -> None:
        """Emit the events of a column, and wait until all is told that is drawn in it."""
        with Producer(self.settings) as producer:
            for event in calls(SERIES, column):
                producer.emit(event)
            # Behind the last column there is a day without any of them.
            for event in beats(WINDOWS + DAY) if column == A_DAY else ():
                producer.emit(event)
        for name in RECEIVERS:
            wanted = sum(len(each.told(column, name)) for each in SERIES.values())
            try:
                wait_for(f"column {column}", lambda: len(self.got(name)) >= wanted)  # noqa: B023  called here
            except AssertionError:
                print(f"{wanted} wanted, {name} was told", self.told(name))
                raise

    def states(self) -> dict[str, str]:
        """What the alert of each model is now."""
        return {model: lived[-1][1] for model, lived in transitions(self.alerts()).items()}

    def settle(self) -> None:
        """Wait until all are in the states to kill them in, and no sending is under way."""
        wait_for("each in its state", lambda: self.states() == AT_KILL)
        wait_for(
            "all noted", lambda: {n.phase for n in notified(self.settings).values()} == {"sent"}
        )


@pytest.fixture(scope="module")
def played(module_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Play]:
    """All lines to their ends, with kills and workers that come and go."""
    folder = tmp_path_factory.mktemp("paths")
    catalogue = folder / "catalogue"
    catalogue.mkdir()
    (catalogue / "own.yaml").write_text(CATALOGUE)
    # The clock of events goes on with silence as well: not here, where it is to go by them alone.
    ruled = module_settings.model_copy(update={"catalogue": catalogue, "idle_after": 3600.0})
    first, second = free_port(row=2), free_port(row=2)
    with hook() as server:
        play = Play(ruled, server, folder)
        with play.worker(first) as worker, play.notifier("1h") as notifier:
            for column in range(KILLED):
                play.play(column)
            play.settle()
            for each in (worker, notifier):
                each.kill()
                each.wait()
        with play.worker(first) as worker, play.notifier("1s"):
            for column in (KILLED, AFTER):
                play.play(column)
            with play.worker(second):
                wait_for("second worker", lambda: healthy(second))
                play.play(TWO_WORKERS)
                worker.terminate()
                worker.wait()
                for column in (ONE_LEFT, A_DAY):
                    play.play(column)
        yield play


def test_a_flap_storm_is_told_six_times_and_twice_in_a_group_interval_of_an_hour(
    played: Play,
) -> None:
    assert played.told("each")["storm"] == "FRFRFR"
    assert played.told("calm")["storm"] == "FR"


def test_a_kill_in_each_state_makes_nothing_be_told_twice_and_loses_nothing(played: Play) -> None:
    states = {"over": "FR", "back": "FNR", "fire": "FR", "pend": "FR", "fade": ""}
    for receiver in RECEIVERS:
        told = played.told(receiver)
        assert {model: told[model] for model in states} == states


def test_a_series_that_vanishes_is_told_once_and_its_end_once(played: Play) -> None:
    for receiver in RECEIVERS:
        told = played.told(receiver)
        assert (told["gone"], told["mute"]) == ("FNR", "FR")


def test_workers_that_come_and_go_while_an_alert_fires_change_nothing_of_what_is_told(
    played: Play,
) -> None:
    for receiver in RECEIVERS:
        told = played.told(receiver)
        assert (told["fire"], told["join"], told["pend"]) == ("FR", "FR", "FR")


def test_there_are_as_many_notifications_as_drawn_each_of_one_alert_and_with_its_own_id(
    played: Play,
) -> None:
    assert [len(played.got(receiver)) for receiver in RECEIVERS] == [22, 18]
    assert {len(got.json["alerts"]) for got in played.server.got} == {1}
    assert len({got.headers["Idempotency-Key"] for got in played.server.got}) == 22 + 18


def test_the_transitions_on_the_topic_are_those_drawn_at_their_times(played: Play) -> None:
    drawn = {model: each.transitions for model, each in SERIES.items()}
    # Both were last heard of in the second minute; OwnSilent begins its day three minutes later.
    drawn["gone"][-1], drawn["mute"][-1] = (2 + DAY, "R"), (5 + DAY, "R")
    assert transitions(played.alerts()) == drawn
