"""Function names and tool-call ids: what of GigaChat's state travels through a client and back.

GigaChat answers a call with `functions_state_id`, a UUID that it wants back with the call. Clients
only keep the tool-call id, so the UUID is put into it: the gateway itself remembers nothing.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import uuid

_CALL = "call_"
_STATEFUL = "call_g"
_STATE_BYTES = 16
_RANDOM_BYTES = 5
_CHECK_BYTES = 3
_TEXT_LENGTH = 32  # base64 of 24 bytes; the whole id stays under OpenAI's 40 characters

_RESERVED = re.compile(r"(?:caller_)*(?:web_search|text2image)")
_RENAMED = re.compile(r"caller_((?:caller_)*(?:web_search|text2image))")
"""Names of GigaChat's own functions, and callers' functions that were renamed because of them.

web_search: its official proxy renames it too [inferred: else the built-in one answers]. text2image:
the specification names it as built in. Both patterns together make the renaming reversible.
"""


def upstream_name(name: str) -> str:
    """A caller's function name as GigaChat is told it; one that it reserves gets a prefix."""
    return "caller_" + name if _RESERVED.fullmatch(name) else name


def caller_name(name: str) -> str:
    """The reverse of `upstream_name`."""
    renamed = _RENAMED.fullmatch(name)
    return renamed[1] if renamed else name


def new_call_id(state: object) -> str:
    """A tool-call id that is never given twice and carries `state` when that is a UUID."""
    try:
        carried = uuid.UUID(state).bytes if isinstance(state, str) else None
    except ValueError:
        carried = None
    if carried is None:
        return _CALL + os.urandom(12).hex()
    payload = carried + os.urandom(_RANDOM_BYTES)
    return _STATEFUL + base64.urlsafe_b64encode(payload + _check(payload)).decode()


def state_of(call_id: str) -> str | None:
    """The UUID that `new_call_id` has put into the id; None for an id that is not ours."""
    text = call_id.removeprefix(_STATEFUL)
    if not call_id.startswith(_STATEFUL) or len(text) != _TEXT_LENGTH or not text.isascii():
        return None
    try:
        raw = base64.b64decode(text, altchars=b"-_", validate=True)
    except ValueError:
        return None
    payload = raw[: _STATE_BYTES + _RANDOM_BYTES]
    if raw[len(payload) :] != _check(payload):
        return None
    return str(uuid.UUID(bytes=raw[:_STATE_BYTES]))


def _check(payload: bytes) -> bytes:
    """Tells our ids from other people's; no secret, it only excludes accidents."""
    return hashlib.sha256(b"gigachat-call" + payload).digest()[:_CHECK_BYTES]
