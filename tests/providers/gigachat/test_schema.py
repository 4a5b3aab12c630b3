import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xrouter.domain.errors import InvalidRequest
from xrouter.providers.gigachat.schema import MAX_BYTES, MAX_DEPTH, Budget, normalise

relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

STRING = {"type": "string"}
WIDE = {f"unknown-{number}": 1 for number in range(10_000)}
TYPES = {"object", "array", "string", "number", "integer", "boolean"}

scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=4))
leaves = st.one_of(
    scalars,
    st.fixed_dictionaries({}, optional={"type": st.sampled_from([*sorted(TYPES), "null"])}),
    st.builds(lambda kinds: {"type": kinds}, st.lists(st.sampled_from(["null", "integer"]))),
    st.builds(lambda values: {"enum": values}, st.lists(scalars)),
    st.builds(lambda name: {"$ref": f"#/$defs/{name}"}, st.sampled_from("ab")),
)
schemas = st.recursive(
    leaves,
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "type": st.one_of(st.sampled_from(sorted(TYPES)), scalars),
            "properties": st.one_of(st.dictionaries(st.text(max_size=3), inner), scalars),
            "required": st.one_of(st.lists(st.one_of(st.text(max_size=3), st.just([]))), scalars),
            "items": st.one_of(inner, st.lists(inner)),
            "anyOf": st.one_of(st.lists(inner, max_size=3), scalars),
            "oneOf": st.lists(inner, max_size=3),
            "allOf": st.lists(inner, max_size=3),
            "const": scalars,
            "format": st.one_of(st.sampled_from(["date", "email"]), scalars),
            "description": st.text(max_size=4),
            "additionalProperties": st.one_of(st.booleans(), inner),
        },
    ),
    max_leaves=12,
)


def assert_accepted(schema: Any) -> None:
    """What the backend is known to want."""
    assert isinstance(schema, dict)
    assert schema["type"] in TYPES
    assert not schema.keys() & {"$ref", "$defs", "anyOf", "oneOf", "allOf", "nullable", "const"}
    assert schema.get("format") in (None, "date", "date-time", "time")
    assert all(isinstance(value, str) for value in schema.get("enum", []))
    assert isinstance(schema.get("additionalProperties", False), bool)
    if schema["type"] == "object":
        assert set(schema.get("required", [])) <= schema["properties"].keys()
        for child in schema["properties"].values():
            assert_accepted(child)
    if schema["type"] == "array":
        assert_accepted(schema["items"])


@relaxed
@given(st.dictionaries(st.text(max_size=3), schemas), schemas, schemas)
def test_whatever_comes_becomes_the_subset(
    properties: dict[str, Any], one: Any, other: Any
) -> None:
    definitions = {name: s if isinstance(s, dict) else {} for name, s in zip("ab", (one, other))}  # noqa: B905 - two and two
    schema = {"properties": properties, "$defs": definitions}
    before = json.dumps(schema)
    done = normalise(schema, "p", Budget())
    assert done["type"] == "object"
    assert_accepted(done)
    assert json.dumps(schema) == before


@relaxed
@given(schemas)
def test_what_is_in_the_subset_stays(schema: Any) -> None:
    done = normalise({"properties": {"x": schema}, "$defs": {"a": {}, "b": {}}}, "p", Budget())
    lost: dict[str, None] = {}
    assert normalise(done, "p", Budget(), lost) == done
    assert not lost


@pytest.mark.parametrize(
    "schema,words",
    [
        ({"type": "string", "title": "t", "minLength": 1, "default": "", "examples": ["a"]}, []),
        ({"type": "object", "additionalProperties": {}, "$comment": "c", "$id": "i"}, []),
        ({"enum": [1, 2]}, []),
        ({"enum": [1, None]}, ["enum"]),
        ({"const": "a"}, []),
        ({"type": "string", "const": None}, ["const"]),
        ({"anyOf": [{"type": "string"}]}, []),
        ({"allOf": [{"type": "string"}, {"minLength": 1}]}, []),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, ["anyOf"]),
        ({"oneOf": [{"type": "string"}, {"type": "integer"}]}, ["oneOf"]),
        ({"type": ["string", "null"]}, ["type"]),
        ({"type": "null"}, ["type"]),
        ({"anyOf": [{"type": "null"}]}, ["type"]),
        ({"description": "Anything."}, ["type"]),
        (True, ["type"]),
        ({"type": "array"}, ["type"]),
        ({"type": "string", "nullable": True}, ["nullable"]),
        ({"type": "string", "nullable": False}, []),
        ({"type": "string", "format": "uuid"}, ["format"]),
        ({"type": "object", "patternProperties": {"a": {}}}, ["patternProperties"]),
        ({"type": "object", "additionalProperties": {"type": "string"}}, ["additionalProperties"]),
        ({"type": "object", "properties": {}, "required": ["a"]}, ["required"]),
        ({"type": "array", "prefixItems": [STRING]}, ["prefixItems"]),
        ({"type": "array", "items": [STRING, STRING]}, ["items"]),
        ({"type": "array", "items": {"type": "string", "not": {}}}, ["not"]),
        ({"type": "string", "if": {}, "then": {}, "else": {}}, ["if", "then", "else"]),
        ({"type": "integer", "allOf": [{"minimum": 1}, {"minimum": 2}]}, ["minimum"]),
        ({"allOf": [{"properties": {"a": STRING}}, {"properties": {"b": STRING}}]}, []),
        (
            {"allOf": [{"properties": {"a": STRING}}, {"properties": {"a": {"minLength": 1}}}]},
            ["properties"],
        ),
        ({"$ref": "#"}, ["$ref"]),
        ({"type": "string", "x" * 99: 1}, ["x" * 40]),
    ],
)
def test_what_is_lost_is_named(schema: Any, words: list[str]) -> None:
    lost: dict[str, None] = {}
    normalise({"properties": {"x": schema}}, "p", Budget(), lost)
    assert list(lost) == words


