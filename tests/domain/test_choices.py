"""Which ways are open, what they need, and what stands in the way."""

from __future__ import annotations

import pytest

from xrouter.domain.choices import Choices

NEVER = float("inf")
THREE = Choices(((1, 2), (2, 3), ()), 2)
"""Want 0 is common; the third way needs nothing, and is for what the others cannot answer."""


@pytest.mark.parametrize(
    "waits,opened,refused",
    [
        ((0, 0, 0, 0), (0, 1, 2), -1),
        ((0, 5, 0, 0), (1, 2), -1),
        ((0, 0, 0, 5), (0, 2), -1),
        ((9, 0, 0, 0), (0, 1, 2), 0),
        ((9, 5, 5, 5), (2,), 0),
        ((0, 0, 5, 0), (2,), 2),
        ((0, 7, 0, 5), (2,), 3),
        ((0, 7, 8, 5), (2,), 2),
        ((0, NEVER, 0, 5), (2,), 3),
        ((0, NEVER, 0, NEVER), (2,), 1),
    ],
)
def test_what_is_open(waits: tuple[float, ...], opened: tuple[int, ...], refused: int) -> None:
    assert THREE.open(waits) == opened
    assert THREE.refused(waits) == refused


def test_what_is_held() -> None:
    assert THREE.held(4, (0, 1, 2)) == [0, 1, 2, 3]
    assert THREE.held(4, (1, 2)) == [0, 2, 3]
    assert THREE.held(4, (2,)) == [0]
    assert THREE.firm(4, (1, 2)) == {0, 2, 3}
    assert THREE.firm(4, (0, 1)) == {0, 1, 2}
