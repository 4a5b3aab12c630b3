"""A language model of a few hundred kilobytes: the architecture of llama, random weights.

It talks nonsense, letter by letter, but a real server loads it as it loads any other: with a
vocabulary and a chat template that knows tools. The end of its turn and the beginning of a call
come by chance. The same file comes out every time.

The first dimension of the hidden state is the same large number for every token, and nothing
writes to it; so the first weight of a token's output row is a constant added to its logit. That
keeps bytes that are no letters, and markers, out of what it says.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SEED = 20_261_002
CONTEXT = 8192
LAYERS = 2
WIDTH = 64
HIDDEN = 128
HEADS = 4

CONSTANT = 8.0
STEADY = CONSTANT / ((CONSTANT**2 + WIDTH - 1) / WIDTH) ** 0.5
"""The constant after normalisation: what the first weight of an output row is multiplied with."""

UNKNOWN, START, TURN, END = "<unk>", "<s>", "<|im_start|>", "<|im_end|>"
CALL = "<tool_call>"
LETTERS = (
    "\u2581"  # what this kind of vocabulary writes for a space
    + "".join(map(chr, range(0x21, 0x7F)))
    + "".join(map(chr, range(ord("А"), ord("я") + 1)))
    + "Ёё"
)
BYTES = tuple(f"<0x{value:02X}>" for value in range(256))
TOKENS = (UNKNOWN, START, TURN, END, CALL, *BYTES, *LETTERS)

NEVER = -60.0
CONSTANT_LOGITS = {END: 4.0, CALL: 2.0}
DEVIATION = 2.0
"""How far the logits of letters lie apart; those of the others do not depend on the text."""

TEMPLATE = """\
{%- if tools %}
{{- '<|im_start|>system\\n' }}
{%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n' }}{%- endif %}
{{- 'Tools:' }}
{%- for tool in tools %}{{- '\\n' }}{{- tool | tojson }}{%- endfor %}
{{- '\\nTo call one, write <tool_call>{"name": ..., "arguments": {...}}</tool_call>' }}
{{- '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{%- if not (tools and loop.first and message.role == 'system') %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.content %}{{- message.content }}{%- endif %}
{%- if message.tool_calls %}
{%- for call in message.tool_calls %}
{{- '\\n<tool_call>{"name": "' + call.function.name + '", "arguments": ' }}
{{- call.function.arguments | tojson }}
{{- '}</tool_call>' }}
{%- endfor %}
{%- endif %}
{{- '<|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""

Tensor = tuple[str, tuple[int, ...], int, bytes]
"""Name, sizes (innermost first), type, data."""

U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
"""Types of values in the header."""
TENSOR_F32, TENSOR_F16 = 0, 1
ORDINARY, UNKNOWN_KIND, CONTROL, WHOLE, BYTE = 1, 2, 3, 4, 6
"""Kinds of tokens."""
ALIGNMENT = 32


def write(path: Path) -> None:
    """Write the model as a GGUF file."""
    fields, tensors = list(_fields()), list(_tensors(random.Random(SEED)))
    header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(fields)) + b"".join(fields)
    body = b""
    for name, sizes, kind, data in tensors:
        header += _string(name) + struct.pack("<I", len(sizes))
        header += struct.pack(f"<{len(sizes)}QIQ", *sizes, kind, len(body))
        body += _padded(data)
    path.write_bytes(_padded(header) + body)


def _fields() -> Iterator[bytes]:
    kinds = [_kind(token) for token in TOKENS]
    yield _field("general.architecture", STRING, "llama")
    yield _field("general.name", STRING, "Tiny nonsense")
    yield _field("general.file_type", U32, TENSOR_F16)
    yield _field("llama.context_length", U32, CONTEXT)
    yield _field("llama.embedding_length", U32, WIDTH)
    yield _field("llama.block_count", U32, LAYERS)
    yield _field("llama.feed_forward_length", U32, HIDDEN)
    yield _field("llama.attention.head_count", U32, HEADS)
    yield _field("llama.attention.head_count_kv", U32, HEADS)
    yield _field("llama.attention.layer_norm_rms_epsilon", F32, 1e-5)
    yield _field("llama.rope.dimension_count", U32, WIDTH // HEADS)
    yield _field("llama.vocab_size", U32, len(TOKENS))
    yield _field("tokenizer.ggml.model", STRING, "llama")
    yield _list("tokenizer.ggml.tokens", STRING, TOKENS)
    yield _list("tokenizer.ggml.scores", F32, [0.0] * len(TOKENS))
    yield _list("tokenizer.ggml.token_type", I32, kinds)
    yield _field("tokenizer.ggml.unknown_token_id", U32, TOKENS.index(UNKNOWN))
    yield _field("tokenizer.ggml.bos_token_id", U32, TOKENS.index(START))
    yield _field("tokenizer.ggml.eos_token_id", U32, TOKENS.index(END))
    yield _field("tokenizer.ggml.add_bos_token", BOOL, False)
    yield _field("tokenizer.ggml.add_eos_token", BOOL, False)
    yield _field("tokenizer.ggml.add_space_prefix", BOOL, False)
    yield _field("tokenizer.chat_template", STRING, TEMPLATE)


def _tensors(chance: random.Random) -> Iterator[Tensor]:
    yield _matrix("token_embd", [_embedding(chance) for _ in TOKENS])
    for layer in range(LAYERS):
        place = f"blk.{layer}"
        yield _ones(f"{place}.attn_norm")
        for name in ("attn_q", "attn_k", "attn_v"):
            yield _matrix(f"{place}.{name}", _random(chance, WIDTH, WIDTH))
        yield _matrix(f"{place}.attn_output", _silent(_random(chance, WIDTH, WIDTH)))
        yield _ones(f"{place}.ffn_norm")
        for name in ("ffn_gate", "ffn_up"):
            yield _matrix(f"{place}.{name}", _random(chance, HIDDEN, WIDTH))
        yield _matrix(f"{place}.ffn_down", _silent(_random(chance, WIDTH, HIDDEN)))
    yield _ones("output_norm")
    yield _matrix("output", [_said(chance, token) for token in TOKENS])


def _embedding(chance: random.Random) -> list[float]:
    return [CONSTANT, *(chance.gauss(0, 1) for _ in range(WIDTH - 1))]


def _said(chance: random.Random, token: str) -> list[float]:
    """The output row of a token: its constant part, and what depends on the text."""
    if token in LETTERS:
        spread = DEVIATION * CONSTANT / STEADY / (WIDTH - 1) ** 0.5
        return [0.0, *(chance.gauss(0, spread) for _ in range(WIDTH - 1))]
    constant = CONSTANT_LOGITS.get(token, NEVER)
    return [constant / STEADY, *([0.0] * (WIDTH - 1))]


def _random(chance: random.Random, rows: int, columns: int) -> list[list[float]]:
    spread = 0.5 / columns**0.5
    return [[chance.gauss(0, spread) for _ in range(columns)] for _ in range(rows)]


def _silent(matrix: list[list[float]]) -> list[list[float]]:
    """The same without anything for the first dimension."""
    return [[0.0] * len(matrix[0]), *matrix[1:]]


def _matrix(name: str, rows: list[list[float]]) -> Tensor:
    data = b"".join(struct.pack(f"<{len(row)}e", *row) for row in rows)
    return f"{name}.weight", (len(rows[0]), len(rows)), TENSOR_F16, data


def _ones(name: str) -> Tensor:
    return f"{name}.weight", (WIDTH,), TENSOR_F32, struct.pack(f"<{WIDTH}f", *([1.0] * WIDTH))


def _kind(token: str) -> int:
    if token in BYTES:
        return BYTE
    special = {UNKNOWN: UNKNOWN_KIND, START: CONTROL, TURN: CONTROL, END: CONTROL, CALL: WHOLE}
    return special.get(token, ORDINARY)


def _field(name: str, kind: int, value: Any) -> bytes:
    return _string(name) + struct.pack("<I", kind) + _value(kind, value)


def _list(name: str, kind: int, values: Any) -> bytes:
    head = struct.pack("<IIQ", ARRAY, kind, len(values))
    return _string(name) + head + b"".join(_value(kind, value) for value in values)


def _value(kind: int, value: Any) -> bytes:
    if kind == STRING:
        return _string(value)
    return struct.pack({U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}[kind], value)


def _string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % ALIGNMENT)
