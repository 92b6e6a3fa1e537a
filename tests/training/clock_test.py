"""Tests of the clock: every moment is in exactly one bucket."""

import time

import pytest

from xmjax.training import clock
from xmjax.training.clock import BUCKETS, Clock


@pytest.fixture
def wall(monkeypatch):
    """A wall clock that is set by hand."""
    now = [100.0]
    monkeypatch.setattr(clock.time, "perf_counter", lambda: now[0])
    return now


def test_each_moment_is_in_one_bucket(wall):
    c = Clock()
    wall[0] += 1
    assert c.switch("compile") == "init"
    wall[0] += 2
    with c.of("evaluation"):
        wall[0] += 4
        with c.of("checkpoint"):
            wall[0] += 8
        wall[0] += 16
    wall[0] += 32
    c.switch("step")
    wall[0] += 64
    expected = {"init": 1, "compile": 34, "evaluation": 20, "checkpoint": 8, "step": 64, "data_wait": 0, "lost": 0}
    assert c.seconds() == c.seconds() == expected  # reading takes nothing away
    wall[0] += 1
    assert c.seconds()["step"] == 65 and sum(c.seconds().values()) == wall[0] - 100


def test_an_error_inside_goes_back_to_the_bucket_before(wall):
    c = Clock()
    with pytest.raises(ZeroDivisionError), c.of("evaluation"):
        wall[0] += 2
        raise ZeroDivisionError
    wall[0] += 1
    assert c.seconds()["evaluation"] == 2 and c.seconds()["init"] == 1


def test_buckets_sum_to_the_wall_time_of_all_runs(wall):
    before = {"step": 50.0, "init": 3.0, "compile": 7.0}
    c = Clock()
    wall[0] += 5
    c.add(before)
    c.add({"lost": 10.0})
    c.switch("step")
    wall[0] += 15
    metrics = c.metrics()
    assert metrics["goodput/total_seconds"] == 50 + 3 + 7 + 5 + 10 + 15
    assert metrics["goodput/share"] == pytest.approx(65 / 90)
    assert {f"goodput/{b}_seconds" for b in BUCKETS} <= metrics.keys()
    assert sum(metrics[f"goodput/{b}_seconds"] for b in BUCKETS) == metrics["goodput/total_seconds"]
    assert Clock(c.seconds()).seconds() == c.seconds()


def test_the_buckets_of_real_time_sum_to_it():
    start = time.perf_counter()
    c = Clock()
    for bucket in BUCKETS:
        with c.of(bucket):
            time.sleep(0.002)
    total = sum(c.seconds().values())
    assert abs(total - (time.perf_counter() - start)) < 1e-3
    assert min(c.seconds().values()) >= 0.002


def test_an_unknown_bucket_is_no_bucket(wall):
    c = Clock()
    c.switch("elsewhere")
    with pytest.raises(KeyError):
        c.switch("step")
