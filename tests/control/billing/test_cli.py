from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
import typer
from tests.control.billing.conftest import NOON, asked
from tests.control.billing.test_taker import Pages
from typer.testing import CliRunner

from xrouter.cli import sheets
from xrouter.cli.billing import bills, packages
from xrouter.cli.control import call
from xrouter.cli.ledger import app as ledger
from xrouter.cli.prices import app as prices
from xrouter.cli.usage import usage
from xrouter.control.billing.taker import Charges
from xrouter.control.db.engine import Database
from xrouter.control.drain import Drain
from xrouter.domain.money import UNKNOWN
from xrouter.domain.usage import UsageEvent


def told(data: Path, app: object, *arguments: str, code: int = 0) -> str:
    env = {"XROUTER_DATA_DIR": str(data), "COLUMNS": "120"}
    done = CliRunner().invoke(app, list(arguments), env=env)  # type: ignore[arg-type]
    assert done.exit_code == code, done.output
    return done.output


def test_bills_by_the_command_line(tmp_path: Path) -> None:
    assert "Nothing was charged" in told(tmp_path, bills, "sum", "--by", "day")
    assert json.loads(told(tmp_path, bills, "sum", "--json")) == []
    assert "opening: 0.00" in told(tmp_path, bills, "statement", "default", "2026-01")
    whole = json.loads(told(tmp_path, bills, "statement", "default", "2026-01", "--json"))
    assert whole["closing"] == {"rubles": "0.00", "billionths": 0}
    assert "0 requests, 0.00 rubles" in told(tmp_path, bills, "close", "default", "2026-01")
    assert "2026-01" in told(tmp_path, bills, "months", "default")
    assert told(tmp_path, bills, "balance", "bank") == "bank: 0.00 rubles\n"
    assert "no organization" in told(tmp_path, bills, "months", "nobody", code=1)


def charged(data: Path, *events: UsageEvent) -> None:
    told(data, bills, "sum")  # makes the database

    async def store() -> None:
        db = Database(f"sqlite+aiosqlite:///{data / 'xrouter.db'}")
        await Drain(db, Pages([list(events)]), takers=(Charges(),)).drain_once()
        await db.close()

    asyncio.run(store())


def test_charges_are_written_whole_however_many_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sheets, "PAGE", 2)
    events = [asked(at=NOON + n, end_user="Яна; Ё", project="ghost") for n in range(5)]
    charged(tmp_path, *events)
    file = tmp_path / "charges.csv"
    for encoding in ("utf-8", "cp1251"):
        only = ("--month", "2026-01", "--organization", "default")
        told(tmp_path, bills, "charges", str(file), "--encoding", encoding, *only)
        text = file.read_bytes().decode("utf-8-sig" if encoding == "utf-8" else encoding)
        head, *rows = text.splitlines()
        assert head.startswith("Запрос;Время;")
        assert [row.split(";")[0] for row in rows] == [e.event_id for e in reversed(events)]
        assert '"Яна; Ё"' in rows[0]
    told(tmp_path, bills, "charges", str(file), "--month", "2026-02")
    assert len(file.read_text("utf-8-sig").splitlines()) == 1


def test_usage_is_written_and_shown_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheets, "PAGE", 2)
    charged(tmp_path, *(asked(end_user=f"u{n}", project="ghost") for n in range(5)))
    shown = typer.Typer()
    shown.command()(usage)
    file = tmp_path / "usage.csv"
    told(tmp_path, shown, "--by", "end_user,model", "--csv", str(file), "--provider", "acme")
    head, *rows = file.read_text("utf-8-sig").splitlines()
    assert head.startswith("end_user;model;requests;")
    assert sorted(row.split(";")[0] for row in rows) == [f"u{n}" for n in range(5)]
    (row,) = json.loads(told(tmp_path, shown, "--by", "end_user", "--end-user", "u3", "--json"))
    assert (row["end_user"], row["unknown"]) == ("u3", 0)


def test_what_had_no_price_is_told_before_and_when_a_month_is_closed(tmp_path: Path) -> None:
    charged(tmp_path, asked(charge=UNKNOWN, project="ghost"))
    warning = "1 of the requests had no price"
    assert warning in told(tmp_path, bills, "statement", "default", "2026-01")
    assert warning in told(tmp_path, bills, "close", "default", "2026-01")
    file = tmp_path / "s.csv"
    told(tmp_path, bills, "statement", "default", "2026-01", "--csv", str(file))
    assert file.read_text("utf-8-sig").startswith("Проект;")


