"""Our ledger is the providers' own bill, whatever becomes of requests and of us."""

from __future__ import annotations

from tests.e2e.books import Books
from tests.e2e.fixtures import Servers
from tests.e2e.harness import SandboxProcess
from tests.e2e.traffic import Traffic, open_books, spare_sandbox

REQUESTS = 250
OFF = 0.1
"""As a share of the bill: how far the estimates may lead us astray in all."""


def test_the_ledger_is_the_bill(servers: Servers, sandbox: SandboxProcess) -> None:
    """With callers who leave, faults, a second account, a fallback and a `kill -9`.

    Close to it at once; to the last billionth when the bills are imported.
    """
    server = servers(XROUTER_ACCESS_LOG="false").start()
    with spare_sandbox() as spare:
        open_books(server, spare)
        books = Books(server, {"primary": sandbox, "spare": spare})
        traffic = Traffic(server, (sandbox, spare), seed=20261121)
        traffic.wave(REQUESTS, killed=True)
        books.settle()
        books.collect()
    books.check()
    books.told(traffic.tally.answered)
    figures = books.compare()
    assert figures.heard > REQUESTS * 0.6, figures
    assert figures.unexplained <= 4, figures
    assert figures.off < OFF, figures
    imported = books.import_bills()
    books.check()
    books.check_settled()
    assert imported["settled"] > 0, imported
    again = books.import_bills()
    assert +again == {"agreed": again["agreed"]}, again
    books.check_settled()
