"""Settings, as the parts take them; nothing of the control plane is loaded."""

from __future__ import annotations

from xrouter.app.gateway import GatewayConfig
from xrouter.edge.limits import DoorLimits
from xrouter.settings import Settings
from xrouter.stores.vault import Vault, VaultError, load_or_create

MASTER_KEY = "master.key"
SEALED = ("xrouter.db", "snapshot.sealed")


def vault_of(settings: Settings) -> Vault:
    """The vault of the data folder; its key is made on first use.

    Raises VaultError, also when the key is gone but what it sealed is still there.
    """
    path = settings.data_dir / MASTER_KEY
    sealed = [name for name in SEALED if (settings.data_dir / name).exists()]
    if sealed and not path.exists():
        raise VaultError(
            f"The master key {path} is missing, but {sealed[0]} was made with it.",
            hint="Restore it from your backup. Without it no API key and no credential is good; "
            "to begin anew, move the other files of the folder away.",
        )
    return load_or_create(path)


def gateway_config(settings: Settings, workers: int = 1, *, answers: bool = True) -> GatewayConfig:
    """What the data plane works with. workers: how many answer behind one door; answers: whether
    this process does.
    """
    return GatewayConfig(
        settings.data_dir,
        access_log=settings.access_log,
        journal_max_bytes=settings.journal_max_bytes,
        public_status=settings.public_status,
        redis_url=settings.redis,
        workers=workers,
        answers=answers,
        require_price=settings.require_price == "refuse",
    )


def door_limits(settings: Settings) -> DoorLimits:
    """The bounds of the door."""
    return DoorLimits(
        max_body=settings.max_body,
        body_timeout=settings.body_timeout,
        max_running=settings.max_running,
        max_body_bytes_in_flight=settings.max_bodies,
        max_lag=settings.max_lag,
        proxies=settings.proxies,
    )
