from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from xrouter.domain.guards import Guards, guards_of, joined
from xrouter.domain.routes import Policy

COUNTRIES = st.sampled_from(["RU", "US", "DE"])
GUARDS = st.none() | st.builds(
    Guards,
    countries=st.none() | st.frozensets(COUNTRIES),
    max_price=st.none() | st.integers(0, 9),
    borders=st.sampled_from(["open", "country", "price", "both"]),
    require_price=st.booleans(),
    groups=st.frozensets(st.sampled_from(["lab", "staff"])),
)


@given(GUARDS, GUARDS, GUARDS)
def test_guards_add_up_in_any_order(
    one: Guards | None, two: Guards | None, three: Guards | None
) -> None:
    assert joined(one, two) == joined(two, one)
    assert joined(joined(one, two), three) == joined(one, joined(two, three))
    assert joined(one, one) == one


def test_the_strictest_of_each_holds() -> None:
    one = guards_of(Policy(countries=("RU", "US"), max_price=5, borders="price"), "lab")
    two = guards_of(Policy(countries=("US", "DE"), max_price=3, borders="country"), "staff")
    assert joined(one, two) == Guards(
        frozenset({"US"}), 3, "both", groups=frozenset({"lab", "staff"})
    )
    apart = joined(one, guards_of(Policy(countries=("DE",), require_price=True)))
    assert apart is not None
    assert (apart.countries, apart.require_price) == (frozenset(), True)


def test_what_forbids_nothing_is_none() -> None:
    assert guards_of(Policy(strategy="auto", require_price=False, fallbacks=("a/b",))) is None
