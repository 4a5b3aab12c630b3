"""xrouter: the command line."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer
import uvloop

from xrouter.app.allinone import AllInOne
from xrouter.app.configured import door_limits, gateway_config, vault_of
from xrouter.app.gateway import Gateway
from xrouter.app.presence import AlreadyRunning
from xrouter.app.workers.supervisor import Supervisor
from xrouter.cli import (
    billing,
    credentials,
    db,
    doctor,
    health,
    keys,
    ledger,
    limits,
    master_key,
    models,
    people,
    prices,
    providers,
    rates,
    registry,
    releases,
    routes,
)
from xrouter.cli.control import settings
from xrouter.cli.output import fail
from xrouter.cli.usage import usage
from xrouter.control.server import own_version
from xrouter.domain.errors import XRouterError
from xrouter.edge.run import RunOptions
from xrouter.sandbox import server as sandbox_server
from xrouter.settings import Settings, provider_environment
from xrouter.telemetry import logs

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    help="XRouter: one OpenAI-compatible door for all your language models.",
)
app.add_typer(providers.app, name="providers")
app.add_typer(models.app, name="models")
app.add_typer(keys.app, name="keys")
app.add_typer(credentials.app, name="credentials")
app.add_typer(people.users, name="users")
app.add_typer(people.organizations, name="organizations")
app.add_typer(people.projects, name="projects")
app.add_typer(limits.app, name="limits")
app.add_typer(billing.bills, name="bills")
app.add_typer(billing.packages, name="packages")
app.add_typer(ledger.app, name="ledger")
app.add_typer(prices.app, name="prices")
app.add_typer(rates.app, name="rates")
app.add_typer(health.app, name="health")
app.add_typer(routes.app, name="routes")
app.add_typer(registry.app, name="registry")
app.add_typer(releases.app, name="releases")
app.add_typer(db.app, name="db")
app.add_typer(master_key.app, name="master-key")
app.command("usage")(usage)
app.command("doctor")(doctor.doctor)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"xrouter {own_version()}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool | None,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = None,
) -> None:
    """XRouter: one OpenAI-compatible door for all your language models."""


class Role(StrEnum):
    """What a process does."""

    all = "all"
    gateway = "gateway"


@app.command()
def serve(
    role: Annotated[
        Role, typer.Option(help="all: everything; gateway: the data plane, without a database.")
    ] = Role.all,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=64, help="Processes that answer; by default XROUTER_WORKERS, 1."),
    ] = None,
) -> None:
    """Serve the door, the catalog and the control API.

    A gateway answers from the snapshot that a server with all roles keeps in the data folder.
    """
    current = settings()
    number = workers or current.workers
    if (workers or 1) > 1 and role is not Role.all:
        raise fail("A gateway is one process.", "Start several, or leave out --role.")
    writer = logs.console_writer()
    logs.configure(writer, current.log_level)
    writer.start()
    try:
        current.data_dir.mkdir(parents=True, exist_ok=True)
        uvloop.run(_serve(current, writer, role, number))
    except AlreadyRunning as error:
        raise fail(str(error), "Stop it, or set XROUTER_DATA_DIR to another folder.") from None
    except XRouterError as error:
        raise fail(error.message, error.hint) from None
    except OSError as error:
        raise fail(
            f"The data folder {current.data_dir} cannot be used: {error}",
            "Set XROUTER_DATA_DIR to a folder that may be written.",
        ) from None
    finally:
        writer.stop()


@app.command()
def sandbox(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any free one.")] = 8090,
) -> None:
    """Simulate the providers, faults on demand included."""
    try:
        sandbox_server.main(host, port, announce=True)
    except OSError as error:
        raise fail(f"Cannot listen on {host}:{port}: {error}", "Choose another --port.") from None


async def _serve(current: Settings, writer: logs.LineWriter, role: Role, workers: int) -> None:
    if workers > 1 and role is Role.all:
        await Supervisor(current, workers, _say).run()
        return
    if role is Role.all:
        await AllInOne(current, provider_environment(), writer, _say).run()
        return
    config = gateway_config(current)
    options = RunOptions(host=current.host, port=current.port, grace=current.grace)
    await Gateway(config, vault_of(current), writer, door_limits(current), options).run()


def _say(text: str) -> None:
    typer.echo(text)
    sys.stdout.flush()


if __name__ == "__main__":
    app()
