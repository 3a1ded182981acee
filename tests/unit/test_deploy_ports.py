import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from nilo_deploy.errors import PortError
from nilo_deploy.ports import choose_ports, free_port, is_free


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_listening_port_is_not_free(taken: int) -> None:
    assert not is_free(taken)


def test_free_ports_are_distinct_and_below_those_of_outgoing_connections() -> None:
    names = [f"s{number}" for number in range(50)]
    ports = choose_ports(names, {}, {})
    assert len(set(ports.values())) == 50
    assert all(20_000 <= port <= 32_000 for port in ports.values())


def test_kept_ports_are_kept_when_free() -> None:
    first = choose_ports(["a", "b"], {}, {})
    assert choose_ports(["a", "b"], first, {}) == first


def test_a_kept_port_that_is_taken_is_replaced(taken: int) -> None:
    assert choose_ports(["a"], {"a": taken}, {})["a"] != taken


def test_a_running_server_keeps_its_port_although_it_listens_there(taken: int) -> None:
    assert choose_ports(["a"], {"a": taken}, {}, running=["a"]) == {"a": taken}


def test_a_kept_port_gives_way_to_another_server_that_asks_for_it() -> None:
    kept = choose_ports(["a", "b"], {}, {})
    ports = choose_ports(["a", "b"], kept, {"b": kept["a"]})
    assert ports["b"] == kept["a"] != ports["a"]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"zoo": 25_000}, "no such listener"),
        ({"a": 0}, "out of range"),
        ({"a": 70_000}, "out of range"),
        ({"a": 25_000, "b": 25_000}, "twice"),
    ],
)
def test_what_cannot_be_asked_for(asked: dict[str, int], words: str) -> None:
    with pytest.raises(PortError, match=words):
        choose_ports(["a", "b"], {}, asked)


def test_a_taken_port_asked_for_is_an_error_with_its_number(taken: int) -> None:
    with pytest.raises(PortError, match=f"port {taken} for a is taken"):
        choose_ports(["a"], {}, {"a": taken})


def test_another_port_than_the_running_one_is_an_error() -> None:
    with pytest.raises(PortError, match="already runs on port 25000"):
        choose_ports(["a"], {"a": 25_000}, {"a": 25_001}, running=["a"])


def test_ports_in_a_row_are_all_free() -> None:
    first = free_port(row=3)
    with ExitStack() as held:
        for port in range(first, first + 3):
            held.enter_context(socket.create_server(("127.0.0.1", port)))


def test_a_taken_port_is_not_given() -> None:
    free = free_port()
    with pytest.raises(PortError, match="no free port"):
        free_port({*range(1, 65_536)} - {free}, row=2)
