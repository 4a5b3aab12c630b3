"""The account behind an endpoint: its width, its balance, the options about it."""

from typing import Any

import pytest
from tests.providers.gigachat.asking import adapter_of, endpoint_of, play, reply

from xrouter.domain.errors import InvalidRequest, UpstreamDenied, UpstreamMalformed, XRouterError
from xrouter.domain.secret import Secret
from xrouter.providers.gigachat.accounts import Balance
from xrouter.providers.gigachat.adapter import GigaChatAdapter

KEY = {"credentials": Secret("a2V5")}


def width_of(**fields: Any) -> int | None:
    lane = adapter_of(**fields).lane()
    return None if lane is None else lane.width


def test_the_scope_tells_how_many_calls_an_account_takes() -> None:
    assert width_of(credential=KEY) == 1
    assert width_of(credential=KEY, options={"scope": "GIGACHAT_API_PERS"}) == 1
    assert width_of(credential=KEY, options={"scope": "GIGACHAT_API_B2B"}) == 10
    assert width_of(credential=KEY, options={"scope": "GIGACHAT_API_CORP"}) == 10
    assert width_of(client_cert="/cert.pem") is None
    assert width_of(client_cert="/cert.pem", options={"concurrency": "3"}) == 3
    assert width_of(credential=KEY, options={"concurrency": "7"}) == 7


def test_a_lane_names_the_account_and_no_secret() -> None:
    one = adapter_of(id=1, credential=KEY).lane()
    two = adapter_of(id=2, credential=KEY, base_url="http://other").lane()
    other = adapter_of(credential={"credentials": Secret("b3RoZXI=")}).lane()
    assert one is not None
    assert other is not None
    assert one == two
    assert one.key != other.key
    assert "a2V5" not in repr(one)


@pytest.mark.parametrize("given", ["0", "1001", "x", "", "-1", "1.5", "٣"])
def test_a_concurrency_that_is_none(given: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        GigaChatAdapter.validate(endpoint_of(credential=KEY, options={"concurrency": given}))
    assert raised.value.param == "options.concurrency"


def test_the_option_for_addresses_of_images() -> None:
    for given in ("fetch", "refuse"):
        GigaChatAdapter.validate(endpoint_of(credential=KEY, options={"image_urls": given}))
    with pytest.raises(InvalidRequest) as raised:
        GigaChatAdapter.validate(endpoint_of(credential=KEY, options={"image_urls": "yes"}))
    assert raised.value.param == "options.image_urls"


def test_the_balance_of_a_prepaid_account() -> None:
    body = {"balance": [{"usage": "GigaChat", "value": 50000}, {"usage": "x"}, "y"]}
    found, (wire,) = play(adapter_of().balance(), reply(200, body))
    assert found == (Balance("GigaChat", 50000),)
    assert (wire.method, wire.url) == ("GET", "http://h/v1/balance")


def test_a_postpaid_account_has_no_balance() -> None:
    found, _ = play(adapter_of().balance(), reply(403, {"status": 403, "message": "denied"}))
    assert found is None


@pytest.mark.parametrize(
    "status,body,kind",
    [
        (401, {"message": "Unauthorized"}, UpstreamDenied),
        (200, "<html>", UpstreamMalformed),
        (200, {}, UpstreamMalformed),
        (200, [], UpstreamMalformed),
    ],
)
def test_a_balance_that_cannot_be_had(status: int, body: Any, kind: type[XRouterError]) -> None:
    with pytest.raises(kind):
        play(adapter_of().balance(), reply(status, body))
