"""Providers that are data: one TOML file in `rows/` each, named after the provider.

    provider        its name, as in `provider/model`; the same as the file's
    display_name    its name for people
    base_url        where it usually is
    adapter_class   dotted path of the adapter that speaks its language
    [options]       options of the adapter, where it has habits of its own
    [features]      what the service makes of a feature where it differs from the adapter's word:
                    names and degrees of `domain.abilities`
    [environment]   the variables that register an endpoint, fields of `EnvironmentSpec`
    [detect]        path, contains: a GET of `path` at the host's root answers 200 with this text
    [[models]]      name, display_name, kind, context_length: the models it is known to have

Only the first four are needed.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from xrouter.domain.abilities import Degree, Feature
from xrouter.domain.catalog import Kind
from xrouter.providers.base import EnvironmentSpec

FOLDER = Path(__file__).parent / "rows"


class RowError(Exception):
    """What is wrong with a row: names the file and the key."""


class RowModel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model of the row. name: the provider's own; context_length: tokens."""

    name: str
    display_name: str | None = None
    kind: Kind = "chat"
    context_length: int | None = None


class RowDetect(Struct, frozen=True, forbid_unknown_fields=True):
    """How the service is recognised: `contains` is in the answer to a GET of `path`."""

    path: str
    contains: str


class Row(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One provider."""

    provider: str
    display_name: str
    base_url: str
    adapter_class: str
    options: dict[str, str] = {}
    features: dict[Feature, Degree] = {}
    environment: EnvironmentSpec | None = None
    detect: RowDetect | None = None
    models: tuple[RowModel, ...] = ()


@cache
def rows() -> dict[str, Row]:
    """All rows that ship with us, by provider. Raises RowError."""
    return read_rows(FOLDER)


def read_rows(folder: Path) -> dict[str, Row]:
    """The rows of a folder, by provider, in the order of their names. Raises RowError."""
    found = [_read(file) for file in sorted(folder.glob("*.toml"))]
    return {row.provider: row for row in found}


def _read(file: Path) -> Row:
    try:
        data: Any = tomllib.loads(file.read_text(encoding="utf-8"))
        row = msgspec.convert(data, Row)
    except tomllib.TOMLDecodeError as error:
        raise RowError(f"{file.name}: {error}") from None
    except msgspec.ValidationError as error:
        raise RowError(f"{file.name}: {error}") from None
    if row.provider != file.stem:
        raise RowError(f"{file.name}: provider: must be '{file.stem}', as the file is called")
    if not row.base_url.startswith(("https://", "http://")):
        raise RowError(f"{file.name}: base_url: must be an http or https URL")
    return row
