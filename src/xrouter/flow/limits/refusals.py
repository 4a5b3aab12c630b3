"""What a caller is told when a limit refuses."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime

from xrouter.domain.errors import CallerError, RateLimited, XRouterError
from xrouter.domain.limits import Limit
from xrouter.domain.ports import Verdict, Want
from xrouter.flow.limits.rules import Rule

_BILLION = 1_000_000_000
_RATES = {"requests": ("requests", "RPM"), "tokens": ("tokens", "TPM"), "money": ("rubles", "RUB")}
_WHOSE = {
    "key": "this API key",
    "project": "project",
    "organization": "organization",
    "user": "end user",
    "model": "model",
    "version": "model version",
}
_WINDOWS = {"day": "daily", "month": "monthly", "total": "total"}


class TokensLimited(RateLimited):
    """429: too many tokens a minute."""

    type = "tokens"


class QuotaExhausted(CallerError):
    """429: a quota of a day or month, or a budget; repeating it at once is of no use."""

    status = 429
    type = "insufficient_quota"
    default_code = "insufficient_quota"


def refusal(rule: Rule, verdict: Verdict, want: Want) -> XRouterError:
    """Why a request is not granted, and when it would be."""
    limit = rule.limit
    if limit.window in _WINDOWS:
        return _exhausted(rule, verdict, want)
    whose = _whose(rule)
    if limit.window == "now":
        what = "streams" if limit.meter == "streams" else "requests"
        return RateLimited(
            f"Too many {what} at a time for {whose}: Limit {limit.amount}. "
            "Please try again when one of them has ended.",
            retry_after=verdict.wait_s,
        )
    unit, short = _RATES[limit.meter]
    kind = TokensLimited if limit.meter == "tokens" else RateLimited
    if not math.isfinite(verdict.wait_s):
        return kind(
            f"Request too large for {whose} on {unit} per min ({short}): "
            f"Limit {_amount(limit, limit.amount)}, Requested {_amount(limit, want.amount)}. "
            "The input or output tokens must be reduced in order to run successfully.",
        )
    used = limit.amount - verdict.levels[verdict.refused].remaining
    return kind(
        f"Rate limit reached for {whose} on {unit} per min ({short}): "
        f"Limit {_amount(limit, limit.amount)}, Used {_amount(limit, used)}, "
        f"Requested {_amount(limit, want.amount)}. "
        f"Please try again in {verdict.wait_s:.3g}s.",
        retry_after=verdict.wait_s,
    )


def _exhausted(rule: Rule, verdict: Verdict, want: Want) -> QuotaExhausted:
    limit = rule.limit
    left = verdict.levels[verdict.refused].remaining
    what = "budget" if limit.meter == "money" else f"{limit.meter} quota"
    wait = verdict.wait_s
    reset = verdict.levels[verdict.refused].reset_s
    ends = "It does not reset by itself."
    if math.isfinite(reset):
        at = datetime.fromtimestamp(round(time.time() + reset), UTC)
        ends = f"It resets at {at:%Y-%m-%dT%H:%M:%SZ}."
    return QuotaExhausted(
        f"You exceeded your current quota: the {_WINDOWS[limit.window]} {what} of {_whose(rule)} "
        f"is {_amount(limit, limit.amount)}, {_amount(limit, left)} is left and this request may "
        f"need {_amount(limit, want.amount)}. {ends}",
        retry_after=wait if math.isfinite(wait) else None,
        hint="A smaller max_tokens needs less." if left and want.amount > 1 else None,
    )


def _whose(rule: Rule) -> str:
    kind, _, name = rule.counter.partition("|")[0].partition(":")
    whose = _WHOSE[kind]
    if kind == "user":
        name = name.partition("/")[2]
    text = whose if kind == "key" else f"{whose} '{name}'"
    return text if rule.limit.model is None else f"{text} at model '{rule.limit.model}'"


def _amount(limit: Limit, amount: int) -> str:
    if limit.meter != "money":
        return str(amount)
    whole, part = divmod(amount, _BILLION)
    return f"{whole}.{f'{part:09}'.rstrip('0'):0<2} rubles"
