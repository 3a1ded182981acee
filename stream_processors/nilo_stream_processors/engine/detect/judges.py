"""Which judge a rule of each kind has."""

from __future__ import annotations

from collections.abc import Callable

from nilo_schemas.catalogue import Catalogue, Metric
from nilo_schemas.rules import Kind, Rule
from nilo_stream_processors.engine.detect.budget import Budget
from nilo_stream_processors.engine.detect.change import BurnRate, Change
from nilo_stream_processors.engine.detect.drift import Drift
from nilo_stream_processors.engine.detect.feed import Feed
from nilo_stream_processors.engine.detect.ratio import Ratio
from nilo_stream_processors.engine.detect.silence import NoData
from nilo_stream_processors.engine.detect.threshold import Threshold
from nilo_stream_processors.engine.detect.unusual import Anomaly
from nilo_stream_processors.engine.detect.verdicts import Judge

_OF_ONE_SERIES: dict[Kind, Callable[[Rule, Metric, Feed], Judge]] = {
    "threshold": Threshold,
    "change": Change,
    "no_data": NoData,
    "anomaly": Anomaly,
    "burn_rate": BurnRate,
}
_OF_SEVERAL: dict[Kind, Callable[[Rule, Metric], Judge]] = {"budget": Budget, "drift": Drift}


def judge_of(rule: Rule, metric: Metric, feed: Feed, catalogue: Catalogue) -> Judge:
    """The judge of a rule on a feed of its metric."""
    if rule.kind in _OF_ONE_SERIES:
        return _OF_ONE_SERIES[rule.kind](rule, metric, feed)
    if rule.kind in _OF_SEVERAL:
        return _OF_SEVERAL[rule.kind](rule, metric)
    return Ratio(rule, metric, catalogue.metrics[rule.condition().other or ""])
