"""Every command, against a running server and without one: the same words, the same results."""

from __future__ import annotations

import re
from pathlib import Path

from tests.cli.harness import Place, Shell
from tests.e2e.fixtures import Servers
from tests.e2e.harness import Server, until

MODEL = "openai/gpt-4o-mini"


def _answers(place: Place, model: str, status: int) -> None:
    """Where a server runs, it has heard of the change."""
    server = place.server
    if server is not None:
        until(lambda: server.chat(model).status == status, f"{model} answers {status}", 5)


# --- providers


def test_providers(place: Place) -> None:
    assert "providers add" in place.out("providers", "list")
    said = place.add_openai()
    assert re.search(r"openai is registered; models: \d\d added", said)
    _answers(place, MODEL, 200)

    url = place.sandbox.environment["OPENAI_BASE_URL"]
    said = place.out(
        *("providers", "standby", "openai", "--base-url", url),
        *("--credential", "api_key=sk-sandbox-two"),
    )
    assert "openai has the further endpoint" in said
    (listed,) = place.json("providers", "list")
    assert [each["base_url"] for each in listed["endpoints"]] == [url, url]
    table = place.out("providers", "list")
    assert table.count(url) == 2
    assert "sk-sandbox" not in table + str(listed)

    place.run("providers", "disable", "openai")
    assert not place.json("providers", "list")[0]["is_enabled"]
    _answers(place, MODEL, 503)
    place.run("providers", "enable", "openai")
    assert place.json("providers", "list")[0]["is_enabled"]
    _answers(place, MODEL, 200)

    place.run("providers", "remove", "openai", code=1, given="n\n")
    assert place.json("providers", "list")
    assert "removed" in place.out("providers", "remove", "openai", "--yes")
    assert place.json("providers", "list") == []
    assert place.json("models", "list") == []
    _answers(place, MODEL, 404)


