"""Routes, standbys and versions in the real program: changed while it runs."""

from __future__ import annotations

from tests.e2e.fixtures import Servers
from tests.e2e.harness import SandboxProcess, until

GIGA, OPENAI = "gigachat/GigaChat-2-Max", "openai/gpt-4o-mini"


def test_a_route_made_by_the_command_line_falls_over_and_is_explained(
    servers: Servers, sandbox: SandboxProcess
) -> None:
    server = servers().start()
    made = server.command("routes", "add", "bot", GIGA, OPENAI, "--alias", "auto", cold=True)
    assert made.returncode == 0, made.stderr
    until(lambda: server.chat("auto").status == 200, "the route is there")
    first = server.chat("route/bot")
    assert (first.headers["x-xrouter-model"], first.json["model"]) == (GIGA, GIGA)
    assert first.headers["x-xrouter-route"] == "route/bot; priority"
    listed = server.ask("GET", "/v1/models", key=server.key).json["data"]
    assert "route/bot" in {model["id"] for model in listed}

    sandbox.fault("server_error", provider="gigachat", times=None)
    answers = [server.chat("auto", stream=number % 2 == 0) for number in range(8)]
    assert {answer.status for answer in answers} == {200}
    assert answers[-1].headers["x-xrouter-model"] == OPENAI
    assert answers[-1].headers["x-xrouter-attempts"] == "1"
    assert "held back" in answers[-1].headers["x-xrouter-route"]
    told = server.command("routes", "explain", "auto")
    assert told.returncode == 0, told.stderr
    assert "open" in told.stdout

    until(lambda: len(server.events()) >= 10, "the events are in the database")
    last = max(server.events(), key=lambda event: event["event_id"])
    assert (last["route"], last["provider"]) == ("bot", "openai")
    failed = [event for event in server.events() if event["tried"]]
    assert failed[0]["tried"][0]["provider"] == "gigachat"


def test_an_error_says_who_was_asked(servers: Servers, sandbox: SandboxProcess) -> None:
    server = servers().start()
    sandbox.fault("server_error", provider="openai", times=None)
    body = {"model": OPENAI, "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    for path in ("/v1/chat/completions", "/v1/messages"):
        answer = server.ask("POST", path, body, server.key)
        assert answer.status == 502
        assert answer.headers["x-xrouter-model"] == OPENAI
        assert int(answer.headers["x-xrouter-attempts"]) >= 1
    unknown = server.chat("openai/none")
    assert unknown.status == 404
    assert not [name for name in unknown.headers if name.startswith("x-xrouter-")]


def test_a_change_is_undone_by_one_call(servers: Servers) -> None:
    server = servers().start()
    before = server.control("GET", "/changes?limit=1")["data"][0]["revision"]
    assert server.command("models", "disable", OPENAI).returncode == 0
    until(lambda: server.chat(OPENAI).status == 503, "it is switched off")
    done = server.control("POST", f"/revisions/{before}/restore")
    assert [each["object"] for each in done["changed"]] == [OPENAI]
    until(lambda: server.chat(OPENAI).status == 200, "it answers again")


def test_an_endpoint_that_is_down_is_found_and_told(
    servers: Servers, sandbox: SandboxProcess
) -> None:
    server = servers(XROUTER_PROBE_EVERY="0.5").start()
    sandbox.fault("server_error", provider="openai", times=None, match={"path": "/models"})

    def state() -> str:
        rows = server.control("GET", "/health")["data"]
        return next(str(row["state"]) for row in rows if row["provider"] == "openai")

    until(lambda: state() == "down", "the prober finds it down")
    (incident,) = server.control("GET", "/health/incidents?open=true")["data"]
    assert (incident["provider"], incident["ended_at"]) == ("openai", None)
    assert server.chat(OPENAI).status == 200, "a lone target is tried all the same"
    sandbox.clear()
    until(lambda: state() == "healthy", "it is well again")

    def behind() -> list[bool]:
        return [each["behind"] for each in server.control("GET", "/instances")["data"]]

    until(lambda: behind() == [False], "the process runs the newest revision")


def test_what_callers_think_of_answers_moves_a_route(servers: Servers) -> None:
    server = servers().start()
    targets = [{"model": GIGA}, {"model": OPENAI}]
    options = {"strategy": "quality", "options": {"explore": 0}}
    server.control("POST", "/routes", {"name": "best", "targets": targets, "policy": options})
    until(lambda: server.chat("route/best").status == 200, "the route is there")
    answer = server.chat("route/best")
    assert answer.headers["x-xrouter-model"] == GIGA

    who = ("model", "version", "provider", "endpoint")
    said = {name: answer.headers[f"x-xrouter-{name}"] for name in who} | {"score": 0.1}
    keys = [server.key, *(server.control("POST", "/keys", {"name": n})["key"] for n in "ab")]

    def all_known() -> bool:
        return {server.chat(OPENAI, key=key).status for key in keys} == {200}

    until(all_known, "the keys are known")
    for key in keys:
        assert server.chat("route/best").headers["x-xrouter-model"] == GIGA
        taken = server.ask("POST", "/v1/feedback", said, key=key)
        assert (taken.status, taken.body) == (204, b"")
    assert server.chat("route/best").headers["x-xrouter-model"] == OPENAI

    wrong = server.ask("POST", "/v1/feedback", said | {"score": 1.1}, key=server.key)
    assert (wrong.status, wrong.error["param"]) == (400, "score")
    assert server.ask("POST", "/v1/feedback", said).status == 401


def test_what_must_stay_in_the_country_stays_behind_routes_and_refusals(servers: Servers) -> None:
    server = servers().start()
    yandex = "yandex/yandexgpt"
    here, away = {"countries": ["RU"]}, {"on_refusal": [OPENAI]}
    for provider, country in (("yandex", "RU"), ("openai", "US")):
        server.control("PATCH", f"/providers/{provider}", {"country": country})
    for name, target, policy in (
        ("open", yandex, away),
        ("home", yandex, here | away),
        ("around", "route/home", {}),
        ("abroad", OPENAI, {}),
    ):
        body = {"name": name, "targets": [{"model": target}], "policy": policy}
        server.control("POST", "/routes", body)
    server.control("PATCH", f"/models/{OPENAI}", {"policy": here})
    until(lambda: server.chat("route/abroad").status == 403, "its own policy is there")
    assert server.chat(OPENAI).error["code"] == "country_not_allowed"
    server.control("PATCH", f"/models/{OPENAI}", {"policy": {}})
    until(lambda: server.chat("route/abroad").status == 200, "its own policy is gone")

    assert server.chat("route/open", "[[filter]] x").headers["x-xrouter-model"] == OPENAI
    for name in ("home", "around"):
        answer = server.chat(f"route/{name}", "[[filter]] x")
        assert (answer.headers["x-xrouter-model"], answer.status) == (yandex, 200)
