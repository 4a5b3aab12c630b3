"""What is no chat: pictures, sound, moderations, counted tokens, completions of the old kind."""

from __future__ import annotations

import base64
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from tests.clients.served import Answer, Product, SandboxControl, ask
from tests.clients.upstreams import (
    ALL,
    EMBEDDERS,
    EXACT,
    GIGACHAT,
    LLAMACPP,
    MISTRAL,
    OPENAI,
    OPENROUTER,
    YANDEX,
    Upstream,
    each,
    everywhere,
)

JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG"
SOUND = ("сказано.wav", b"RIFF\x24\x00\x00\x00WAVEfmt ", "audio/wav")

DRAWN = {
    "openai/gpt-image-1": PNG,
    "yandex/yandex-art": JPEG,
    "gigachat/GigaChat-2-Max": JPEG,
    "openrouter/bytedance-seed/seedream-4.5": PNG,
}
drawing = pytest.mark.parametrize("model", DRAWN)
moderating = pytest.mark.parametrize(
    "model", ["openai/omni-moderation-latest", "mistral/mistral-moderation-latest"]
)
hearing = pytest.mark.parametrize(
    "model", ["openai/whisper-1", "openai/gpt-4o-transcribe", "mistral/voxtral-mini-2602"]
)


# --- pictures


@drawing
def test_a_picture(client: OpenAI, model: str) -> None:
    made = client.images.generate(model=model, prompt="Ёжик в тумане")
    [picture] = made.data or []
    assert picture.b64_json is not None
    assert base64.b64decode(picture.b64_json, validate=True).startswith(DRAWN[model])
    assert made.created > 1_700_000_000


@drawing
async def test_several_pictures(asking: AsyncOpenAI, model: str) -> None:
    made = await asking.images.generate(model=model, prompt="A hedgehog", n=2)
    pictures = [base64.b64decode(one.b64_json or "") for one in made.data or []]
    assert len(pictures) == 2
    assert all(picture.startswith(DRAWN[model]) for picture in pictures)


def test_usage_of_pictures_is_told(client: OpenAI, sandbox: SandboxControl) -> None:
    made = client.images.generate(model="openai/gpt-image-1", prompt="A hedgehog")
    [charge] = sandbox.charges()
    assert made.usage is not None
    assert made.usage.input_tokens == charge["tokens_in"]
    assert made.usage.output_tokens == charge["tokens_out"] > 0


@pytest.mark.parametrize("form", ["url", "b64_json"])
def test_the_form_of_a_picture(client: OpenAI, form: Any) -> None:
    made = client.images.generate(
        model="openai/dall-e-3", prompt="A hedgehog", response_format=form
    )
    [picture] = made.data or []
    assert [name for name in ("url", "b64_json") if getattr(picture, name)] == [form]
    assert picture.revised_prompt


@everywhere
def test_who_does_not_draw_says_so(once: OpenAI, upstream: Upstream) -> None:
    if upstream is GIGACHAT:
        pytest.skip("its chat models draw")
    with pytest.raises(openai.BadRequestError) as caught:
        once.images.generate(model=upstream.model, prompt="A hedgehog")
    if upstream is not OPENROUTER:  # which has models that draw, and says it in its own words
        assert caught.value.param == "model"


@pytest.mark.parametrize("model", ["openai/gpt-image-1", "yandex/yandex-art"])
def test_a_picture_that_fails(once: OpenAI, sandbox: SandboxControl, model: str) -> None:
    sandbox.fault("server_error", model.partition("/")[0], times=None)
    with pytest.raises(openai.InternalServerError) as caught:
        once.images.generate(model=model, prompt="A hedgehog")
    assert caught.value.status_code == 502
    sandbox.clear()
    for how in ({"n": 99}, {"size": "huge"}, {"response_format": "paper"}):
        with pytest.raises(openai.BadRequestError) as refused:
            once.images.generate(model=model, prompt="A hedgehog", **how)
        assert refused.value.param == next(iter(how))


# --- sound


@hearing
def test_a_transcript(client: OpenAI, model: str) -> None:
    heard = client.audio.transcriptions.create(model=model, file=SOUND)
    assert "You said: " in heard.text
    assert heard.usage is not None


@hearing
async def test_a_transcript_without_blocking(asking: AsyncOpenAI, model: str) -> None:
    heard = await asking.audio.transcriptions.create(model=model, file=SOUND, language="ru")
    assert "You said: " in heard.text


@hearing
def test_who_heard_it_is_told(client: OpenAI, model: str) -> None:
    raw = client.audio.transcriptions.with_raw_response.create(model=model, file=SOUND)
    assert raw.headers["x-xrouter-model"] == model
    assert raw.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize("form", ["text", "srt", "vtt", "verbose_json"])
