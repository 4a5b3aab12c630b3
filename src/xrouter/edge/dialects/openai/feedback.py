"""What callers think of answers: `POST /feedback`, an addition of ours."""

from __future__ import annotations

import msgspec

from xrouter.domain.feedback import Feedback
from xrouter.edge.mistakes import DECODE_ERRORS, explain

_feedback = msgspec.json.Decoder(Feedback)


def read_feedback(body: bytes) -> Feedback:
    """Raises InvalidRequest that names the parameter at fault."""
    try:
        return _feedback.decode(body)
    except DECODE_ERRORS as error:
        raise explain(error) from None