def test_the_words_that_are_lost_are_bounded() -> None:
    lost: dict[str, None] = {}
    normalise({f"k{i}": {} for i in range(1000)}, "p", Budget(), lost)
    assert len(lost) == 32


def test_nothing_and_an_empty_schema_mean_no_parameters() -> None:
    assert normalise(None, "p", Budget()) == {"type": "object", "properties": {}}
    assert normalise({}, "p", Budget()) == {"type": "object", "properties": {}}


def test_the_first_variant_that_is_not_null_is_taken_and_the_schemas_own_words_win() -> None:
    union = {
        "description": "mine",
        "oneOf": [{"type": "null"}, {"type": "integer", "description": "its", "minimum": 0}],
    }
    done = normalise({"properties": {"x": union}}, "p", Budget())
    assert done["properties"]["x"] == {"type": "integer", "description": "mine", "minimum": 0}


def test_values_that_are_not_strings_are_told() -> None:
    schema = {"properties": {"x": {"type": "integer", "enum": [1, 2, None], "description": "N."}}}
    done = normalise(schema, "p", Budget())["properties"]["x"]
    assert done == {"type": "integer", "description": "N. Allowed values: 1, 2."}


def test_a_property_that_is_never_allowed_disappears() -> None:
    done = normalise({"properties": {"x": False, "y": True}, "required": ["x", "y"]}, "p", Budget())
    assert done["properties"] == {"y": {"type": "string"}}
    assert done["required"] == ["y"]


def test_a_schema_that_refers_to_itself_ends() -> None:
    done = normalise(
        {"properties": {"child": {"$ref": "#"}, "n": {"type": "integer"}}}, "p", Budget()
    )
    child = done["properties"]["child"]
    assert child["properties"] == {
        "child": {"type": "object", "properties": {}},
        "n": {"type": "integer"},
    }


def test_pointers_are_unescaped() -> None:
    schema = {
        "properties": {"x": {"$ref": "#/$defs/a~1b~0"}},
        "$defs": {"a/b~": {"type": "number"}},
    }
    assert normalise(schema, "p", Budget())["properties"]["x"] == {"type": "number"}


@pytest.mark.parametrize("reference", ["#/$defs/none", "http://x/schema", "#/properties/x/type"])
def test_a_reference_to_nowhere_is_refused(reference: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        normalise(
            {"properties": {"x": {"$ref": reference, "type": "string"}}}, "tools[0]", Budget()
        )
    assert raised.value.param == "tools[0]"


def bomb() -> dict[str, Any]:
    """Each definition uses the next one ten times."""
    definitions: dict[str, Any] = {
        f"d{i}": {"properties": {f"p{j}": {"$ref": f"#/$defs/d{i + 1}"} for j in range(10)}}
        for i in range(20)
    }
    definitions["d20"] = {"type": "string"}
    return {"properties": {"x": {"$ref": "#/$defs/d0"}}, "$defs": definitions}


def repeated(definition: dict[str, Any]) -> dict[str, Any]:
    """One large definition that is used a hundred times."""
    properties = {f"p{i}": {"$ref": "#/$defs/d"} for i in range(100)}
    return {"properties": properties, "$defs": {"d": definition}}


def nested(key: str, depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"allOf": [schema]} if key == "allOf" else {"properties": {"x": schema}}
    return {"properties": {"x": schema}}


@pytest.mark.parametrize(
    "schema",
    [
        bomb(),
        nested("properties", MAX_DEPTH + 1),
        nested("allOf", MAX_DEPTH + 1),
        {"properties": {f"p{i}": {} for i in range(MAX_BYTES // 64)}},
        {"allOf": [{}] * (MAX_BYTES // 64 + 1)},
        repeated({"description": "x" * 100_000}),
        repeated({"enum": ["x"] * 10_000}),
        repeated({"properties": {}, "required": ["x"] * 10_000}),
        repeated(WIDE),
        repeated({"anyOf": [{"type": "null"}] * 10_000}),
        repeated({"type": ["null"] * 10_000}),
        repeated({"allOf": [{"properties": {"a": WIDE}}, {"properties": {"a": dict(WIDE)}}]}),
        {"allOf": [{"properties": {f"{i}.{j}": {} for j in range(500)}} for i in range(40)]},
    ],
    ids=[
        "references",
        "depth",
        "merging",
        "width",
        "parts",
        "text",
        "enum",
        "required",
        "words",
        "variants",
        "types",
        "comparing",
        "growing",
    ],
)
def test_too_large_schemas_are_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="too large"):
        normalise(schema, "p", Budget())


def test_the_tools_of_a_request_share_their_budget() -> None:
    budget = Budget()
    schema = {"properties": {"x": {"description": "x" * (MAX_BYTES // 2)}}}
    normalise(schema, "tools[0]", budget)
    with pytest.raises(InvalidRequest, match=r"tools\[1\]"):
        normalise(schema, "tools[1]", budget)
