"""How one target fares in this process."""

from __future__ import annotations

import math

from xrouter.flow.yardstick import Yardstick

MEMORY_S = 10.0
LONG_MEMORY_S = 600.0
"""For what tells good answers from bad ones, not whether there are any."""

MOMENT_S = 0.05
"""Answers of one moment count alike."""

LEAST_OPINIONS = 3
"""Of callers, before what they say counts."""


class Standing:
    """One target. running: calls under way; first_token, whole: smoothed seconds to the first
    piece of a stream and to a whole answer, None before the first.

    good, bad, retries: answers, failures and second tries, fading away within seconds. answers,
    refused: all answers, and those that the provider's filter took, fading within minutes.
    opinion, opinions: what callers say of the answers, 0 to 1, from 1 on; how often they did.
    until: when the pause ends, 0 while closed; held_at: when it began; pauses: how many in a row
    were our own idea; trial_until: how long others wait for a trial.
    remaining: requests that the provider says are left until `window_until`, None when it says
    nothing. yardstick: how long its tokens are.
    """

    __slots__ = (
        "answers",
        "bad",
        "first_token",
        "good",
        "held_at",
        "in_a_row",
        "opinion",
        "opinions",
        "pauses",
        "refused",
        "remaining",
        "retries",
        "running",
        "seen_at",
        "trial_until",
        "until",
        "whole",
        "window_until",
        "yardstick",
    )

    def __init__(self) -> None:
        self.running = 0
        self.first_token: float | None = None
        self.whole: float | None = None
        self.good = 0.0
        self.bad = 0.0
        self.retries = 0.0
        self.answers = 0.0
        self.refused = 0.0
        self.opinion = 1.0
        self.opinions = 0
        self.seen_at = 0.0
        self.in_a_row = 0
        self.pauses = 0
        self.until = 0.0
        self.held_at = 0.0
        self.trial_until = 0.0
        self.remaining: int | None = None
        self.window_until = 0.0
        self.yardstick = Yardstick()

    def fade(self, now: float) -> None:
        """Let what was count less."""
        past = self.seen_at - now
        kept = math.exp(past / MEMORY_S)
        self.good *= kept
        self.bad *= kept
        self.retries *= kept
        kept = math.exp(past / LONG_MEMORY_S)
        self.answers *= kept
        self.refused *= kept
        self.seen_at = now

    def spoke(self, now: float) -> None:
        """It has answered."""
        if now - self.seen_at > MOMENT_S:
            self.fade(now)
        self.good += 1
        self.answers += 1
        self.in_a_row = 0

    def wait(self, *, streamed: bool) -> float | None:
        """Smoothed seconds that such a request waits: to the first piece, or to the whole."""
        return self.first_token if streamed else self.whole

    @property
    def latency(self) -> float | None:
        """Seconds to wait for it: to the first token where streams were seen."""
        return self.whole if self.first_token is None else self.first_token

    @property
    def score(self) -> float | None:
        """What callers say of the answers; None until enough of them have."""
        return self.opinion if self.opinions >= LEAST_OPINIONS else None

    @property
    def bad_share(self) -> float:
        """Of the answers of the last seconds; 0 when there were none."""
        seen = self.good + self.bad
        return self.bad / seen if seen else 0.0

    def health(self, now: float) -> float:
        """The share of good answers, 1 where nothing failed lately: failures are forgotten."""
        kept = math.exp((self.seen_at - now) / MEMORY_S)
        return (self.good * kept + 1) / ((self.good + self.bad) * kept + 1)