def test_money_comes_in_is_moved_and_taken_back(tmp_path: Path) -> None:
    top_up = ("top-up", "organization:default", "100.50", "--memo", "order 15", "--id", "pp-15")
    first = told(tmp_path, ledger, *top_up)
    assert told(tmp_path, ledger, *top_up) == first, "the same payment is written once"
    assert "Transfer pp-15" in first
    move = ("adjust", "organization:default", "project:default", "0.50", "--memo", "m")
    told(tmp_path, ledger, *move, "--id", "m-1")
    told(tmp_path, ledger, *move)
    told(tmp_path, ledger, "reverse", "m-1", "--memo", "a slip")
    assert told(tmp_path, bills, "balance", "project:default") == "project:default: 0.50 rubles\n"
    rows = json.loads(told(tmp_path, ledger, "lines", "project:default", "--json"))
    assert [row["kind"] for row in rows] == ["reversal", "adjustment", "adjustment"]
    assert "order 15" in told(tmp_path, ledger, "lines", "bank")
    assert "not who pays" in told(tmp_path, ledger, "top-up", "bank", "1", "--memo", "m", code=1)
    again = (*top_up[:2], "7", *top_up[3:])
    assert "is another one" in told(tmp_path, ledger, *again, code=1)


def test_documents_by_the_command_line(tmp_path: Path) -> None:
    act = ("document", "default", "2026-01", "act")
    assert "must end in" in told(tmp_path, bills, *act, "act.doc", code=1)
    missing = told(tmp_path, bills, *act, str(tmp_path / "act.pdf"), code=1)
    assert "Nothing was charged" in missing
    file = tmp_path / "sales.csv"
    assert "bytes" in told(tmp_path, bills, "register", "2026-01", str(file))
    assert file.read_text("utf-8-sig").startswith("Номер;Дата;")
    nowhere = str(tmp_path / "none" / "sales.csv")
    assert "cannot be written" in told(tmp_path, bills, "register", "2026-01", nowhere, code=1)


def test_a_statement_is_compared(tmp_path: Path) -> None:
    file = tmp_path / "statement.csv"
    file.write_text("day;model;tokens\n2026-01-15;one;7\n", "utf-8")
    assert "2026-01-15" in told(tmp_path, bills, "reconcile", "acme", str(file))
    file.write_bytes("day;model;tokens\n2026-01-15;модель;7\n".encode("cp1251"))
    assert "модель" in told(tmp_path, bills, "reconcile", "acme", str(file))
    assert "cannot be read" in told(tmp_path, bills, "reconcile", "acme", "nowhere.csv", code=1)


def test_a_bill_is_settled(tmp_path: Path) -> None:
    file = tmp_path / "bill.csv"
    file.write_text("call;at;model;amount\nc-1;1768478400;one;0,5\n", "utf-8")
    since = "2026-01-01T00:00:00Z"
    given = ("reconcile", "acme", str(file), "--endpoint", "main", "--since", since)
    shown = told(tmp_path, bills, *given)
    assert "not_ours" in shown
    assert "0.50" in shown
    settled = told(tmp_path, bills, *given, "--settle")
    assert "0 attempts made exact; acme gets 0.50 rubles more" in settled
    assert "1 calls agree" in told(tmp_path, bills, *given, "--settle")
    assert "provider:acme: 0.50" in told(tmp_path, bills, "balance", "provider:acme")


def test_packages_by_the_command_line(tmp_path: Path) -> None:
    assert "no packages" in told(tmp_path, packages, "list")
    missing = ("add", "acme", "10", "5", "--until", "2030-01-01T00:00:00Z")
    assert "no such provider" in told(tmp_path, packages, *missing, code=1)
    assert "no package 7" in told(tmp_path, packages, "remove", "7", code=1)
    assert "no provider 'acme'" in told(tmp_path, packages, "check", "acme", code=1)


def test_a_package_is_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XROUTER_DATA_DIR", str(tmp_path))
    adapter = "xrouter.providers.openai.GenericOpenAIAdapter"
    given = {"name": "acme", "base_url": "http://127.0.0.1:9/v1", "adapter_class": adapter}
    call("POST", "/providers", given | {"credential": {"api_key": "k"}})
    told(tmp_path, packages, "add", "acme", "10", "5", "--until", "2030-01-01T00:00:00Z")
    until = "2031-01-01T00:00:00Z"
    changed = told(tmp_path, packages, "set", "1", "--until", until, "--model", "")
    assert changed == f"Package 1: until {until}, 10 tokens left.\n"
    assert "has no model 'acme/x'" in told(
        tmp_path, packages, "set", "1", "--model", "acme/x", code=1
    )
    assert "nothing to change" in told(tmp_path, packages, "set", "1", code=1)


def test_prices_by_the_command_line(tmp_path: Path) -> None:
    assert "No price was added" in told(tmp_path, prices, "import")
    assert json.loads(told(tmp_path, prices, "import", "--json")) == {"added": [], "kept": 0}
    assert "no prices" in told(tmp_path, prices, "list")
