"""A mock provider for load: answers chat completions at once, streams at a pace.

    python -m bench.upstream PORT

The request's `user` field sets the stream: "chunks:pause" (for example "54:0.02").
"""

from __future__ import annotations

import asyncio
import json
import re
import sys

import uvloop

ANSWER = json.dumps(
    {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1,
        "model": "bench",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "It is a fine day. " * 20},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 20, "completion_tokens": 100, "total_tokens": 120},
    }
).encode()
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
WHOLE = HEAD % len(ANSWER) + ANSWER
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)
PACE = re.compile(rb'"user": ?"(\d+):([0-9.]+)"')


def frame(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    event = {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "bench",
        "choices": [choice],
    }
    return chunk(b"data: " + json.dumps(event).encode() + b"\n\n")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


FIRST = frame({"role": "assistant", "content": ""})
WORD = frame({"content": " word"})
USAGE = json.dumps(
    {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "bench",
        "choices": [],
        "usage": {"prompt_tokens": 20, "completion_tokens": 52, "total_tokens": 72},
    }
).encode()
LAST = frame({}, "stop") + chunk(b"data: " + USAGE + b"\n\n") + chunk(b"data: [DONE]\n\n")
END = b"0\r\n\r\n"


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            found = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            body = await reader.readexactly(int(found.group(1))) if found else b""
            if b'"stream":true' in body or b'"stream": true' in body:
                await stream(writer, body)
            else:
                writer.write(WHOLE)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError, RuntimeError):
        pass
    finally:
        writer.close()


async def stream(writer: asyncio.StreamWriter, body: bytes) -> None:
    pace = PACE.search(body)
    chunks, pause = (int(pace.group(1)), float(pace.group(2))) if pace else (52, 0.02)
    writer.write(STREAM_HEAD + FIRST)
    for _ in range(chunks):
        await asyncio.sleep(pause)
        writer.write(WORD)
        await writer.drain()
    writer.write(LAST + END)


async def main(port: int) -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", port, backlog=4096)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
