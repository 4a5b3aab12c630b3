"""Our ledger, read from the database, beside the sandboxes' own bills.

What nobody had to guess must be on both sides, call by call: the same tokens, the same amount to
the last billionth. What we have guessed, and what was under way when the server was killed, must
explain the rest of the bills, line by line. When the bills are imported, call by call, and
settled, nothing of it is left: the ledger is what the bills say.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from fractions import Fraction
from functools import partial
from math import ceil
from typing import Any

from msgspec import Struct, field
from tests.e2e.harness import SandboxProcess, Server, until
from tests.e2e.traffic import DOLLAR, PRICES

BILLION = 10**9
UPSTREAM = {
    "gigachat/GigaChat-2-Max": ("gigachat", "GigaChat-2-Max"),
    "yandex/yandexgpt-lite": ("yandex", "yandexgpt-lite"),
    "openai/gpt-4o-mini": ("openai", "gpt-4o-mini"),
    "llamacpp/qwen3-8b": ("llamacpp", "qwen3-8b"),
}
"""By our id: the sandbox's names of the provider and the model."""

PROVIDERS = sorted({provider for provider, _ in UPSTREAM.values()})
_CALLS = """
SELECT c.event_id, coalesce(a.endpoint, u.endpoint), coalesce(a.model, c.model),
       coalesce(a.tokens_in, u.tokens_in), coalesce(a.tokens_out, u.tokens_out),
       coalesce(a.cost, c.cost), coalesce(a.is_estimated, c.is_estimated),
       coalesce(a.price_id, c.price_id), c.end_user,
       a.calls, u.outcome = 'ok'
FROM charges c JOIN usage_events u ON u.event_id = c.event_id
LEFT JOIN charge_attempts a ON a.event_id = c.event_id
"""

Place = tuple[str, str]
"""The endpoint, and our id of the model."""

Tokens = tuple[int, int]


class Side(Struct):
    """Of one account and model. heard: calls by their tokens, where nobody had to guess.

    cost: of them. guessed: how many calls are estimates, and their cost.
    """

    heard: Counter[Tokens] = field(default_factory=Counter)
    cost: int = 0
    guessed: int = 0
    guessed_cost: int = 0


class Figures(Struct):
    """Of all accounts and models. calls, rubles: on the bills. heard: on both sides alike.

    guessed: calls of ours that are estimates, and their cost; rest_rubles: what is left of the
    bills for them. unexplained: calls on the bills for which we have not even an estimate.
    """

    calls: int = 0
    heard: int = 0
    guessed: int = 0
    unexplained: int = 0
    rubles: Fraction = Fraction(0)
    guessed_rubles: Fraction = Fraction(0)
    rest_rubles: Fraction = Fraction(0)

    @property
    def off(self) -> float:
        """How far our sum is from the bills', as a share of them."""
        return float(abs(self.guessed_rubles - self.rest_rubles) / self.rubles)

    def told(self) -> dict[str, float]:
        """For people."""
        found = {name: float(getattr(self, name)) for name in self.__struct_fields__}
        return {name: round(value, 6) for name, value in found.items()} | {"off": self.off}


