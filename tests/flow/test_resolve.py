from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.flow.catalog import model, snapshot

from xrouter.domain.catalog import Model, Version
from xrouter.domain.errors import InvalidRequest, ModelNotFound, ModelUnavailable, NotReady
from xrouter.domain.snapshot import EMPTY
from xrouter.flow.resolve import find, resolve

LATEST = Version(label="5", upstream="m/latest", channel="latest")
RC = Version(label="5.1", upstream="m/rc", channel="rc")
MOVING = model("north/m", LATEST, RC)


@pytest.mark.parametrize(
    "name,version",
    [
        ("north/m", LATEST),
        ("north/m:latest", LATEST),
        ("north/m:rc", RC),
        ("north/m:5.1", RC),
        ("north/m:5", LATEST),
    ],
)
def test_channels_and_labels_lead_to_versions(name: str, version: Version) -> None:
    assert resolve(name, snapshot(MOVING), ("chat",)).version is version


def test_an_id_with_colons_and_slashes_wins_over_its_parts() -> None:
    free = model("west/lab/gem:free")
    plain = model("west/lab/gem", Version(label="free", upstream="other"))
    found = resolve("west/lab/gem:free", snapshot(free, plain), ("chat",))
    assert found.model is free


TAGGED = model("ollama/gemma3:12b", LATEST, RC)
OTHER_TAG = model("ollama/gemma3:12b:latest")
BARE = model("ollama/gemma3", Version(label="12b", upstream="bare", channel="latest"))


@pytest.mark.parametrize(
    "name,models,found,upstream",
    [
        ("ollama/gemma3:12b", (TAGGED, BARE), TAGGED, "m/latest"),
        ("ollama/gemma3:12b", (BARE,), BARE, "bare"),
        ("ollama/gemma3:12b:latest", (TAGGED, BARE), TAGGED, "m/latest"),
        ("ollama/gemma3:12b:rc", (TAGGED, BARE), TAGGED, "m/rc"),
        ("ollama/gemma3:12b:5.1", (TAGGED, BARE), TAGGED, "m/rc"),
        ("ollama/gemma3:12b:latest", (TAGGED, OTHER_TAG), OTHER_TAG, "ollama/gemma3:12b:latest"),
        ("ollama/gemma3:latest", (TAGGED, BARE), BARE, "bare"),
        (
            "ollama/hf.co/org/repo:Q4_K_M:latest",
            (model("ollama/hf.co/org/repo:Q4_K_M", LATEST),),
            model("ollama/hf.co/org/repo:Q4_K_M", LATEST),
            "m/latest",
        ),
    ],
)
def test_a_tag_in_an_id_is_no_channel(
    name: str, models: tuple[Model, ...], found: Model, upstream: str
) -> None:
    """The id as a whole comes first; else what stands after the last colon is the version."""
    wanted = resolve(name, snapshot(*models), ("chat",))
    assert (wanted.model, wanted.version.upstream) == (found, upstream)


@pytest.mark.parametrize(
    "name",
    [
        "ollama/gemma3:12b:beta",
        "ollama/gemma3:12b:",
        "ollama/gemma3:12b::latest",
        "ollama/gemma3:12b:latest:latest",
        "ollama/gemma3:latest",
        "ollama/gemma3",
    ],
)
def test_a_name_that_only_begins_like_an_id_with_a_tag_is_unknown(name: str) -> None:
    with pytest.raises(ModelNotFound):
        resolve(name, snapshot(TAGGED), ("chat",))


@pytest.mark.parametrize(
    "name", ["north/x", "m", "north/m:beta", ":", "", "north/m:", "\n", "../m"]
)
def test_unknown_names_are_404_and_name_the_parameter(name: str) -> None:
    with pytest.raises(ModelNotFound) as refused:
        resolve(name, snapshot(MOVING), ("chat",))
    assert refused.value.status == 404
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")


def test_a_bare_name_gets_the_full_one_as_a_hint() -> None:
    with pytest.raises(ModelNotFound) as refused:
        resolve("m", snapshot(MOVING), ("chat",))
    assert "north/m" in (refused.value.hint or "")


@given(st.text(max_size=3000))
def test_any_text_is_404_and_never_echoed_whole(name: str) -> None:
    with pytest.raises(ModelNotFound) as refused:
        resolve("?" + name, snapshot(MOVING), ("chat",))
    assert len(refused.value.message) < 300


def test_before_the_first_snapshot_it_is_503() -> None:
    with pytest.raises(NotReady):
        find("north/m", EMPTY)


def test_a_switched_off_model_says_so() -> None:
    off = model("north/off", is_available=False)
    with pytest.raises(ModelUnavailable, match="switched off"):
        resolve("north/off", snapshot(off), ("chat",))


def test_a_model_of_the_other_kind_is_refused() -> None:
    vectors = model("north/v", kind="embeddings")
    with pytest.raises(InvalidRequest) as refused:
        resolve("north/v", snapshot(vectors, MOVING), ("chat",))
    assert refused.value.param == "model"
    assert "north/m" in (refused.value.hint or "")


def test_a_retired_model_names_its_successor() -> None:
    gone = Version(label="1", upstream="m", status="retired", successor="north/new")
    old = model("north/old", gone, is_available=False)
    with pytest.raises(ModelNotFound, match="was retired") as refused:
        resolve("north/old", snapshot(old), ("chat",))
    assert refused.value.hint == "Use `north/new` in its place."
