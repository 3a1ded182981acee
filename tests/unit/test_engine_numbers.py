"""Numbers of series against a dict, also where hashes collide."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nilo_stream_processors.engine.numbers import Numbers
from nilo_stream_processors.engine.pool import FIRST_CAPACITY


class Colliding(str):
    """Texts of which all have the same hash."""

    __slots__ = ()

    def __hash__(self) -> int:
        return -7


def texts(*found: str) -> np.ndarray:
    """Texts as the engine holds them."""
    return np.array(found, np.object_)


@pytest.mark.parametrize("kind", [str, Colliding])
@given(steps=st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, 200), max_size=90))))
def test_a_text_keeps_its_number_while_it_is_used(
    kind: type[str], steps: list[tuple[bool, list[int]]]
) -> None:
    numbers, held = Numbers(), dict[str, int]()
    for comes, drawn in steps:
        names = [kind(f"series-{each}") for each in drawn]
        if comes:
            found = numbers.named(texts(*names)).tolist()
            new = {name: each for name, each in zip(names, found, strict=True) if name not in held}
            numbers.use(np.array(list(new.values()), np.int64))
            held |= new
            assert found == [held[name] for name in names]
        else:
            gone = {name for name in names if name in held}
            numbers.release(np.array([held.pop(name) for name in gone], np.int64))
        assert len(numbers) == len(set(held.values())) == len(held)
        everyone = [kind(f"series-{each}") for each in range(201)]
        assert numbers.find(texts(*everyone)).tolist() == [held.get(n, -1) for n in everyone]
        assert all(numbers.texts[number] == name for name, number in held.items())


def test_a_text_used_twice_is_forgotten_after_the_second_release() -> None:
    numbers = Numbers()
    number = numbers.named(texts("a"))
    numbers.use(number)
    numbers.use(number)

    numbers.release(number)
    assert numbers.find(texts("a")) == number

    numbers.release(number)
    assert numbers.find(texts("a")) == -1


def test_numbers_of_the_forgotten_are_given_again() -> None:
    numbers = Numbers()
    for turn in range(100):
        found = numbers.named(texts(*(f"{turn}-{n}" for n in range(FIRST_CAPACITY))))
        numbers.use(found)
        numbers.release(found)

    assert len(numbers.texts) == FIRST_CAPACITY
