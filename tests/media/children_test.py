"""Tests of child processes: what hangs or dies costs its own file."""

import sys
import time

import pytest

from xmjax.errors import UserError
from xmjax.media import children

CHILD = """
import json, os, sys, time
print("ready", flush=True)
for line in sys.stdin:
    job = json.loads(line)
    if job["do"] == "hang": time.sleep(60)
    if job["do"] == "crash": os.kill(os.getpid(), 11)
    if job["do"] == "leave": sys.exit(3)
    print(json.dumps({"state": "kept", "child": os.getpid()}), flush=True)
"""


def test_hanging_and_dying_children_are_replaced():
    jobs = [{"do": do, "id": i} for i, do in enumerate(["work", "hang", "work", "crash", "work", "leave", "work"])]
    began = time.monotonic()
    found = {job["id"]: outcome for job, outcome in children.run(jobs, 1, 1.0, [sys.executable, "-c", CHILD])}
    assert time.monotonic() - began < 20
    assert [found[i]["state"] for i in range(7)] == ["kept", "broken"] * 3 + ["kept"]
    assert found[1]["reason"] == "decoding took longer than 1 s" and found[1]["timeout"] == 1.0
    assert found[3]["reason"] == "the decoder died of signal 11"
    assert found[5]["reason"] == "the decoder ended with status 3"


def test_children_are_shared_and_replaced_before_they_leak(monkeypatch):
    monkeypatch.setattr(children, "_JOBS", 3)
    jobs = [{"do": "work"}] * 6
    found = [outcome["child"] for _, outcome in children.run(jobs, 1, 5.0, [sys.executable, "-c", CHILD])]
    assert found[0] == found[2] != found[3] == found[5]


def test_children_that_do_not_start_are_an_error_of_the_whole():
    with pytest.raises(UserError, match="decoders cannot be started"):
        list(children.run([{"do": "work"}], 1, 5.0, [sys.executable, "-c", "raise SystemExit(1)"]))


def test_nothing_to_do():
    assert list(children.run([], 2, 5.0)) == []