def test_a_transcript_of_another_form(client: OpenAI, form: Any) -> None:
    heard: Any = client.audio.transcriptions.create(
        model="openai/whisper-1", file=SOUND, response_format=form
    )
    assert "сказано.wav" in (heard if isinstance(heard, str) else heard.text)


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_a_translation(client: OpenAI) -> None:
    heard = client.audio.translations.create(model="openai/whisper-1", file=SOUND)
    assert "You said: " in heard.text


@pytest.mark.parametrize("model", ["openai/tts-1", "openai/gpt-4o-mini-tts"])
def test_speech(client: OpenAI, model: str) -> None:
    spoken = client.audio.speech.create(
        model=model, voice="alloy", input=EXACT, response_format="wav"
    )
    sound = spoken.read()
    assert sound.startswith(b"RIFF")
    assert spoken.response.headers["content-type"] == "audio/wav"
    with client.audio.speech.with_streaming_response.create(
        model=model, voice="alloy", input=EXACT, response_format="wav"
    ) as streamed:
        assert b"".join(streamed.iter_bytes()) == sound


@everywhere
def test_a_chat_model_neither_hears_nor_speaks(once: OpenAI, upstream: Upstream) -> None:
    with pytest.raises(openai.BadRequestError) as deaf:
        once.audio.transcriptions.create(model=upstream.model, file=SOUND)
    with pytest.raises(openai.BadRequestError) as dumb:
        once.audio.speech.create(model=upstream.model, voice="alloy", input="Hello")
    for caught in (deaf, dumb):
        assert (caught.value.param, caught.value.code) == ("model", "unsupported_operation")


def test_sound_that_is_refused(once: OpenAI, sandbox: SandboxControl) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        once.audio.speech.create(model="openai/tts-1", voice="alloy", input="Hello", speed=9)
    assert caught.value.param == "speed"
    with pytest.raises(openai.NotFoundError):
        once.audio.transcriptions.create(model="openai/nothing", file=SOUND)
    sandbox.fault("server_error", OPENAI.simulator, times=None)
    with pytest.raises(openai.InternalServerError):
        once.audio.transcriptions.create(model="openai/whisper-1", file=SOUND)


def test_a_form_that_the_provider_does_not_know(once: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="response_format"):
        once.audio.transcriptions.create(
            model="mistral/voxtral-mini-2602", file=SOUND, response_format="text"
        )


# --- moderations


@moderating
def test_moderated_texts(client: OpenAI, model: str) -> None:
    told = client.moderations.create(model=model, input=["sexual", "Привет"])
    assert len(told.results) == 2
    assert [one.categories.sexual for one in told.results] == [True, False]
    assert told.results[0].category_scores.sexual > told.results[1].category_scores.sexual


@moderating
def test_what_is_flagged(client: OpenAI, model: str) -> None:
    """All that most callers read; nothing there reads as harmless."""
    for text, flagged in (("sexual", True), ("Привет", False)):
        [result] = client.moderations.create(model=model, input=text).results
        assert result.flagged is flagged


def test_moderation_without_a_model(client: OpenAI) -> None:
    raw = client.moderations.with_raw_response.create(input="Hello")
    assert "moderation" in raw.headers["x-xrouter-model"]
    assert raw.parse().results