class Books:
    """Both sides of one server. sandboxes: by the name of the endpoint that leads there."""

    def __init__(self, server: Server, sandboxes: dict[str, SandboxProcess]) -> None:
        self._server = server
        self._sandboxes = sandboxes
        self._billed: dict[Place, Counter[Tokens]] = {}
        self._statements: list[dict[str, Any]] = []
        self._collected_at = 0.0

    def collect(self) -> None:
        """Take the bills over, when all is quiet, and let the sandboxes begin new ones."""
        for endpoint, sandbox in self._sandboxes.items():
            sandbox.ask("DELETE", "/_sandbox/faults")
            until(partial(_is_quiet, sandbox), "nothing is being answered")
            report = sandbox.ask("GET", "/_sandbox/bill").json
            assert sum(total["calls"] for total in report["totals"]) == len(report["charges"])
            for model, names in UPSTREAM.items():
                lines = [line for line in report["charges"] if _names(line) == names]
                billed = self._billed.setdefault((endpoint, model), Counter())
                billed.update((line["tokens_in"], line["tokens_out"]) for line in lines)
            self._statements += [
                self._statement(endpoint, provider, sandbox) for provider in PROVIDERS
            ]
            sandbox.ask("DELETE", "/_sandbox/bill")
        self._collected_at = time.time()

    def _statement(self, endpoint: str, provider: str, sandbox: SandboxProcess) -> dict[str, Any]:
        """As it is imported. Nothing was under way when its time began, nor when it ended."""
        return {
            "provider": provider,
            "endpoints": [endpoint],
            "csv": sandbox.ask("GET", f"/_sandbox/bill?provider={provider}").body.decode(),
            "settle": True,
            "since": self._collected_at,
            "until": time.time(),
        }

    def import_bills(self) -> Counter[str]:
        """Settle with the statements of all accounts; how many calls of each kind there were."""
        found = Counter[str]()
        for statement in self._statements:
            made = self._server.control("POST", "/billing/reconciliations", statement)["calls"]
            found.update({name: made[name] for name in made if isinstance(made[name], int)})
        return found

    def check_settled(self) -> None:
        """To the last billionth, of each provider and each of its models."""
        by_model, by_provider = Counter[str](), Counter[str]()
        for (_, model), calls in self._billed.items():
            by_model[model] += cost_of(model, calls)
            by_provider["provider:" + UPSTREAM[model][0]] += cost_of(model, calls)
        assert dict(self.rows(_BY_PROVIDER)) == dict(by_provider)
        assert dict(self.rows(_BY_MODEL)) == dict(by_model)

    def settle(self) -> None:
        """Wait until the database has all that the journals have."""
        journal = self._server.data / "journal"
        until(lambda: len(list(journal.iterdir())) <= 1, "the journals of the dead are drained")
        counts: list[int] = []

        def is_still() -> bool:
            counts.append(self.rows("SELECT count(*) FROM usage_events")[0][0])
            return len(counts) > 75 and len(set(counts[-75:])) == 1

        until(is_still, "the journal is drained")

    def rows(self, query: str) -> list[Any]:
        """Of the server's database."""
        path = self._server.data / "xrouter.db"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as db:
            return db.execute(query).fetchall()

    def ours(self) -> dict[Place, Side]:
        """By account and model."""
        found: dict[Place, Side] = {}
        for row in self.rows(_CALLS):
            (
                _,
                endpoint,
                model,
                asked,
                answered,
                cost,
                is_estimated,
                price,
                user,
                calls,
                is_answer,
            ) = row
            assert price is not None, row
            side = found.setdefault((endpoint, model), Side())
            copies = int(user.removeprefix("copies-"))
            if is_estimated:
                side.guessed += copies
                side.guessed_cost += cost
                continue
            copies = calls or (copies if is_answer else 1)
            assert asked % copies == answered % copies == 0, row
            side.heard[asked // copies, answered // copies] += copies
            side.cost += cost
        return found

    def compare(self) -> Figures:
        """Call by call. Raises AssertionError where what nobody guessed is not the same."""
        found, ours = Figures(), self.ours()
        for place in sorted(ours.keys() | self._billed.keys()):
            side, billed = ours.get(place, Side()), self._billed.get(place, Counter())
            assert not side.heard - billed, (place, side.heard - billed)
            assert side.cost == cost_of(place[1], side.heard), place
            rest = billed - side.heard
            found.calls += billed.total()
            found.heard += side.heard.total()
            found.guessed += side.guessed
            found.unexplained += max(0, rest.total() - side.guessed)
            found.rubles += Fraction(cost_of(place[1], billed), BILLION)
            found.guessed_rubles += Fraction(side.guessed_cost, BILLION)
            found.rest_rubles += Fraction(cost_of(place[1], rest), BILLION)
        return found

    def check(self) -> None:
        """What holds in any ledger of ours, whatever has happened."""
        odd = "SELECT transfer FROM ledger_lines GROUP BY transfer HAVING sum(amount) <> 0"
        assert self.rows(odd) == []
        parts = "SELECT event_id, sum(cost) AS cost FROM charge_attempts GROUP BY event_id"
        joined = f"charges c JOIN ({parts}) a ON a.event_id = c.event_id"
        assert self.rows(f"SELECT 1 FROM {joined} WHERE a.cost <> c.cost") == []
        assert self.rows("SELECT 1 FROM charges WHERE total <> cost + margin + vat") == []
        assert self.rows(_DIFFERENT) == []
        assert self.rows("SELECT 1 FROM usage_events GROUP BY request_id HAVING count(*) > 1") == []
        ((paid, charged),) = self.rows(
            "SELECT (SELECT -sum(amount) FROM ledger_lines WHERE account LIKE 'project:%'),"
            " (SELECT sum(total) FROM charges)"
        )
        assert paid == charged

    def told(self, answered: dict[str, Tokens]) -> None:
        """Whoever got an answer is in the books, with the tokens that they were told."""
        query = "SELECT request_id, tokens_in, tokens_out FROM usage_events WHERE outcome = 'ok'"
        found = {request: (asked, said) for request, asked, said in self.rows(query)}
        missing = {name: told for name, told in answered.items() if found.get(name) != told}
        assert not missing, missing


_BY_PROVIDER = """
SELECT account, sum(amount) FROM ledger_lines WHERE account LIKE 'provider:%' GROUP BY account
"""
_BY_MODEL = """
SELECT model, sum(cost) FROM (
    SELECT coalesce(a.model, c.model) AS model, coalesce(a.cost, c.cost) AS cost
    FROM charges c LEFT JOIN charge_attempts a ON a.event_id = c.event_id
    UNION ALL SELECT model, cost FROM settlements WHERE event_id IS NULL
) GROUP BY model
"""

_DIFFERENT = """
SELECT event FROM (
    SELECT CASE WHEN transfer LIKE 'settlement:%:%' THEN substr(transfer, 12, 26) ELSE transfer END
           AS event, account, sum(amount) AS amount
    FROM ledger_lines GROUP BY 1, 2
) JOIN (
    SELECT c.event_id, coalesce(a.provider, c.provider) AS provider,
           sum(coalesce(a.cost, c.cost)) AS cost
    FROM charges c LEFT JOIN charge_attempts a ON a.event_id = c.event_id
    GROUP BY c.event_id, coalesce(a.provider, c.provider)
) p ON p.event_id = event AND account = 'provider:' || p.provider
WHERE amount <> p.cost
"""
"""Lines of the ledger that give a provider something else than its attempts have cost."""


def _is_quiet(sandbox: SandboxProcess) -> bool:
    return bool(sandbox.ask("GET", "/_sandbox/open").json["open"] == 0)


def _names(line: dict[str, Any]) -> tuple[str, str]:
    """Of the provider and the model, whichever version of it."""
    return line["provider"], line["model"].partition("/")[0]


def cost_of(model: str, calls: Iterable[Tokens] | Counter[Tokens]) -> int:
    """Billionths, rounded up for each call; worked out by fractions, not by our code."""
    currency, asked, answered, request = PRICES[model]
    rate = Fraction(DOLLAR) if currency == "USD" else Fraction(1)
    each = Counter(calls) if not isinstance(calls, Counter) else calls
    return sum(
        times
        * ceil(
            (
                (tokens[0] * Fraction(asked) + tokens[1] * Fraction(answered)) / 10**6
                + Fraction(request)
            )
            * rate
            * BILLION
        )
        for tokens, times in each.items()
    )