def test_providers_credentials_from_files_and_standard_input(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("sk-sandbox-from-file\n")
    url = place.sandbox.environment["OPENAI_BASE_URL"]
    add = "providers", "add", "openai", "--base-url", url, "--credential"
    place.out(*add, f"api_key=@{file}")
    place.out("models", "sync", "--provider", "openai", "--live")
    place.out("providers", "remove", "openai", "--yes")
    place.out(*add, "api_key=-", given="sk-sandbox-from-input\n")
    place.out("models", "sync", "--provider", "openai", "--live")


def test_providers_refusals(place: Place) -> None:
    url = place.sandbox.environment["OPENAI_BASE_URL"]
    key = "--credential", "api_key=sk-sandbox"
    place.add_openai()
    assert "openai" in place.refused("providers", "add", "openai", "--base-url", url, *key)
    said = place.refused("providers", "add", "nobody", "--base-url", "http://127.0.0.1:9", *key)
    assert "http://127.0.0.1:9" in said
    assert "{" not in said, "a message for people, not a log line"
    said = place.refused("providers", "add", "nobody", "--base-url", place.sandbox.url, *key)
    assert "adapter" in said
    said = place.refused("providers", "add", "gigachat", "--base-url", url)
    assert "credential" in said
    said = place.refused("providers", "add", "openai2", "--base-url", "nonsense", *key)
    assert "base_url" in said
    said = place.refused("providers", "add", "x", "--base-url", url, "--credential", "api_key")
    assert "name=value" in said
    said = place.refused(
        "providers", "add", "x", "--base-url", url, "--credential", "api_key=@/no/such/file"
    )
    assert "/no/such/file" in said
    for command in (("enable",), ("disable",), ("remove", "--yes")):
        assert "nobody" in place.refused("providers", *command, "nobody")
    assert "nobody" in place.refused("providers", "standby", "nobody", "--base-url", url)
    assert len(place.json("providers", "list")) == 1


def test_a_provider_whose_address_does_not_answer_is_registered_all_the_same(place: Place) -> None:
    out, err = place.run(
        *("providers", "add", "openai", "--base-url", "http://127.0.0.1:9/v1"),
        *("--credential", "api_key=sk-x"),
    )
    assert "registered" in out
    assert "refused" in err
    assert place.json("models", "list")


def test_adapters(empty_place: Place) -> None:
    rows = empty_place.json("providers", "adapters")
    assert {"gigachat", "yandex", "openai", "llamacpp"} <= {row["provider"] for row in rows}
    table = empty_place.out("providers", "adapters")
    assert all(row["adapter_class"] in table for row in rows)


# --- models


def test_models(place: Place) -> None:
    assert "models sync" in place.out("models", "list")
    place.add_openai()
    rows = place.json("models", "list")
    row = next(row for row in rows if row["model_id"] == MODEL)
    assert (row["kind"], row["context_length"], row["is_available"]) == ("chat", 128_000, True)
    assert (row["vanished_at"], row["vanished"]) == (None, False)
    assert "vanished" in place.out("models", "list").splitlines()[0]
    assert MODEL in place.out("models", "list")
    assert {row["provider"] for row in place.json("models", "list", "--provider", "openai")} == {
        "openai"
    }
    assert place.json("models", "list", "--provider", "gigachat") == []

    made = place.json(
        *("models", "add", "openai/mine", "--upstream", "gpt-4o", "--display-name", "Mine"),
        *("--context-length", "4000"),
    )
    assert (made["model_id"], made["display_name"]) == ("openai/mine", "Mine")
    assert [version["upstream"] for version in made["versions"]] == ["gpt-4o"]
    _answers(place, "openai/mine", 200)
    place.run("models", "disable", "openai/mine")
    assert [r["model_id"] for r in place.json("models", "list", "--unavailable")] == ["openai/mine"]
    _answers(place, "openai/mine", 503)
    place.run("models", "enable", "openai/mine")
    assert place.json("models", "list", "--unavailable") == []
    _answers(place, "openai/mine", 200)
    place.run("models", "remove", "openai/mine")
    _answers(place, "openai/mine", 404)

    again = place.json("models", "sync", "--live")
    assert (again["added"], again["failed"]) == (0, [])
    assert "0 added" in place.out("models", "sync")


def test_models_refusals(place: Place) -> None:
    place.add_openai()
    assert "provider/name" in place.refused("models", "add", "mine")
    assert "nobody" in place.refused("models", "add", "nobody/mine")
    assert "exists" in place.refused("models", "add", MODEL)
    assert "kind" in place.refused("models", "add", "openai/mine", "--kind", "song")
    assert "no.Such" in place.refused("models", "add", "openai/mine", "--adapter", "no.Such")
    for command in ("enable", "disable", "remove"):
        assert "openai/none" in place.refused("models", command, "openai/none")


def test_a_sync_that_fails_in_part_says_so(place: Place) -> None:
    place.add_openai()
    place.sandbox.fault("server_error", match={"path": "models"})
    _, err = place.run("models", "sync", "--live", code=1)
    assert "openai:" in err


# --- keys


def test_keys(place: Place) -> None:
    before = place.json("keys", "list")
    assert "xrouter projects" in place.refused("keys", "create", "mine", "--project", "demo")
    place.out("projects", "add", "demo")
    out, err = place.run("keys", "create", "mine", "--project", "demo", "--rpm", "60")
    key = out.strip()
    assert re.fullmatch(r"sk-xr-[\w-]{48}", key), "only the key is on standard output"
    assert "not shown again" in err
    made = place.json("keys", "create", "other", "--expires", "2127-01-31")
    assert made["key"].startswith("sk-xr-")
    assert made["expires_at"].startswith("2127-01-31")

    rows = place.json("keys", "list")
    assert len(rows) == len(before) + 2
    row = next(row for row in rows if row["name"] == "mine")
    assert (row["project"], row["rpm"], row["revoked_at"]) == ("demo", 60, None)
    table = place.out("keys", "list")
    assert row["key_id"] in table
    assert key not in table + str(rows)

    assert row["key_id"] in place.out("keys", "revoke", row["key_id"])
    rows = place.json("keys", "list")
    assert next(row for row in rows if row["name"] == "mine")["revoked_at"] is not None


def test_keys_are_changed(place: Place) -> None:
    place.out("projects", "add", "demo")
    place.out("keys", "create", "mine", "--rpm", "60", "--group", "lab", "--expires", "2127-01-31")
    key_id = next(row["key_id"] for row in place.json("keys", "list") if row["name"] == "mine")
    out = place.out("keys", "set", key_id, "--name", "ours", "--project", "demo", "--rpm", "5")
    assert "ours" in out
    (row,) = place.json("keys", "set", key_id, "--group", "a", "--group", "b")
    assert (row["name"], row["project"], row["rpm"]) == ("ours", "demo", 5)
    assert (row["groups"], row["expires_at"]) == (["a", "b"], "2127-01-31T00:00:00Z")
    (row,) = place.json("keys", "set", key_id, "--rpm", "0", "--group", "", "--expires", "never")
    assert (row["rpm"], row["groups"], row["expires_at"]) == (None, [], None)
    assert "nothing to change" in place.refused("keys", "set", key_id)
    assert "expires_at" in place.refused("keys", "set", key_id, "--expires", "2001-01-01")
    place.out("keys", "revoke", key_id)
    assert "revoked" in place.refused("keys", "set", key_id, "--rpm", "7")
    assert "key_none" in place.refused("keys", "set", "key_none", "--rpm", "7")


def test_keys_are_held_to_what_they_may(place: Place) -> None:
    place.out(
        "keys", "create", "held", "--scope", "chat", "--model", "acme/*", "--ip", "10.1.2.3/8"
    )
    row = next(row for row in place.json("keys", "list") if row["name"] == "held")
    held = {"scopes": ["chat"], "models": ["acme/*"], "ip_ranges": ["10.0.0.0/8"], "tags": []}
    assert {name: row[name] for name in held} == held
    (row,) = place.json("keys", "set", row["key_id"], "--scope", "", "--tag", "a", "--tag", "b")
    assert (row["scopes"], row["models"], row["tags"]) == ([], ["acme/*"], ["a", "b"])
    assert "scopes" in place.refused("keys", "create", "x", "--scope", "all")


def test_keys_are_rotated_and_revoked_together(place: Place) -> None:
    place.out("projects", "add", "leaky")
    made = place.json("keys", "create", "mine", "--project", "leaky")
    out, err = place.run("keys", "rotate", made["key_id"], "--grace", "60")
    assert out.strip().startswith("sk-xr-")
    assert out.strip() != made["key"]
    assert made["key_id"] in err
    assert "grace_seconds" in place.refused("keys", "rotate", made["key_id"], "--grace", "-1")
    assert "1 keys" in place.out("keys", "revoke-all", "--project", "leaky", "--yes")
    assert "0 keys" in place.out("keys", "revoke-all", "--project", "leaky", "--yes")
    assert "project" in place.refused("keys", "revoke-all", "--project", "none", "--yes")
    assert "revoked" in place.refused("keys", "rotate", made["key_id"])


def test_keys_refusals(empty_place: Place) -> None:
    assert "ISO 8601" in empty_place.refused("keys", "create", "x", "--expires", "tomorrow")
    assert "rpm" in empty_place.refused("keys", "create", "x", "--rpm", "0")
    assert "key_none" in empty_place.refused("keys", "revoke", "key_none")
    empty_place.refused("keys", "create", "")
    empty_place.refused("keys", "create", "x", "--expires", "2001-01-01")


# --- usage


def test_usage_of_nothing(empty_place: Place) -> None:
    assert "Nothing was asked yet" in empty_place.out("usage")
    assert "Nothing was asked yet" in empty_place.out("usage", "--events", "5")
    assert empty_place.json("usage") == empty_place.json("usage", "--events", "5") == []
    assert "since" in empty_place.refused("usage", "--since", "yesterday")


def _use(server: Server) -> None:
    """Five requests: three answered by two models, two for a model that does not exist."""
    assert server.chat(MODEL).status == 200
    for model in (MODEL, "openai/gpt-4o", "openai/none", "openai/none"):
        server.chat(model)
    until(lambda: len(server.events()) == 5, "the events are stored")


def _shows_usage(place: Shell) -> None:
    by_model = {row["model"]: row for row in place.json("usage")}
    assert by_model[MODEL]["requests"] == 2
    assert by_model[MODEL]["tokens_out"] > 0
    assert by_model["openai/gpt-4o"]["requests"] == 1
    for by in ("key", "provider", "day", "project,model"):
        assert place.json("usage", "--by", by)
        assert "requests" in place.out("usage", "--by", by)
    assert MODEL in place.out("usage")
    events = place.json("usage", "--events", "3")
    assert len(events) == 3
    assert events[0]["at"] >= events[-1]["at"], "the newest come first"
    assert events[0]["request_id"] in place.out("usage", "--events", "3")
    assert place.json("usage", "--since", "2127-01-01T00:00:00Z") == []
    assert place.json("usage", "--until", "2001-01-01T00:00:00Z") == []


def test_usage(servers: Servers) -> None:
    server = servers().start()
    _use(server)
    _shows_usage(Shell(server.data))
    server.stop()
    _shows_usage(Shell(server.data))


def test_usage_refusals(empty_place: Place) -> None:
    empty_place.run("usage", "--by", "colour", code=2)
    empty_place.run("usage", "--events", "0", code=2)
