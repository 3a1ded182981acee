from pathlib import Path

import pytest

from nilo_deploy import artifacts
from nilo_deploy.errors import DownloadError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "nilometer"


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


def _fill(cache: Path) -> None:
    """Files of the right size where the jars belong (their content is read by nobody here)."""
    (cache / "kafka").mkdir(parents=True)
    for name, artifact in artifacts.lock().items():
        if name.endswith(".jar"):
            with (cache / "kafka" / name).open("wb") as file:
                file.truncate(artifact.size)


def test_the_lock_names_each_file_once_with_a_whole_hash() -> None:
    lock = artifacts.lock()
    assert len(lock) == 47
    assert all(len(bytes.fromhex(each.sha256)) == 32 and each.size > 0 for each in lock.values())
    assert artifacts.version_of("kafka_2.13") == "4.1.1"
    assert artifacts.version_of("kafka-clients") == "4.1.1"
    assert artifacts.version_of("apicurio-registry-app") == "2.6.13.Final"


@pytest.mark.usefixtures("no_network")
def test_without_a_network_the_error_is_one_line_and_nothing_is_left(cache: Path) -> None:
    with pytest.raises(DownloadError, match=r"could not be downloaded .* check the network") as e:
        artifacts.fetch(kafka=True, registry=True, say=lambda _line: None)
    assert "\n" not in str(e.value)
    assert [path.name for path in cache.rglob("*")] == [".lock"]


@pytest.mark.usefixtures("no_network")
def test_what_is_there_is_not_downloaded_again(cache: Path) -> None:
    _fill(cache)
    artifacts.fetch(kafka=True, registry=False, say=pytest.fail)


@pytest.mark.usefixtures("no_network")
def test_a_cut_file_is_downloaded_again_and_leftovers_go(cache: Path) -> None:
    _fill(cache)
    (cache / "staging-old").mkdir()
    cut = next(iter((cache / "kafka").iterdir()))
    cut.write_bytes(b"PK")
    with pytest.raises(DownloadError, match=cut.name):
        artifacts.fetch(kafka=True, registry=False, say=lambda _line: None)
    assert not list(cache.glob("staging-*"))
