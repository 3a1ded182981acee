"""The detector on the files of NAB, where they are: the goals of `nilo bench anomaly`."""

from __future__ import annotations

import pytest

from tests.bench import nab
from tests.bench.anomaly import GOALS


@pytest.fixture(scope="module")
def held() -> nab.Nab:
    try:
        return nab.load()
    except nab.NoSharedFolderError as missing:
        pytest.skip(str(missing))


def test_one_threshold_reaches_both_goals_on_all_files(held: nab.Nab) -> None:
    scores = nab.run(held).scores
    found = {profile: nab.score(held, scores, profile) for profile in GOALS}
    assert all(found[profile] >= goal for profile, goal in GOALS.items()), found
