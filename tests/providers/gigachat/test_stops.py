from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xrouter.providers.gigachat.stops import StopCutter

relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

letters = st.text("ab", max_size=12)


def run(stops: list[str], pieces: list[str]) -> tuple[str, bool]:
    cutter = StopCutter(stops)
    out = ""
    for piece in pieces:
        text, cut = cutter.feed(piece)
        out += text
        if cut:
            return out, True
    return out + cutter.flush(), False


@relaxed
@given(st.lists(st.text("ab", max_size=4), max_size=4), st.lists(letters, max_size=8))
def test_the_cut_does_not_depend_on_the_pieces(stops: list[str], pieces: list[str]) -> None:
    assert run(stops, pieces) == run(stops, ["".join(pieces)])


@relaxed
@given(st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=4), letters)
def test_what_goes_out_has_no_stop_and_is_a_beginning(stops: list[str], text: str) -> None:
    out, cut = run(stops, [text])
    assert text.startswith(out)
    assert not any(stop in out for stop in stops)
    assert cut == any(stop in text for stop in stops)
    if not cut:
        assert out == text


@relaxed
@given(st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=4), st.lists(letters))
def test_no_more_is_held_back_than_could_begin_a_stop(stops: list[str], pieces: list[str]) -> None:
    cutter = StopCutter(stops)
    fed = out = ""
    for piece in pieces:
        text, cut = cutter.feed(piece)
        fed += piece
        out += text
        if cut:
            return
        held = fed[len(out) :]
        assert not held or any(stop.startswith(held) for stop in stops)


def test_without_stops_nothing_is_held_back() -> None:
    cutter = StopCutter(["", ""])
    assert cutter.feed("text") == ("text", False)
    assert cutter.flush() == ""


def test_the_stop_that_is_complete_first_cuts() -> None:
    assert run(["abc", "b"], ["ab", "c"]) == ("a", True)
    assert run(["abc", "c"], ["xabc"]) == ("x", True)
