"""What passed-on answers cost: by the tokens that they tell, and by the request."""

from __future__ import annotations

from typing import Any, cast

import msgspec
import pytest
from msgspec import structs
from tests.flow.harness import KEY, MODELS, Recorder, Rig

from xrouter.domain.catalog import Kind, Price
from xrouter.domain.money import FREE, UNKNOWN, Charge
from xrouter.domain.raw import RawRequest
from xrouter.flow.overheard import MAX_BODY, TAIL, Overheard, overheard
from xrouter.flow.tally import Tally
from xrouter.wire.client import Exchange as WireExchange

PRICE = Price(id=5, currency="RUB", input=3 * 10**9, output=10**9, request=7)
FORM = b"\r\n".join(
    (
        b"--B",
        b'content-disposition: form-data; name="model"',
        b"",
        b"%s",
        b"--B",
        b'content-disposition: form-data; name="file"; filename="a.wav"',
        b"",
        b"RIFF",
        b"--B--",
        b"",
    )
)


def serve(rig: Rig, name: str, kind: Kind, price: Price | None = PRICE) -> None:
    """One more model."""
    now, like = rig.snapshots.current, MODELS["openai/gpt-4o-mini"]
    version = structs.replace(like.versions[0], upstream=name.partition("/")[2], price=price)
    made = structs.replace(like, model_id=name, kind=kind, versions=(version,))
    rig.snapshots.replace(structs.replace(now, models={**now.models, name: made}))


async def transcribe(rig: Rig, name: str) -> Recorder:
    reply = Recorder()
    request = RawRequest(
        model=name,
        operation="audio/transcriptions",
        content_type="multipart/form-data; boundary=B",
        body=FORM % name.encode(),
    )
    await rig.pipeline.raw(request, KEY, rig.call("transcriptions"), reply)
    return reply


def charge(rig: Rig) -> Charge:
    assert rig.event.charge is not None
    return rig.event.charge


async def test_a_transcript_costs_the_tokens_that_it_tells(rig: Rig) -> None:
    serve(rig, "openai/gpt-4o-transcribe", "transcription")
    reply = await transcribe(rig, "openai/gpt-4o-transcribe")
    assert reply.calls == ["start", "close_raw"]
    assert "You said" in msgspec.json.decode(reply.raw)["text"]
    (line,) = rig.first.bill
    assert line.tokens_in > 0
    assert line.tokens_out > 0
    assert (rig.event.tokens_in, rig.event.tokens_out) == (line.tokens_in, line.tokens_out)
    assert charge(rig).cost == line.tokens_in * 3000 + line.tokens_out * 1000 + 7
    assert not charge(rig).is_estimated


async def test_what_is_told_in_seconds_costs_the_request(rig: Rig) -> None:
    serve(rig, "openai/whisper-1", "transcription")
    await transcribe(rig, "openai/whisper-1")
    assert (rig.event.tokens_in, rig.event.tokens_out) == (0, 0)
    assert (charge(rig).cost, charge(rig).is_estimated) == (7, True)


@pytest.mark.parametrize("price,cost", [(None, 0), (PRICE, 7)])
async def test_moderations_are_free_where_they_have_no_price(
    rig: Rig, price: Price | None, cost: int
) -> None:
    name = "openai/omni-moderation-latest"
    serve(rig, name, "moderation", price)
    reply = await rig.pass_on(name, "moderations", {"input": "Hello"})
    assert reply.calls == ["start", "close_raw"]
    assert charge(rig).cost == cost
    assert (charge(rig) == FREE) == (price is None)


async def test_sound_without_a_price_is_not_free(rig: Rig) -> None:
    serve(rig, "openai/whisper-1", "transcription", None)
    await transcribe(rig, "openai/whisper-1")
    assert charge(rig) == UNKNOWN


class Answer:
    """Stands for an exchange."""

    def __init__(self, content_type: str, *pieces: bytes) -> None:
        self.headers = {"content-type": content_type} if content_type else {}
        self.pieces = list(pieces)
        self.closed = 0

    async def chunk(self) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""

    def close(self) -> None:
        self.closed += 1


async def told(answer: Answer) -> Tally:
    tally = Tally("speech", "x", streamed=False, started_at=0.0)
    exchange = overheard(cast(WireExchange, answer), tally)
    assert isinstance(exchange, Overheard)
    given = b"".join(answer.pieces)
    got = b""
    while data := await exchange.chunk():
        got += data
    assert got == given, "it goes on as it comes"
    exchange.close()
    exchange.close()
    assert answer.closed == 2
    return tally


def used(tally: Tally) -> tuple[int, int] | None:
    usage = tally.usage
    return None if usage is None else (usage.prompt_tokens, usage.completion_tokens)


def event(**fields: Any) -> bytes:
    return b"data: " + msgspec.json.encode(fields) + b"\n\n"


async def test_the_last_event_of_a_stream_tells() -> None:
    text = event(type="transcript.text.delta", delta="x" * 3 * TAIL)
    done = event(
        type="transcript.text.done",
        text="x",
        usage={"type": "tokens", "input_tokens": 14, "output_tokens": 3, "total_tokens": 17},
    )
    stream = "text/event-stream; charset=utf-8"
    halves = done[:40], done[40:]
    assert used(await told(Answer(stream, text, *halves))) == (14, 3)
    assert used(await told(Answer(stream, done, b"data: [DONE]\n\n"))) == (14, 3)
    assert used(await told(Answer(stream, done, text))) is None
    assert used(await told(Answer(stream, b"data: {", b"\n\n"))) is None


@pytest.mark.parametrize(
    "body,tokens",
    [
        (b'{"usage":{"prompt_tokens":5,"completion_tokens":2}}', (5, 2)),
        (b'{"usage":{"type":"duration","seconds":3}}', None),
        (b'{"usage":[1]}', None),
        (b'{"usage":{"prompt_tokens":5', None),
        (b"[" * 5000, None),
        (b'{"usage":{"prompt_tokens":5},"x":"' + b"x" * MAX_BODY + b'"}', None),
        (b"", None),
    ],
)
async def test_a_body_tells_or_does_not(body: bytes, tokens: tuple[int, int] | None) -> None:
    assert used(await told(Answer("application/json", *(p for p in [body] if p)))) == tokens


@pytest.mark.parametrize("content_type", ["audio/mpeg", "text/plain", ""])
def test_sound_and_text_are_not_listened_to(content_type: str) -> None:
    exchange = cast(WireExchange, Answer(content_type))
    tally = Tally("speech", "x", streamed=False, started_at=0.0)
    assert overheard(exchange, tally) is exchange
