"""Files of the Bank of Russia. The forms are those of its XML service; the figures are ours."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.control.conftest import Api
from typer.testing import CliRunner

from xrouter.cli.rates import app
from xrouter.control.routing.bank import read
from xrouter.domain.errors import InvalidRequest

DAILY = """<?xml version="1.0" encoding="windows-1251"?>
<ValCurs Date="20.11.2026" name="Foreign Currency Market">
<Valute ID="R01235"><NumCode>840</NumCode><CharCode>USD</CharCode><Nominal>1</Nominal>
<Name>Доллар США</Name><Value>80,9436</Value><VunitRate>80,9436</VunitRate></Valute>
<Valute ID="R01335"><NumCode>398</NumCode><CharCode>KZT</CharCode><Nominal>100</Nominal>
<Name>Тенге</Name><Value>15,4321</Value><VunitRate>0,154321</VunitRate></Valute>
<Valute ID="R01150"><NumCode>704</NumCode><CharCode>VND</CharCode><Nominal>10000</Nominal>
<Name>Донгов</Name><Value>30,5005</Value><VunitRate>0,00305005</VunitRate></Valute>
</ValCurs>"""
DYNAMIC = """<?xml version="1.0" encoding="windows-1251"?>
<ValCurs ID="R01235" DateRange1="18.11.2026" DateRange2="20.11.2026" name="Dynamic">
<Record Date="18.11.2026" Id="R01235"><Nominal>1</Nominal><Value>80,5</Value></Record>
<Record Date="20.11.2026" Id="R01235"><Nominal>1</Nominal><Value>80,9436</Value></Record>
</ValCurs>"""


def shown(text: str, currency: str | None = None) -> list[tuple[str, str, str]]:
    return [(r.currency, r.day.isoformat(), r.rubles) for r in read(text, currency).rates]


def test_a_day_of_all_currencies_is_for_one_unit_each() -> None:
    assert shown(DAILY) == [
        ("USD", "2026-11-20", "80.9436"),
        ("KZT", "2026-11-20", "0.154321"),
        ("VND", "2026-11-20", "0.00305005"),
    ]
    odd = DAILY.replace("<Nominal>100<", "<Nominal>7<")
    assert shown(odd)[1][2] == "2.204585714"


def test_days_of_one_currency() -> None:
    days = [("2026-11-18", "80.5"), ("2026-11-20", "80.9436")]
    assert shown(DYNAMIC) == [("USD", *each) for each in days]
    other = DYNAMIC.replace("R01235", "R01700J")
    assert shown(other, "TRY") == [("TRY", *each) for each in days]
    with pytest.raises(InvalidRequest) as caught:
        read(other)
    assert caught.value.param == "currency"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rates",
        "<html/>",
        "<ValCurs/>",
        "<!DOCTYPE ValCurs [<!ENTITY a 'b'>]>" + DAILY,
        DAILY.replace("80,9436", "80.9436.1"),
        DAILY.replace("80,9436", "0"),
        DAILY.replace("80,9436", "NaN"),
        DAILY.replace("<Nominal>1<", "<Nominal>0<"),
        DAILY.replace("20.11.2026", "2026-11-20"),
        DAILY.replace("USD", "dollar"),
        DYNAMIC[:-1],
    ],
)
def test_what_is_no_such_file_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(text)
    assert caught.value.param == "xml"


async def test_rates_by_the_api(api: Api) -> None:
    found = await api.ask("POST", "/rates/import", json={"xml": DYNAMIC})
    assert [row["day"] for row in found["data"]] == ["2026-11-20", "2026-11-18"]
    again = await api.ask("POST", "/rates/import", json={"xml": DAILY})
    assert len(again["data"]) == 4
    await api.error("POST", "/rates/import", json={"xml": "<a/>"}, status=400)
    await api.error("POST", "/rates/import", json={"xml": DAILY, "currency": "RUB"}, status=400)


def test_rates_by_the_command_line(tmp_path: Path) -> None:
    env = {"XROUTER_DATA_DIR": str(tmp_path), "COLUMNS": "120"}
    file = tmp_path / "XML_daily.asp"
    file.write_bytes(DAILY.encode("windows-1251"))
    done = CliRunner().invoke(app, ["import", str(file)], env=env)
    assert (done.exit_code, "0.00305005" in done.output) == (0, True)
    assert "80.9436" in CliRunner().invoke(app, ["list"], env=env).output
    done = CliRunner().invoke(app, ["import", str(tmp_path / "none")], env=env)
    assert (done.exit_code, "cannot be read" in done.output) == (1, True)
