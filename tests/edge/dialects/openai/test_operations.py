"""Legacy completions, pictures, counts, and what is passed on, through a real door."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.edge.harness import House

from xrouter.domain.answer import AnswerMessage, ChatAnswer, ChatDelta, Choice, Usage
from xrouter.domain.chat import ChatRequest
from xrouter.domain.counting import TokenCount
from xrouter.domain.errors import UpstreamFailed
from xrouter.domain.images import ImagesAnswer, Picture
from xrouter.domain.ports import Reply, Served

SERVED = Served("acme/one", "1", "acme", "primary", 1)
FORM = (
    b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nacme/one\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n\x00\x01\r\n'
    b"--b--\r\n"
)


def frames(body: bytes) -> list[Any]:
    pieces = [piece.removeprefix(b"data: ") for piece in body.split(b"\n\n") if piece]
    assert pieces[-1] == b"[DONE]"
    return [json.loads(piece) for piece in pieces[:-1]]


async def test_a_prompt_is_continued(house: House) -> None:
    body = {"model": "acme/one", "prompt": ["Once"], "stop": ["."], "temperature": 0}
    answer = await house.call("POST", "/v1/completions", body)
    assert answer.status == 200, answer.body
    told = answer.json
    assert told["id"].startswith("cmpl-")
    assert told["object"] == "text_completion"
    assert told["choices"] == [
        {"text": "Hello", "index": 0, "logprobs": None, "finish_reason": "stop"}
    ]
    assert told["usage"]["total_tokens"] == 5
    (request,) = house.flow.requests
    assert request.max_tokens == 16
    assert request.stop == ["."]
    assert [(m.role, m.content) for m in request.messages] == [("user", "Once")]
    assert set(request.fields) == {"model", "messages", "max_tokens", "stop", "temperature"}


async def test_a_prompt_is_continued_piece_by_piece(house: House) -> None:
    body = {
        "model": "acme/one",
        "prompt": "Once ",
        "echo": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    answer = await house.call("POST", "/v1/completions", body)
    told = frames(answer.body)
    assert [chunk["choices"][0]["text"] for chunk in told[:-1]] == ["Once Hel", "lo", ""]
    assert told[-2]["choices"][0]["finish_reason"] == "stop"
    assert told[-1]["choices"] == []
    assert told[-1]["usage"]["completion_tokens"] == 2


async def test_a_continuation_that_breaks_says_so(house: House) -> None:
    async def breaks(_request: ChatRequest, reply: Reply) -> None:
        await reply.start(SERVED)
        await reply.deltas([ChatDelta(text="Hel")])
        await reply.fail(UpstreamFailed("It broke."))

    house.flow.script = breaks
    body = {"model": "acme/one", "prompt": "x", "stream": True}
    told = frames((await house.call("POST", "/v1/completions", body)).body)
    assert told[-1]["error"]["message"] == "It broke."


async def test_likelihoods_have_their_older_shape(house: House) -> None:
    content = [
        {"token": "Hi", "logprob": -0.1, "top_logprobs": [{"token": "Ho", "logprob": -2.0}]},
        {"token": "!", "logprob": -0.2, "top_logprobs": []},
    ]

    async def likely(_request: ChatRequest, reply: Reply) -> None:
        choice = Choice(AnswerMessage(content="Hi!"), "stop", logprobs={"content": content})
        await reply.answer(ChatAnswer([choice], Usage(1, 2)), SERVED)

    house.flow.script = likely
    body = {"model": "acme/one", "prompt": "x", "logprobs": 1}
    (choice,) = (await house.call("POST", "/v1/completions", body)).json["choices"]
    assert choice["logprobs"] == {
        "tokens": ["Hi", "!"],
        "token_logprobs": [-0.1, -0.2],
        "top_logprobs": [{"Ho": -2.0}, {}],
        "text_offset": [0, 2],
    }
    assert house.flow.requests[0].top_logprobs == 1


@pytest.mark.parametrize(
    "body,param",
    [
        ({}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": "a", "suffix": "z"}, "suffix"),
        ({"prompt": "a", "best_of": 3, "n": 2}, "best_of"),
        ({"prompt": "a", "logprobs": 6}, "logprobs"),
        ({"prompt": "a", "temperature": 3}, "temperature"),
    ],
)
async def test_wrong_completions(house: House, body: dict[str, Any], param: str) -> None:
    answer = await house.call("POST", "/v1/completions", {"model": "acme/one", **body})
    assert (answer.status, answer.error["param"]) == (400, param)


async def test_pictures(house: House) -> None:
    body = {"model": "acme/one", "prompt": "A hedgehog", "n": 2, "background": "opaque"}
    answer = await house.call("POST", "/v1/images/generations", body)
    assert answer.json["data"] == [{"b64_json": "aGk="}]
    assert answer.json["usage"] == {"input_tokens": 5, "output_tokens": 0, "total_tokens": 5}
    (asked,) = house.flow.drawn
    assert (asked.n, bytes(asked.fields["background"])) == (2, b'"opaque"')


async def test_pictures_as_addresses(house: House) -> None:
    pictures = [Picture(b64_json="/9j/AA=="), Picture(url="https://x/y.png")]
    house.flow.pictures = ImagesAnswer(pictures, extra={"size": "1x1"})
    body = {"model": "acme/one", "prompt": "x", "response_format": "url"}
    told = (await house.call("POST", "/v1/images/generations", body)).json
    assert told["data"] == [{"url": "data:image/jpeg;base64,/9j/AA=="}, {"url": "https://x/y.png"}]
    assert told["size"] == "1x1"


@pytest.mark.parametrize(
    "body,param",
    [
        ({}, "prompt"),
        ({"prompt": "x", "n": 11}, "n"),
        ({"prompt": "x", "response_format": "svg"}, "response_format"),
        ({"prompt": "x", "stream": True}, "stream"),
    ],
)
async def test_wrong_pictures(house: House, body: dict[str, Any], param: str) -> None:
    answer = await house.call("POST", "/v1/images/generations", {"model": "acme/one", **body})
    assert (answer.status, answer.error["param"]) == (400, param)


async def test_counts(house: House) -> None:
    house.flow.tokens = TokenCount((3, 4))
    answer = await house.call(
        "POST", "/v1/tokens/count", {"model": "acme/one", "input": ["a", "b"]}
    )
    assert answer.json == {
        "object": "token_count",
        "model": "acme/one",
        "tokens": 7,
        "parts": [3, 4],
        "estimated": False,
    }
    chat = {"model": "acme/one", "messages": [{"role": "user", "content": "x"}]}
    await house.call("POST", "/v1/tokens/count", chat)
    texts, conversation = house.flow.counted
    assert texts.texts == ["a", "b"]
    assert conversation.chat is not None
    assert conversation.chat.messages[0].content == "x"


@pytest.mark.parametrize(
    "body",
    [{}, {"input": []}, {"input": 5}, {"input": "x", "messages": []}, {"input": ["x"] * 2049}],
)
async def test_wrong_counts(house: House, body: dict[str, Any]) -> None:
    answer = await house.call("POST", "/v1/tokens/count", {"model": "acme/one", **body})
    assert (answer.status, answer.error["param"]) == (400, "input")


async def test_sound_is_passed_on_as_it_comes(house: House) -> None:
    body = {"model": "acme/one", "input": "Hi", "voice": "alloy"}
    answer = await house.call("POST", "/v1/audio/speech", body)
    assert (answer.status, answer.body) == (200, b"ID3sound")
    assert answer.headers["content-type"] == "audio/mpeg"
    assert answer.headers["x-xrouter-model"] == "acme/one"
    (asked,) = house.flow.passed_on
    assert (asked.model, asked.operation) == ("acme/one", "audio/speech")
    assert json.loads(asked.body) == body


@pytest.mark.parametrize("name", ["transcriptions", "translations"])
async def test_forms_are_passed_on(house: House, name: str) -> None:
    kind = {"content-type": "multipart/form-data; boundary=b"}
    answer = await house.call("POST", f"/v1/audio/{name}", FORM, kind)
    assert answer.status == 200, answer.body
    (asked,) = house.flow.passed_on
    assert (asked.model, asked.operation, asked.body) == ("acme/one", f"audio/{name}", FORM)
    answer = await house.call("POST", f"/v1/audio/{name}", {"model": "acme/one"})
    assert answer.status == 415


async def test_what_breaks_off_is_not_taken_for_whole(house: House) -> None:
    house.flow.raw_breaks = True
    with pytest.raises(ValueError, match="invalid literal"):  # the chunked body has no end
        await house.call("POST", "/v1/audio/speech", {"model": "acme/one"})


async def test_moderations_need_a_model_or_one_that_is_there(house: House) -> None:
    answer = await house.call("POST", "/v1/moderations", {"input": "x"})
    assert (answer.status, answer.error["param"]) == (400, "model")
    answer = await house.call("POST", "/v1/moderations", {"model": "acme/one", "input": "x"})
    assert answer.status == 200
    assert house.flow.passed_on[0].operation == "moderations"
