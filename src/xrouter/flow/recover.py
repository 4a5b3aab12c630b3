"""What a process that was killed had under way, as usage events: nobody heard how it ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from xrouter.domain.answer import Usage
from xrouter.domain.catalog import OWN, Price
from xrouter.domain.money import FREE, Charge, charge_of
from xrouter.domain.snapshot import Snapshot
from xrouter.domain.track import Sent
from xrouter.domain.usage import UsageEvent
from xrouter.flow.yardstick import tokens_of

KILLED = "process_killed"
_STATUS = 500


def recovered(sent: Iterable[Sent], snapshot: Snapshot) -> Iterator[UsageEvent]:
    """An event for each, charged with an estimate of its prompt, for each of its calls."""
    for each in sent:
        tokens = tokens_of(each.characters) * each.calls
        yield UsageEvent(
            event_id=each.event_id,
            request_id=each.request_id,
            at=each.at,
            operation="chat",
            key_id=each.key_id,
            project=each.project,
            model_requested=each.asked,
            model_served=each.model,
            version=each.version,
            provider=each.provider,
            endpoint=each.endpoint,
            attempts=each.attempts,
            streamed=each.streamed,
            status=_STATUS,
            outcome="error",
            error_code=KILLED,
            tokens_in=tokens,
            tokens_estimated=True,
            charge=_charge(each, tokens, snapshot),
            end_user=each.end_user,
        )


def _charge(sent: Sent, tokens: int, snapshot: Snapshot) -> Charge:
    if sent.endpoint.endswith(OWN):
        return FREE
    tenant = None if sent.project is None else snapshot.tenants.get(sent.project)
    usage = Usage(tokens, estimated=True)
    price = _price(sent, snapshot)
    found = charge_of(usage, price, snapshot.rates, tenant, requests=sent.calls)
    return replace(found, is_estimated=True) if found.is_known else found


def _price(sent: Sent, snapshot: Snapshot) -> Price | None:
    model = snapshot.models.get(sent.model)
    found = () if model is None else model.versions
    return next((version.price for version in found if version.label == sent.version), None)
