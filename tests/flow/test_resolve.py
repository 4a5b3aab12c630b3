from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.flow.catalog import model, snapshot

from xrouter.domain.catalog import Model, Version
from xrouter.domain.errors import InvalidRequest, ModelNotFound, ModelUnavailable, NotReady
from xrouter.domain.routes import CHAIN, Policy
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


def test_a_variant_that_no_list_shows_goes_to_the_provider() -> None:
    """Only where the provider takes such; a version of that name comes first."""
    listed = Version(label="floor", upstream="m-floor")
    taking = model("north/m", LATEST, listed, variants=("nitro", "floor"))
    found = resolve("north/m:nitro", snapshot(taking), ("chat",))
    assert (found.version.upstream, found.version.label) == ("m/latest:nitro", "5:nitro")
    assert resolve("north/m:floor", snapshot(taking), ("chat",)).version is listed
    with pytest.raises(ModelNotFound):
        resolve("north/m:turbo", snapshot(taking), ("chat",))
    with pytest.raises(ModelNotFound):
        resolve("north/m:nitro", snapshot(MOVING), ("chat",))


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


DATED = Version(label="latest", upstream="m/2", channel="deprecated")
OLDER = Version(label="deprecated", upstream="m/1")
PROMOTED = Version(label="rc", upstream="m/3", channel="latest")


def test_a_channels_word_never_pins_a_label() -> None:
    """As after a release of a model whose labels are the words of its first channels."""
    moved = snapshot(model("north/m", PROMOTED, DATED, OLDER))
    assert resolve("north/m", moved, ("chat",)).version is PROMOTED
    assert resolve("north/m:latest", moved, ("chat",)).version is PROMOTED
    assert resolve("north/m:deprecated", moved, ("chat",)).version is DATED
    with pytest.raises(ModelNotFound) as refused:
        resolve("north/m:rc", moved, ("chat",))
    assert refused.value.hint == "It has: deprecated, latest."
    retired = model("north/m", PROMOTED, OLDER, retired={"latest": "north/m:latest"})
    with pytest.raises(ModelNotFound, match="has no version or channel `deprecated`"):
        resolve("north/m:deprecated", snapshot(retired), ("chat",))
    kind = replace(retired, policy=Policy(missing="next"))
    assert resolve("north/m:rc", snapshot(kind), ("chat",)).version is PROMOTED
    with pytest.raises(ModelNotFound):
        resolve("north/m:deprecated", snapshot(kind), ("chat",))


_LABELS = st.lists(st.sampled_from((*CHAIN, "v1", "v2")), min_size=1, max_size=5, unique=True)


@given(_LABELS, st.permutations((*CHAIN, None, None)), st.sampled_from((*CHAIN, "v1", "v2")))
def test_a_word_means_its_channel_and_nothing_else(
    labels: list[str], channels: list[str | None], asked: str
) -> None:
    made = zip(labels, channels, strict=False)
    versions = [Version(label=label, upstream=label, channel=channel) for label, channel in made]
    what = "channel" if asked in CHAIN else "label"
    expected = [v for v in versions if getattr(v, what) == asked]
    try:
        found = [resolve(f"north/m:{asked}", snapshot(model("north/m", *versions)), ()).version]
    except ModelNotFound:
        found = []
    assert found == expected


@pytest.mark.parametrize(
    "successor,hint",
    [("north/new", "Use `north/new` in its place."), (None, "Use `north/m` in its place.")],
)
def test_a_retired_version_says_so(successor: str | None, hint: str) -> None:
    left = model("north/m", LATEST, retired={"4": successor})
    with pytest.raises(ModelNotFound, match="The version `4` of the model `north/m` was ret") as no:
        resolve("north/m:4", snapshot(left), ("chat",))
    assert (no.value.status, no.value.hint) == (404, hint)


@pytest.mark.parametrize("name", ["north/m", "north/m:latest", "north/m:rc", "north/m:latest-1"])
def test_by_any_name_a_retired_model_says_so(name: str) -> None:
    gone = Version(label="latest", upstream="m", status="retired", successor="north/new")
    old = model("north/m", gone, is_available=False)
    with pytest.raises(ModelNotFound, match="The model `north/m` was retired") as refused:
        resolve(name, snapshot(old), ("chat",))
    assert refused.value.hint == "Use `north/new` in its place."
