from __future__ import annotations

import pytest

from xrouter.control.billing.documents.words import english, russian


@pytest.mark.parametrize(
    "kopecks, words",
    [
        (0, "Ноль рублей 00 копеек"),
        (1, "Ноль рублей 01 копейка"),
        (102, "Один рубль 02 копейки"),
        (205, "Два рубля 05 копеек"),
        (511, "Пять рублей 11 копеек"),
        (1121, "Одиннадцать рублей 21 копейка"),
        (12_100, "Сто двадцать один рубль 00 копеек"),
        (11_214, "Сто двенадцать рублей 14 копеек"),
        (100_000, "Одна тысяча рублей 00 копеек"),
        (234_222, "Две тысячи триста сорок два рубля 22 копейки"),
        (1_100_000, "Одиннадцать тысяч рублей 00 копеек"),
        (2_100_100, "Двадцать одна тысяча один рубль 00 копеек"),
        (51_200_000, "Пятьсот двенадцать тысяч рублей 00 копеек"),
        (100_000_000, "Один миллион рублей 00 копеек"),
        (
            200_000_190_099,
            "Два миллиарда одна тысяча девятьсот рублей 99 копеек",
        ),
        (-4_000, "Минус сорок рублей 00 копеек"),
    ],
)
def test_amounts_in_russian(kopecks: int, words: str) -> None:
    assert russian(kopecks) == words


@pytest.mark.parametrize(
    "kopecks, words",
    [
        (0, "Zero rubles 00 kopecks"),
        (101, "One ruble 01 kopeck"),
        (12_102, "One hundred twenty-one rubles 02 kopecks"),
        (200_000_119_000, "Two billion one thousand one hundred ninety rubles 00 kopecks"),
        (-4_000, "Minus forty rubles 00 kopecks"),
    ],
)
def test_amounts_in_english(kopecks: int, words: str) -> None:
    assert english(kopecks) == words


def test_no_amount_is_beyond_words() -> None:
    assert russian(10**17 - 1).startswith("Девятьсот девяносто девять триллионов ")
    with pytest.raises(ValueError, match="too large"):
        russian(10**17)