def test_a_chat_model_does_not_moderate(once: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        once.moderations.create(model=LLAMACPP.model, input="Hello")
    assert (caught.value.param, caught.value.code) == ("model", "unsupported_operation")


# --- counted tokens


def count(product: Product, key: str, body: bytes) -> Answer:
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    return ask(f"{product.url}/v1/tokens/count", "POST", body, headers)


@each((*ALL, *(Upstream(one.embedder, one.simulator, one.embedder) for one in EMBEDDERS)))
def test_tokens_of_texts(client: OpenAI, upstream: Upstream) -> None:
    """By the provider's tokenizer where it has one; the client has no method for it."""
    told: Any = client.post(
        "/tokens/count", cast_to=object, body={"model": upstream.model, "input": [EXACT, "one two"]}
    )
    assert told["object"] == "token_count"
    assert told["model"] == upstream.model
    assert len(told["parts"]) == 2
    assert told["tokens"] == sum(told["parts"])
    assert told["parts"][0] > told["parts"][1] > 0
    assert type(told["estimated"]) is bool


@everywhere
def test_tokens_of_a_conversation(
    client: OpenAI, upstream: Upstream, sandbox: SandboxControl
) -> None:
    body = {"model": upstream.model, "messages": [{"role": "user", "content": "one two three"}]}
    told: Any = client.post("/tokens/count", cast_to=object, body=body)
    assert told["tokens"] > 0
    assert told["estimated"] == (upstream.degree("count_tokens") != "native")
    if upstream.simulator in ("yandex", "llamacpp", "llamacpp-router") and not told["estimated"]:
        client.chat.completions.create(**body)  # type: ignore[call-overload]  # a plain dict
        assert told["tokens"] == sandbox.charges()[-1]["tokens_in"]


def test_a_count_that_is_refused(product: Product, key: str) -> None:
    wrong: list[tuple[bytes, int, str]] = [
        (b'{"model": "no/such", "input": "a"}', 404, "model"),
        (b'{"model": "yandex/yandexgpt"}', 400, "input"),
        (b'{"model": "yandex/yandexgpt", "input": 1}', 400, "input"),
        (b'{"model": "yandex/yandexgpt", "messages": []}', 400, "messages"),
        (b'{"input": "a"}', 400, "model"),
    ]
    for body, status, param in wrong:
        answer = count(product, key, body)
        assert (answer.status, answer.json()["error"]["param"]) == (status, param)
    assert count(product, "sk-wrong", b'{"model": "yandex/yandexgpt", "input": "a"}').status == 401


# --- completions of the old kind


@everywhere
def test_a_completion(client: OpenAI, upstream: Upstream) -> None:
    made = client.completions.create(model=upstream.model, prompt=EXACT, max_tokens=100)
    [choice] = made.choices
    assert made.object == "text_completion"
    assert made.id.startswith("cmpl-")
    assert made.model == upstream.model
    assert choice.text.endswith(f"You said: {EXACT}")
    assert (choice.index, choice.finish_reason) == (0, "stop")
    assert made.usage is not None
    assert made.usage.completion_tokens > 0


@everywhere
def test_a_streamed_completion(client: OpenAI, upstream: Upstream) -> None:
    chunks = list(
        client.completions.create(
            model=upstream.model,
            prompt=EXACT,
            max_tokens=100,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert {(chunk.object, chunk.model) for chunk in chunks} == {
        ("text_completion", upstream.model)
    }
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    choices = [chunk.choices[0] for chunk in chunks[:-1]]
    assert "".join(choice.text for choice in choices).endswith(f"You said: {EXACT}")
    finishes = [choice.finish_reason for choice in choices]
    assert finishes == [None] * (len(choices) - 1) + ["stop"]


@everywhere
async def test_a_completion_ends_by_itself_after_16_tokens(
    asking: AsyncOpenAI, upstream: Upstream
) -> None:
    made = await asking.completions.create(model=upstream.model, prompt="[[words:50]]")
    assert len(made.choices[0].text.split()) == 16
    assert made.choices[0].finish_reason == "length"


@everywhere
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_echo_and_stop(client: OpenAI, upstream: Upstream, stream: bool) -> None:
    made = client.completions.create(
        model=upstream.model, prompt="[[words:50]]", echo=True, stop="the long", stream=stream
    )
    text = (
        made.choices[0].text
        if isinstance(made, openai.types.Completion)
        else "".join(chunk.choices[0].text for chunk in made)
    )
    assert text.rstrip() == "[[words:50]]one step more on"


def test_probabilities_of_a_completion(client: OpenAI) -> None:
    made = client.completions.create(model=OPENAI.model, prompt="Hello", logprobs=2)
    told = made.choices[0].logprobs
    assert told is not None
    assert "".join(told.tokens or ()) == made.choices[0].text
    assert told.text_offset is not None
    assert told.text_offset[0] == 0


@pytest.mark.parametrize(
    "how, param",
    [
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, 2, 3]}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"suffix": "end"}, "suffix"),
        ({"best_of": 3}, "best_of"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": 3}, "temperature"),
    ],
    ids=str,
)
@each((OPENAI, YANDEX, MISTRAL))
def test_a_completion_that_is_refused(
    once: OpenAI, upstream: Upstream, how: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        once.completions.create(**{"model": upstream.model, "prompt": "Hello"} | how)
    assert caught.value.param == param


@everywhere
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_completion_that_fails(
    once: OpenAI, upstream: Upstream, sandbox: SandboxControl, stream: bool
) -> None:
    sandbox.fault("server_error", upstream.simulator, times=None, match={"path": upstream.path})
    with pytest.raises(openai.InternalServerError):
        once.completions.create(model=upstream.model, prompt="Hello", stream=stream)


def test_a_streamed_completion_that_breaks(client: OpenAI, sandbox: SandboxControl) -> None:
    sandbox.fault("cut", OPENAI.simulator, after=4)
    told: list[str] = []
    stream = client.completions.create(
        model=OPENAI.model, prompt="[[words:60]]", max_tokens=60, stream=True
    )
    with stream, pytest.raises(openai.APIError) as caught:
        told.extend(chunk.choices[0].text for chunk in stream)
    assert type(caught.value) is openai.APIError
    assert "".join(told).startswith("one")
