"""Hand-written bad input to the running product: each gets its own 4xx, in the one envelope."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from tests.clients.served import Answer, Product, ask, eventually

MODEL = "openai/gpt-4o-mini"
EMBEDDER = "openai/text-embedding-3-small"
HELLO = [{"role": "user", "content": "Hello"}]
CAP = 1 << 20

CHAT = "/v1/chat/completions"
EMBEDDINGS = "/v1/embeddings"


@pytest.fixture(scope="module")
def product() -> Iterator[Product]:
    running = Product(XROUTER_MAX_BODY=str(CAP))
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def key(product: Product) -> str:
    return str(product.new_key("bad input")["key"])


class Bad(NamedTuple):
    """A body and what it must get. param: None where no field is at fault."""

    name: str
    body: bytes
    code: str | None
    param: str | None = None
    status: int = 400


def chat(**fields: Any) -> bytes:
    """A good chat but for these fields; `...` takes one away."""
    body = {"model": MODEL, "messages": HELLO} | fields
    return json.dumps({name: value for name, value in body.items() if value is not ...}).encode()


def said(**message: Any) -> bytes:
    return chat(messages=[*HELLO, message])


def raw(text: bytes) -> bytes:
    """A good chat with this in the place of the text, quotes included."""
    return chat(messages=[{"role": "user", "content": "HERE"}]).replace(b'"HERE"', text)


def number(name: str, text: bytes) -> bytes:
    """A good chat with this literal as a parameter."""
    return chat(**{name: "HERE"}).replace(b'"HERE"', text)


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


BODIES = [
    Bad("nothing", b"", None),
    Bad("a half", b'{"model": "' + MODEL.encode(), None),
    Bad("no JSON", b"model=x&messages=y", None),
    Bad("a comma too many", chat()[:-1] + b",}", None),
    Bad("something behind", chat() + b"{}", None),
    Bad("a byte order mark", b"\xef\xbb\xbf" + chat(), None),
    Bad("UTF-16", chat().decode().encode("utf-16"), None),
    Bad("single quotes", b"{'model': 'x'}", None),
    Bad("NaN", number("temperature", b"NaN"), None),
    Bad("Infinity", number("temperature", b"-Infinity"), None),
    Bad("a control character", raw(b'"a\x00b"'), None),
    Bad("bytes that are no UTF-8", raw(b'"\xff\xfe"'), None),
    Bad("a cut letter", raw(b'"\xd0"'), None),
    Bad("an overlong slash", raw(b'"\xc0\xaf"'), None),
    Bad("a surrogate in bytes", raw(b'"\xed\xa0\x80"'), None),
    Bad("a lone surrogate", raw(b'"\\ud800"'), None),
    Bad("a surrogate the wrong way round", raw(b'"\\udc00\\ud800"'), None),
    Bad("an array", b"[]", "invalid_type"),
    Bad("null", b"null", "invalid_type"),
    Bad("a text", b'"Hello"', "invalid_type"),
    Bad("a number", b"1", "invalid_type"),
    Bad("deep arrays", nested(100_000), "invalid_type"),
    Bad("deep text", raw(nested(50_000)), None),
    Bad("a deep unknown parameter", number("unknown", nested(50_000)), None),
    Bad("deep objects", number("metadata", b'{"a":' * 20_000 + b"1" + b"}" * 20_000), None),
    Bad(
        "a deep tool", number("tools", b"[" + b'{"a":' * 20_000 + b"1" + b"}" * 20_000 + b"]"), None
    ),
    Bad("an empty object", b"{}", "missing_required_parameter", "model"),
    Bad("no model", chat(model=...), "missing_required_parameter", "model"),
    Bad("no messages", chat(messages=...), "missing_required_parameter", "messages"),
    Bad("null messages", chat(messages=None), "invalid_type", "messages"),
    Bad("empty messages", chat(messages=[]), "empty_array", "messages"),
    Bad("messages as text", chat(messages="Hello"), "invalid_type", "messages"),
    Bad("messages as object", chat(messages=HELLO[0]), "invalid_type", "messages"),
    Bad("a null message", chat(messages=[None]), "invalid_type", "messages[0]"),
    Bad("a text message", chat(messages=["Hello"]), "invalid_type", "messages[0]"),
    Bad("the second message", chat(messages=[*HELLO, 1]), "invalid_type", "messages[1]"),
    Bad("no role", said(content="x"), "missing_required_parameter", "messages[1].role"),
    Bad("an unknown role", said(role="robot", content="x"), "invalid_value", "messages[1].role"),
    Bad("a role of a wrong type", said(role=1), "invalid_type", "messages[1].role"),
    Bad("no content", said(role="user"), "invalid_type", "messages[1].content"),
    Bad("null content", said(role="user", content=None), "invalid_type", "messages[1].content"),
    Bad("no parts", said(role="user", content=[]), "empty_array", "messages[1].content"),
    Bad("content as a number", said(role="user", content=1), "invalid_type", "messages[1].content"),
    Bad(
        "content as an object", said(role="user", content={}), "invalid_type", "messages[1].content"
    ),
    Bad(
        "a part as text",
        said(role="user", content=["x"]),
        "invalid_type",
        "messages[1].content[0]",
    ),
    Bad(
        "a part without type",
        said(role="user", content=[{"text": "x"}]),
        "missing_required_parameter",
        "messages[1].content[0].type",
    ),
    Bad(
        "a result without a call",
        said(role="tool", content="x"),
        "missing_required_parameter",
        "messages[1].tool_call_id",
    ),
    Bad(
        "calls of a wrong type",
        said(role="assistant", tool_calls={}),
        "invalid_type",
        "messages[1].tool_calls",
    ),
    Bad("an empty model", chat(model=""), "empty_string", "model"),
    Bad("a null model", chat(model=None), "invalid_type", "model"),
    Bad("a model as a list", chat(model=[MODEL]), "invalid_type", "model"),
    Bad("a very long model", chat(model="m" * 513), "string_above_max_length", "model"),
    Bad("an unknown model", chat(model="openai/gpt-99"), "model_not_found", "model", 404),
    Bad("a model without provider", chat(model="gpt-4o-mini"), "model_not_found", "model", 404),
    Bad("an unknown channel", chat(model=MODEL + ":no"), "model_not_found", "model", 404),
    Bad("a strange model", chat(model="../../etc/passwd\x00"), "model_not_found", "model", 404),
    Bad("an embedder that is to chat", chat(model=EMBEDDER), "unsupported_operation", "model"),
    Bad("zero max_tokens", chat(max_tokens=0), "integer_below_min_value", "max_tokens"),
    Bad("negative max_tokens", chat(max_tokens=-1), "integer_below_min_value", "max_tokens"),
    Bad(
        "zero max_completion_tokens",
        chat(max_completion_tokens=0),
        "integer_below_min_value",
        "max_completion_tokens",
    ),
    Bad("half a token", chat(max_tokens=1.5), "invalid_type", "max_tokens"),
    Bad("max_tokens as text", chat(max_tokens="7"), "invalid_type", "max_tokens"),
    Bad("max_tokens as a truth", chat(max_tokens=True), "invalid_type", "max_tokens"),
    Bad("huge max_tokens", chat(max_tokens=10**40), "integer_above_max_value", "max_tokens"),
    Bad("max_tokens over 64 bits", chat(max_tokens=2**63), "integer_above_max_value", "max_tokens"),
    Bad("a huge seed", chat(seed=2**63), "integer_above_max_value", "seed"),
    Bad("a huge negative seed", chat(seed=-(2**63) - 1), "integer_below_min_value", "seed"),
    Bad("n of zero", chat(n=0), "integer_below_min_value", "n"),
    Bad("a negative n", chat(n=-3), "integer_below_min_value", "n"),
    Bad("a huge n", chat(n=10**30), "integer_above_max_value", "n"),
    Bad("n over the limit", chat(n=129), "integer_above_max_value", "n"),
    Bad("a negative temperature", chat(temperature=-0.1), "decimal_below_min_value", "temperature"),
    Bad("too hot", chat(temperature=2.1), "decimal_above_max_value", "temperature"),
    Bad("endlessly hot", number("temperature", b"1e999"), "invalid_value", "temperature"),
    Bad("temperature as text", chat(temperature="1"), "invalid_type", "temperature"),
    Bad("top_p over one", chat(top_p=1.1), "decimal_above_max_value", "top_p"),
    Bad("a low penalty", chat(presence_penalty=-3), "decimal_below_min_value", "presence_penalty"),
    Bad(
        "a high penalty", chat(frequency_penalty=3), "decimal_above_max_value", "frequency_penalty"
    ),
    Bad("top_logprobs over 20", chat(top_logprobs=21), "integer_above_max_value", "top_logprobs"),
    Bad("logprobs as a number", chat(logprobs=1), "invalid_type", "logprobs"),
    Bad("five stops", chat(stop=list("abcde")), "array_above_max_length", "stop"),
    Bad("stop as a number", chat(stop=1), "invalid_type", "stop"),
    Bad("a stop as a number", chat(stop=["a", 1]), "invalid_type", "stop[1]"),
    Bad("stream as text", chat(stream="true"), "invalid_type", "stream"),
    Bad("options without a stream", chat(stream_options={}), "invalid_value", "stream_options"),
    Bad(
        "options of a wrong type",
        chat(stream=True, stream_options=[]),
        "invalid_type",
        "stream_options",
    ),
    Bad(
        "include_usage as text",
        chat(stream=True, stream_options={"include_usage": "yes"}),
        "invalid_type",
        "stream_options.include_usage",
    ),
    Bad("tools as an object", chat(tools={}), "invalid_type", "tools"),
    Bad("a tool as text", chat(tools=["x"]), "invalid_type", "tools[0]"),
    Bad("a choice as a number", chat(tool_choice=1), "invalid_type", "tool_choice"),
    Bad("a format as text", chat(response_format="json"), "invalid_type", "response_format"),
    Bad("bias as a list", chat(logit_bias=[]), "invalid_type", "logit_bias"),
]


def embed(**fields: Any) -> bytes:
    body = {"model": EMBEDDER, "input": "Hello"} | fields
    return json.dumps({name: value for name, value in body.items() if value is not ...}).encode()


TEXTS = [
    Bad("no JSON", b"{", None),
    Bad("no UTF-8", embed(input="HERE").replace(b"HERE", b"\xff"), None),
    Bad("a lone surrogate", embed(input="HERE").replace(b"HERE", b"\\ud800"), None),
    Bad("no input", embed(input=...), "missing_required_parameter", "input"),
    Bad("null input", embed(input=None), "invalid_type", "input"),
    Bad("a number", embed(input=1), "invalid_type", "input"),
    Bad("an empty text", embed(input=""), "empty_string", "input"),
    Bad("no texts", embed(input=[]), "empty_array", "input"),
    Bad("an empty text among others", embed(input=["a", ""]), "empty_string", "input[1]"),
    Bad("a null among others", embed(input=["a", None]), "invalid_type", "input[1]"),
    Bad("tokens", embed(input=[1, 2]), "unsupported_value", "input"),
    Bad("lists of tokens", embed(input=[[1, 2], [3]]), "unsupported_value", "input"),
    Bad("too many texts", embed(input=["a"] * 2049), "array_above_max_length", "input"),
    Bad("no dimensions", embed(dimensions=0), "integer_below_min_value", "dimensions"),
    Bad("negative dimensions", embed(dimensions=-1), "integer_below_min_value", "dimensions"),
    Bad("half a dimension", embed(dimensions=1.5), "invalid_type", "dimensions"),
    Bad("huge dimensions", embed(dimensions=10**30), "integer_above_max_value", "dimensions"),
    Bad("an unknown encoding", embed(encoding_format="hex"), "invalid_value", "encoding_format"),
    Bad("a chat model", embed(model=MODEL), "unsupported_operation", "model"),
    Bad("an unknown model", embed(model="no/such"), "model_not_found", "model", 404),
]


def error_of(answer: Answer, status: int) -> dict[str, Any]:
    """The error, after checking what all errors have in common."""
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"].startswith("req_")
    assert answer.json().keys() == {"error"}
    error: dict[str, Any] = answer.json()["error"]
    assert {"message", "type", "param", "code"} <= error.keys() <= _KEYS
    assert isinstance(error["message"], str)
    assert error["message"]
    assert len(error["message"]) < 2000
    assert isinstance(error["type"], str)
    return error


_KEYS = {"message", "type", "param", "code", "hint"}


def send(product: Product, key: str, path: str, body: bytes, **headers: str) -> Answer:
    fields = {"authorization": f"Bearer {key}", "content-type": "application/json"} | headers
    return ask(product.url + path, "POST", body, fields)


@pytest.mark.parametrize("bad", BODIES, ids=[bad.name for bad in BODIES])
def test_a_bad_chat(product: Product, key: str, bad: Bad) -> None:
    error = error_of(send(product, key, CHAT, bad.body), bad.status)
    assert (error["type"], error["code"]) == ("invalid_request_error", bad.code), error
    assert error["param"] == bad.param, error


@pytest.mark.parametrize("bad", TEXTS, ids=[bad.name for bad in TEXTS])
def test_a_bad_embedding(product: Product, key: str, bad: Bad) -> None:
    error = error_of(send(product, key, EMBEDDINGS, bad.body), bad.status)
    assert (error["type"], error["code"]) == ("invalid_request_error", bad.code), error
    assert error["param"] == bad.param, error


GOOD = {
    "an unknown parameter of a message": chat(
        messages=[{"role": "user", "content": "Hello", "colour": "red"}], model="yandex/yandexgpt"
    ),
    "an escaped pair of surrogates": raw(b'"\\ud83d\\ude42 Hello"'),
    "a letter by its number": raw(b'"\\u041f\\u0440\\u0438 Hello"'),
    "an empty text before": chat(messages=[{"role": "user", "content": ""}, *HELLO]),
    "whitespace around": b" \r\n\t" + chat() + b"\n ",
    "fields in another order": b'{"messages": %b, "model": "%b"}'
    % (json.dumps(HELLO).encode(), MODEL.encode()),
    "nested as deep as people do": chat(metadata={}, model="yandex/yandexgpt", x=[[[[[[{}]]]]]]),
    "the largest numbers": chat(seed=2**63 - 1, temperature=2.0, top_p=1, n=1),
    "the smallest numbers": chat(seed=-(2**63), temperature=0, top_p=0, max_tokens=1),
    "an integer written as a decimal": number("temperature", b"1"),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_is_only_unusual_is_answered(product: Product, key: str, name: str) -> None:
    answer = send(product, key, CHAT, GOOD[name])
    assert answer.status == 200, answer.body
    assert answer.json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "", "\t;"])
def test_the_content_type_does_not_matter(product: Product, key: str, kind: str) -> None:
    answer = ask(
        product.url + CHAT,
        "POST",
        chat(),
        {"authorization": f"Bearer {key}", "content-type": kind},
    )
    assert answer.status == 200, answer.body


# Sizes


def test_a_body_that_says_it_is_too_large(product: Product, key: str) -> None:
    """The answer comes before the body does."""
    parts = urlsplit(product.url)
    assert parts.hostname is not None
    with socket.create_connection((parts.hostname, parts.port or 80), timeout=30) as sock:
        sock.sendall(
            f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
            f"content-length: {1 << 40}\r\n\r\n".encode()
        )
        reply = http.client.HTTPResponse(sock)
        reply.begin()
        headers = {name.lower(): value for name, value in reply.getheaders()}
        error = error_of(Answer(reply.status, headers, reply.read()), 413)
        assert headers["connection"] == "close"
    assert error["code"] == "request_too_large"


def test_a_body_that_is_too_large(product: Product, key: str) -> None:
    error = error_of(send(product, key, CHAT, raw(b'"%b"' % (b"a" * CAP))), 413)
    assert error["code"] == "request_too_large"


def test_a_body_of_unknown_length_that_is_too_large(product: Product, key: str) -> None:
    parts = urlsplit(product.url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    piece = b"a" * (CAP // 8)
    try:
        connection.request(
            "POST",
            CHAT,
            iter([piece] * 9),
            {"authorization": f"Bearer {key}"},
            encode_chunked=True,
        )
        reply = connection.getresponse()
        headers = {name.lower(): value for name, value in reply.getheaders()}
        error = error_of(Answer(reply.status, headers, reply.read()), 413)
    finally:
        connection.close()
    assert error["code"] == "request_too_large"


def test_a_body_just_small_enough(product: Product, key: str) -> None:
    room = CAP - len(raw(b'""'))
    answer = send(product, key, CHAT, raw(b'"%b"' % (b"a " * (room // 2))))
    assert answer.status in (200, 400), answer.body  # 400: the model's context


def test_a_body_that_inflates_too_much(product: Product, key: str) -> None:
    bomb = gzip.compress(raw(b'"%b"' % (b"a" * 50 * CAP)))
    assert len(bomb) < CAP // 8
    error = error_of(send(product, key, CHAT, bomb, **{"content-encoding": "gzip"}), 413)
    assert error["code"] == "request_too_large"


def test_a_compressed_body_is_read(product: Product, key: str) -> None:
    packed = gzip.compress(chat())
    assert send(product, key, CHAT, packed, **{"content-encoding": "gzip"}).status == 200


ENCODINGS: list[tuple[str, bytes, int, str]] = [
    ("gzip", chat(), 400, "invalid_encoding"),
    ("gzip", gzip.compress(chat())[:-9], 400, "invalid_encoding"),
    ("deflate", b"\x00\x01", 400, "invalid_encoding"),
    ("rot13", chat(), 415, "unsupported_content_encoding"),
    ("gzip, gzip", gzip.compress(gzip.compress(chat())), 415, "unsupported_content_encoding"),
]


@pytest.mark.parametrize("encoding, body, status, code", ENCODINGS, ids=range(len(ENCODINGS)))
def test_a_bad_encoding(
    product: Product, key: str, encoding: str, body: bytes, status: int, code: str
) -> None:
    answer = send(product, key, CHAT, body, **{"content-encoding": encoding})
    assert error_of(answer, status)["code"] == code


def test_many_messages(product: Product, key: str) -> None:
    answer = send(product, key, CHAT, chat(messages=HELLO * 20_000, model="yandex/yandexgpt"))
    assert answer.status in (200, 400), answer.body


# Keys

KEYS: dict[str, dict[str, str]] = {
    "none": {},
    "an empty one": {"authorization": "Bearer "},
    "no scheme, no key": {"authorization": ""},
    "another scheme": {"authorization": "Basic eDp5"},
    "a stranger's": {"authorization": "Bearer sk-xr-" + "A" * 43},
    "another provider's": {"authorization": "Bearer sk-proj-abcdef"},
    "a very long one": {"authorization": "Bearer " + "k" * 8000},
    "strange letters": {"authorization": "Bearer ключ".encode().decode("latin-1")},
    "in another header": {"api-key": "nonsense"},
    "in a third header": {"x-api-key": "nonsense"},
    "empty in another header": {"api-key": " "},
}


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize(
    "method, path, body",
    [("POST", CHAT, chat()), ("POST", EMBEDDINGS, embed()), ("GET", "/v1/models", None)],
    ids=["chat", "embeddings", "models"],
)
def test_a_dead_key(
    product: Product, name: str, method: str, path: str, body: bytes | None
) -> None:
    answer = ask(product.url + path, method, body, KEYS[name])
    error = error_of(answer, 401)
    assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_api_key")
    sent = KEYS[name].get("authorization", "").removeprefix("Bearer ").strip()
    assert not sent or sent not in answer.body.decode()


def test_a_revoked_and_an_expired_key(product: Product) -> None:
    made = product.new_key("to be revoked")
    headers = {"authorization": f"Bearer {made['key']}"}
    assert product.control(f"/keys/{made['key_id']}/revoke", "POST").status == 200
    eventually(
        lambda: ask(f"{product.url}/v1/models", headers=headers).status == 401, "it is revoked"
    )
    assert error_of(ask(product.url + CHAT, "POST", chat(), headers), 401)


def test_two_different_keys(product: Product, key: str) -> None:
    headers = {"authorization": f"Bearer {key}", "api-key": "another"}
    answer = ask(product.url + CHAT, "POST", chat(), headers)
    assert error_of(answer, 400)["code"] == "conflicting_credentials"


def test_the_same_key_twice(product: Product, key: str) -> None:
    headers = {"authorization": f"Bearer {key}", "api-key": key, "x-api-key": key}
    assert ask(product.url + CHAT, "POST", chat(), headers).status == 200


# Addresses

NOWHERE: list[tuple[str, str, int]] = [
    ("GET", "/v1/nothing", 404),
    ("POST", "/v1/", 404),
    ("GET", "/v1/chat/completions", 405),
    ("PUT", "/v1/chat/completions", 405),
    ("DELETE", "/v1/models/openai/gpt-4o", 405),
    ("POST", "/v1/models", 405),
    ("PATCH", "/v1/embeddings", 405),
    ("GET", "/v1/models/no/such", 404),
    ("GET", "/v1/models/%00", 404),
    ("GET", "/v1/models/%ff%fe", 404),
    ("GET", "/v1/models/" + "a" * 5000, 404),
    ("GET", "/v1/models/..%2f..%2fetc%2fpasswd", 404),
    ("POST", "//v1/chat/completions", 404),
    ("POST", "/v1/chat/completions/extra", 404),
    ("POST", "/v1/../v1/chat/completions", 404),
    ("GET", "/nothing", 404),
    ("POST", "/health/live", 405),
    ("POST", "/metrics", 405),
    ("GET", "/control/v1/nothing", 404),
]


@pytest.mark.parametrize(
    "method, path, status", NOWHERE, ids=[f"{m} {p[:40]}" for m, p, _ in NOWHERE]
)
def test_a_wrong_address(product: Product, key: str, method: str, path: str, status: int) -> None:
    secret = product.admin_token if path.startswith("/control") else key
    headers = {"authorization": f"Bearer {secret}"}
    answer = ask(product.url + path, method, b"{}" if method == "POST" else None, headers)
    error_of(answer, status)
    if status == 405:
        assert method not in answer.headers["allow"].split(", ")


CONTROL: list[tuple[str, str, bytes, int]] = [
    ("POST", "/keys", b"{", 400),
    ("POST", "/keys", b"", 400),
    ("POST", "/keys", b"[]", 400),
    ("POST", "/keys", b'{"name": "\xff"}', 400),
    ("POST", "/keys", b'{"name": "\\ud800"}', 400),
    ("POST", "/keys", b'{"name": "x", "rpm": 0}', 400),
    ("POST", "/keys", b'{"name": "x", "rpm": -1}', 400),
    ("POST", "/keys", b'{"name": "x", "rpm": 1e400}', 400),
    ("POST", "/keys", b'{"name": "x", "rpm": NaN}', 400),
    ("POST", "/keys", b'{"name": "x", "rpm": 99999999999999999999999}', 400),
    ("POST", "/keys", b'{"name": "x", "surprise": 1}', 400),
    ("POST", "/keys", b'{"name": "x", "expires_at": "9999-99-99T00:00:00Z"}', 400),
    ("POST", "/keys", b'{"name": "x", "expires_at": 1e300}', 400),
    ("POST", "/keys", nested(100_000), 400),
    ("POST", "/models", b'{"model_id": "nobody/y", "provider": "nobody"}', 404),
    ("POST", "/providers", b'{"name": "x", "base_url": "ftp://x"}', 400),
    ("POST", "/providers", b'{"name": "X Y", "base_url": "http://x"}', 400),
    ("PATCH", "/providers/nobody", b"{}", 404),
    ("DELETE", "/providers/nobody", b"", 404),
    ("DELETE", "/models/no/such", b"", 404),
    ("POST", "/keys/nobody/revoke", b"", 404),
    ("GET", "/usage?limit=0", b"", 400),
    ("GET", "/usage?limit=-5", b"", 400),
    ("GET", "/usage?limit=99999999999999999999", b"", 400),
    ("GET", "/usage?since=yesterday", b"", 400),
    ("GET", "/usage?since=99999999999999999", b"", 400),
    ("GET", "/usage?after=%00", b"", 400),
    ("GET", "/usage/summary?group_by=moon", b"", 400),
    ("GET", "/models?limit=many", b"", 400),
    ("GET", "/models?surprise=1", b"", 400),
]


@pytest.mark.parametrize(
    "method, path, body, status", CONTROL, ids=[f"{m} {p} {b[:40]!r}" for m, p, b, _ in CONTROL]
)
def test_a_bad_request_to_the_control_api(
    product: Product, method: str, path: str, body: bytes, status: int
) -> None:
    headers = {
        "authorization": f"Bearer {product.admin_token}",
        "content-type": "application/json",
    }
    answer = ask(f"{product.url}/control/v1{path}", method, body or None, headers)
    assert error_of(answer, status)["type"] == "invalid_request_error"


@pytest.mark.parametrize("secret", ["", "nonsense", "sk-xr-" + "A" * 43])
def test_the_control_api_wants_its_own_token(product: Product, key: str, secret: str) -> None:
    for token in (secret, key):
        headers = {"authorization": f"Bearer {token}"}
        for path in ("/keys", "/nothing", "/state"):
            error_of(ask(f"{product.url}/control/v1{path}", headers=headers), 401)


def test_after_all_this_it_still_answers(product: Product, key: str) -> None:
    assert send(product, key, CHAT, chat()).status == 200
    assert ask(f"{product.url}/health/ready").json()["status"] == "ready"
    log = product.log()
    assert "Traceback" not in log
    assert "defect" not in log
