from __future__ import annotations

from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from xrouter.app.workers.tallies import Tallies, Teller, merged


class Process:
    """What one process counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("requests", "R \\ of\nall", ("model",), registry=self.registry)
        self.seconds = Histogram("took_seconds", "T", buckets=(1, 2), registry=self.registry)
        self.running = Gauge("running", "Now", registry=self.registry)
        self.shed = Gauge("shed_total", "A gauge that only rises", registry=self.registry)
        self.revision = Gauge("xrouter_catalog_revision", "R", registry=self.registry)
        self.stale = Gauge("xrouter_catalog_stale", "S", registry=self.registry)

    def render(self) -> bytes:
        return generate_latest(self.registry)


def samples(text: str) -> dict[str, float]:
    """By name and labels, as Prometheus reads them."""
    found = {}
    for family in text_string_to_metric_families(text):
        for each in family.samples:
            labels = ",".join(f"{k}={v}" for k, v in sorted(each.labels.items()))
            found[f"{each.name}{{{labels}}}"] = each.value
    return found


def two() -> tuple[Process, Process]:
    first, second = Process(), Process()
    odd = 'a "b" \\ c}\n 1'
    for process, times in ((first, 2), (second, 3)):
        process.requests.labels(odd).inc(times)
        process.seconds.observe(times - 1)
        process.running.set(times)
        process.shed.set(times)
        process.revision.set(times)
    second.requests.labels("other").inc()
    first.stale.set(1)
    return first, second


def test_counts_are_added_and_gauges_as_each_is_meant() -> None:
    first, second = two()
    found = samples(merged([first.render().decode(), second.render().decode()]))
    assert found['requests_total{model=a "b" \\ c}\n 1}'] == 5
    assert found["requests_total{model=other}"] == 1
    assert found["took_seconds_count{}"] == 2
    assert found["took_seconds_sum{}"] == 3
    assert found["took_seconds_bucket{le=1.0}"] == 1
    assert found["took_seconds_bucket{le=+Inf}"] == 2
    assert found["running{}"] == 5
    assert found["shed_total{}"] == 5
    assert found["xrouter_catalog_revision{}"] == 2
    assert found["xrouter_catalog_stale{}"] == 1
    created = [samples(each.render().decode())["took_seconds_created{}"] for each in two()]
    assert found["took_seconds_created{}"] < min(created)


def test_one_process_is_told_as_it_is() -> None:
    text = two()[0].render().decode()
    told = merged([text])
    assert samples(told) == samples(text)
    assert [line for line in told.splitlines() if line.startswith("#")] == [
        line for line in text.splitlines() if line.startswith("#")
    ]


def test_what_a_process_had_counted_outlives_it(tmp_path: Path) -> None:
    tallies = Tallies(tmp_path)
    first, second = two()
    tellers = [Teller(tallies, f"worker-{n}", p.render) for n, p in enumerate((first, second))]
    for teller in tellers:
        teller.write()
    before = samples(tallies.text())
    assert tallies.names() == ["worker-0", "worker-1"]
    tallies.retire("worker-0")
    tallies.retire("worker-0")
    after = samples(tallies.text())
    assert tallies.names() == ["worker-1"]
    counted = {name for name in before if name.startswith(("requests", "took", "shed"))}
    assert {name: after[name] for name in counted} == {name: before[name] for name in counted}
    assert after["running{}"] == 3
    tallies.retire("worker-1")
    assert samples(tallies.text())["requests_total{model=other}"] == 1
    assert "running{}" not in samples(tallies.text())


def test_who_is_asked_tells_its_own_counts_as_they_are_now(tmp_path: Path) -> None:
    first, second = two()
    tallies = Tallies(tmp_path)
    asked, other = (Teller(tallies, f"worker-{n}", p.render) for n, p in enumerate((first, second)))
    other.write()
    first.requests.labels("new").inc()
    second.requests.labels("new").inc()
    found = samples(asked.text().decode())
    assert found["requests_total{model=new}"] == 1
    assert found["requests_total{model=other}"] == 1
