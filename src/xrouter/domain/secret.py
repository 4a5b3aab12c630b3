"""A string that does not show itself."""

from __future__ import annotations

from typing_extensions import override


class Secret:
    """Holds a credential; `repr`, `str` and formatting show a mask. `reveal()` gives the text."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The credential itself: only to be put into a request or to be sealed."""
        return self._text

    @override
    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    @override
    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __bool__(self) -> bool:
        return bool(self._text)
