"""Amounts in words, for documents: rubles and kopecks, in Russian and English."""

from __future__ import annotations

KOPECKS = 100
MOST = 10**15
"""No amount of rubles in words is as large."""

_THOUSAND = 1000
_HUNDRED = 100
_TEN = 10
_TWENTY = 20
_FEW = (2, 3, 4)
_TEENS = range(11, 15)

Forms = tuple[str, str, str]
"""After one, after two, after five."""

_RUBLES: Forms = ("рубль", "рубля", "рублей")
_COPECKS: Forms = ("копейка", "копейки", "копеек")
_SCALES: tuple[Forms, ...] = (
    ("тысяча", "тысячи", "тысяч"),
    ("миллион", "миллиона", "миллионов"),
    ("миллиард", "миллиарда", "миллиардов"),
    ("триллион", "триллиона", "триллионов"),
)
_UNITS = (
    "", "один", "два", "три", "четыре", "пять", "шесть", "семь", "восемь", "девять", "десять",
    "одиннадцать", "двенадцать", "тринадцать", "четырнадцать", "пятнадцать", "шестнадцать",
    "семнадцать", "восемнадцать", "девятнадцать",
)  # fmt: skip
_TENS = (
    "", "", "двадцать", "тридцать", "сорок", "пятьдесят", "шестьдесят", "семьдесят",
    "восемьдесят", "девяносто",
)  # fmt: skip
_HUNDREDS = (
    "", "сто", "двести", "триста", "четыреста", "пятьсот", "шестьсот", "семьсот", "восемьсот",
    "девятьсот",
)  # fmt: skip
_FEMININE = {"один": "одна", "два": "две"}

_ENGLISH = (
    "", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_ENGLISH_TENS = (
    "", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
)  # fmt: skip
_ENGLISH_SCALES = ("thousand", "million", "billion", "trillion")


def russian(kopecks: int) -> str:
    """`Сто двадцать один рубль 02 копейки`. Raises ValueError for what is too large."""
    rubles, rest = _parted(kopecks)
    words = ["минус"] if kopecks < 0 else []
    words += [*_russian(rubles), after(rubles, _RUBLES), f"{rest:02d}", after(rest, _COPECKS)]
    return _sentence(words)


def english(kopecks: int) -> str:
    """`One hundred twenty-one rubles 02 kopecks`. Raises ValueError for what is too large."""
    rubles, rest = _parted(kopecks)
    words = ["minus"] if kopecks < 0 else []
    words += [*_english(rubles), "ruble" if rubles == 1 else "rubles"]
    words += [f"{rest:02d}", "kopeck" if rest == 1 else "kopecks"]
    return _sentence(words)


def after(number: int, forms: Forms) -> str:
    """The form of a Russian noun behind a number."""
    if number % _HUNDRED in _TEENS:
        return forms[2]
    last = number % _TEN
    if last == 1:
        return forms[0]
    return forms[1] if last in _FEW else forms[2]


def _parted(kopecks: int) -> tuple[int, int]:
    rubles, rest = divmod(abs(kopecks), KOPECKS)
    if rubles >= MOST:
        raise ValueError("The amount is too large to be written in words.")
    return rubles, rest


def _groups(number: int) -> list[int]:
    """Groups of three digits, the lowest first."""
    found = []
    while number:
        number, group = divmod(number, _THOUSAND)
        found.append(group)
    return found


def _russian(number: int) -> list[str]:
    words: list[str] = []
    for scale, group in reversed(list(enumerate(_groups(number)))):
        if not group:
            continue
        said = _below(group, _HUNDREDS, _TENS, _UNITS)
        if scale == 1:
            said[-1] = _FEMININE.get(said[-1], said[-1])
        words += said
        if scale:
            words.append(after(group, _SCALES[scale - 1]))
    return words or ["ноль"]


def _english(number: int) -> list[str]:
    words: list[str] = []
    for scale, group in reversed(list(enumerate(_groups(number)))):
        if not group:
            continue
        if group >= _HUNDRED:
            words += [_ENGLISH[group // _HUNDRED], "hundred"]
        tens = _below(group % _HUNDRED, _HUNDREDS, _ENGLISH_TENS, _ENGLISH)
        words += ["-".join(tens)] if tens else []
        if scale:
            words.append(_ENGLISH_SCALES[scale - 1])
    return words or ["zero"]


def _below(
    group: int, hundreds: tuple[str, ...], tens: tuple[str, ...], units: tuple[str, ...]
) -> list[str]:
    """A number below a thousand."""
    rest = group % _HUNDRED
    ten, unit = divmod(rest, _TEN) if rest >= _TWENTY else (0, rest)
    return [word for word in (hundreds[group // _HUNDRED], tens[ten], units[unit]) if word]


def _sentence(words: list[str]) -> str:
    text = " ".join(words)
    return text[0].upper() + text[1:]
