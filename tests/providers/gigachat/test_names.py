import uuid

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xrouter.providers.gigachat.names import caller_name, new_call_id, state_of, upstream_name

relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@relaxed
@given(st.uuids())
def test_a_state_survives_in_the_call_id(state: uuid.UUID) -> None:
    call_id = new_call_id(str(state))
    assert len(call_id) <= 40
    assert state_of(call_id) == str(state)


def test_ids_are_never_given_twice() -> None:
    state = str(uuid.uuid4())
    assert len({new_call_id(state) for _ in range(1000)}) == 1000
    assert len({new_call_id(None) for _ in range(1000)}) == 1000


@pytest.mark.parametrize("state", [None, "", "no uuid", 5, {"a": 1}])
def test_what_is_no_uuid_is_not_carried(state: object) -> None:
    assert state_of(new_call_id(state)) is None


@relaxed
@given(st.text(max_size=60))
def test_foreign_ids_are_not_ours(call_id: str) -> None:
    assert state_of(call_id) is None
    assert state_of("call_g" + call_id) is None


def test_an_id_that_was_altered_is_not_ours() -> None:
    call_id = new_call_id(str(uuid.uuid4()))
    other = "A" if call_id[10] != "A" else "B"
    assert state_of(call_id[:10] + other + call_id[11:]) is None
    assert state_of(call_id + "=") is None
    assert state_of(call_id[:-1] + "я") is None


@relaxed
@given(
    st.one_of(
        st.text(),
        st.builds(
            lambda n, name: "caller_" * n + name,
            st.integers(0, 4),
            st.sampled_from(["web_search", "text2image", "x"]),
        ),
    )
)
def test_renaming_is_reversible(name: str) -> None:
    assert caller_name(upstream_name(name)) == name
    assert upstream_name(name) not in ("web_search", "text2image")
