from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from xrouter.cli.billing import bills, packages
from xrouter.cli.prices import app as prices


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
    assert "cannot be read" in told(tmp_path, bills, "reconcile", "acme", "nowhere.csv", code=1)


def test_packages_by_the_command_line(tmp_path: Path) -> None:
    assert "no packages" in told(tmp_path, packages, "list")
    missing = ("add", "acme", "10", "5", "--until", "2030-01-01T00:00:00Z")
    assert "no such provider" in told(tmp_path, packages, *missing, code=1)
    assert "no package 7" in told(tmp_path, packages, "remove", "7", code=1)
    assert "no provider 'acme'" in told(tmp_path, packages, "check", "acme", code=1)


def test_prices_by_the_command_line(tmp_path: Path) -> None:
    assert "No price was added" in told(tmp_path, prices, "import")
    assert json.loads(told(tmp_path, prices, "import", "--json")) == {"added": [], "kept": 0}
    assert "no prices" in told(tmp_path, prices, "list")
