"""Every address of the document with values that no database can keep or count: never a defect."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from tests.control.conftest import Api

pytestmark = pytest.mark.parametrize("db_url", ["postgresql"], indirect=True)
"""It is the strict one: text without NUL, numbers of their size."""

VALUES: tuple[Any, ...] = ("\x00", "\ud800", 2**31, 10**400)
BODIES: tuple[Any, ...] = ("\ud800", 10**400, {"\x00": "\x00"})
GOOD = {"month": "2026-01", "kind": "act", "account": "project:default"}
ENDLESS = "/control/v1/health/events"


def resolved(document: Any, schema: Any) -> Any:
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def escaped(value: object) -> str:
    return quote(str(value).encode("utf-8", "surrogatepass"), safe="")


def addresses(path: str, parameters: list[Any]) -> Iterator[str]:
    """Each parameter with each value; the others as they may be."""
    names = re.findall(r"\{(\w+)\}", path)
    good = {name: GOOD.get(name, "1") for name in names}
    for name in names:
        for value in VALUES:
            yield path.format(**{**good, name: escaped(value)})
    for parameter in parameters:
        if parameter["in"] == "query":
            for value in VALUES:
                yield f"{path.format(**good)}?{parameter['name']}={escaped(value)}"
    if not names:
        yield path


def bodies(schema: Any) -> Iterator[dict[str, Any]]:
    needed = dict.fromkeys(schema.get("required", ()), "default")
    for name in schema.get("properties", ()):
        for value in BODIES:
            yield {**needed, name: value}


async def test_no_value_is_a_defect(api: Api) -> None:
    document = (await api.http.get("/control/v1/openapi.json")).json()
    headers = {"content-type": "application/json", "idempotency-key": "a-key"}
    asked, defects = 0, list[Any]()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            tries: list[tuple[str, bytes]] = []
            if method in ("get", "delete") and path != ENDLESS:
                tries = [(each, b"") for each in addresses(path, operation.get("parameters", []))]
            elif "requestBody" in operation:
                content = operation["requestBody"]["content"]
                schema = resolved(document, content["application/json"].get("schema", {}))
                where = path.format(**dict.fromkeys(re.findall(r"\{(\w+)\}", path), "1") | GOOD)
                tries = [(where, json.dumps(body).encode()) for body in bodies(schema)]
            for where, body in tries:
                asked += 1
                reply = await api.http.request(method, where, content=body, headers=headers)
                if reply.status_code == 500:
                    defects.append((method, where, body[:200]))
    assert defects == []
    assert asked > 1000
