from __future__ import annotations

import pytest

from xrouter.control.explain.service import rubles


@pytest.mark.parametrize(
    "amount,text",
    [(None, None), (0, "0"), (1, "0.000000001"), (1_500_000_000, "1.5"), (10**12, "1000")],
)
def test_amounts_are_decimal_rubles(amount: int | None, text: str | None) -> None:
    assert rubles(amount) == text
