import stat
import threading
from pathlib import Path

import pytest

from nilo_deploy.errors import HomeError
from nilo_deploy.kafka import bootstrap, config_text, listeners
from nilo_deploy.stack import down, external, status, up
from nilo_deploy.state import (
    Choices,
    Home,
    delete_data,
    locked,
    read_choices,
    write_choices,
    write_json,
)
from nilo_schemas.settings import Settings, load_settings


def _choices(brokers: int) -> Choices:
    names = listeners(brokers)
    return Choices(brokers=brokers, ports={name: 20_000 + i for i, name in enumerate(names)})


def _config(brokers: int, node: int = 1) -> dict[str, str]:
    text = config_text(_choices(brokers), node)
    return dict(line.split("=", 1) for line in text.splitlines())


def test_written_json_is_private_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    write_json(tmp_path / "run.json", {"password": "x"})
    write_json(tmp_path / "run.json", {"password": "y"})
    assert stat.S_IMODE((tmp_path / "run.json").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_choices_are_kept(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert read_choices(home) is None
    write_choices(home, _choices(3))
    assert read_choices(home) == _choices(3).model_copy(
        update={"cluster_id": read_choices(home).cluster_id}  # type: ignore[union-attr]  # written
    )


def test_a_damaged_mark_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "stack.json").write_text('{"brokers": ')
    with pytest.raises(HomeError, match=r"stack\.json is damaged"):
        read_choices(Home(tmp_path))


def test_a_folder_with_somebody_elses_kafka_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kafka").mkdir()
    with pytest.raises(HomeError, match="was not made by `nilo up`"):
        write_choices(Home(tmp_path), _choices(1))


def test_delete_removes_ours_and_nothing_else(tmp_path: Path) -> None:
    home = Home(tmp_path)
    write_choices(home, _choices(1))
    elsewhere = tmp_path / "elsewhere"
    for folder in (home.folder("kafka"), tmp_path / "lake", elsewhere):
        folder.mkdir()
        (folder / "file").touch()
    home.folder("registry").symlink_to(elsewhere)
    delete_data(home)
    assert not home.folder("kafka").exists()
    assert not home.mark.exists()
    assert (tmp_path / "lake" / "file").exists()
    assert (elsewhere / "file").exists()


def test_delete_of_an_unmarked_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kafka").mkdir()
    with pytest.raises(HomeError):
        delete_data(Home(tmp_path))
    with pytest.raises(HomeError, match="holds no embedded stack"):
        down(Settings(home=tmp_path), delete=True)
    assert (tmp_path / "kafka").exists()


def test_down_and_status_without_a_stack_leave_no_trace(tmp_path: Path) -> None:
    assert down(Settings(home=tmp_path)) == ()
    assert status(Settings(home=tmp_path)).servers == ()
    assert not status(Settings(home=tmp_path)).up
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("brokers", [2, 3])
def test_another_number_of_brokers_is_refused_with_the_way_out(
    tmp_path: Path, brokers: int
) -> None:
    write_choices(Home(tmp_path), _choices(1))
    with pytest.raises(HomeError, match="down --delete" if brokers == 3 else "1 .* or 3"):
        up(Settings(home=tmp_path), brokers=brokers)


def test_a_home_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HomeError, match="cannot be written"):
        up(Settings(home=tmp_path / "file" / "home"))


def test_the_second_holder_of_the_lock_says_so_and_waits(tmp_path: Path) -> None:
    waits, order = threading.Event(), []

    def second() -> None:
        with locked(tmp_path / ".lock", waits.set):
            order.append("second")

    thread = threading.Thread(target=second)
    with locked(tmp_path / ".lock", pytest.fail):
        thread.start()
        assert waits.wait(10)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_cluster_ids_are_kafka_uuids_without_a_leading_dash() -> None:
    ids = {Choices(brokers=1).cluster_id for _ in range(100)}
    assert len(ids) == 100
    assert all(len(each) == 22 and not each.startswith("-") for each in ids)


def test_one_broker_copies_nothing() -> None:
    config = _config(1)
    copies = [value for key, value in config.items() if key.endswith("replication.factor")]
    assert copies == ["1"] * 4
    assert config["min.insync.replicas"] == "1"
    assert config["auto.create.topics.enable"] == "false"


def test_three_brokers_copy_thrice_and_know_each_other() -> None:
    config = _config(3, node=2)
    copies = [value for key, value in config.items() if key.endswith("replication.factor")]
    assert copies == ["3"] * 4
    assert config["min.insync.replicas"] == "2"
    assert config["node.id"] == "2"
    assert config["controller.quorum.voters"] == (
        "1@127.0.0.1:20003,2@127.0.0.1:20004,3@127.0.0.1:20005"
    )
    assert bootstrap(_choices(3)) == "127.0.0.1:20000,127.0.0.1:20001,127.0.0.1:20002"


def test_every_listener_is_bound_to_the_loopback_only() -> None:
    config = _config(3)
    for name in ("listeners", "advertised.listeners"):
        assert all("://127.0.0.1:" in each for each in config[name].split(","))


def test_external_is_what_flags_or_environment_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # no nilo.toml
    write_json(tmp_path / "run.json", {"database_url": "postgresql://a@b/c"})
    env = {"NILO_HOME": str(tmp_path), "KAFKA_BOOTSTRAP_SERVERS": "broker.example:9092"}
    assert external(load_settings(env=env)) == {"kafka"}
    assert external(load_settings(env={"NILO_HOME": str(tmp_path)})) == frozenset()
