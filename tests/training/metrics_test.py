"""Tests of metrics.jsonl: cutting, unfinished lines, what is not finite."""

import json
import sys
import types

import pytest

from xmjax.files import read_lines
from xmjax.training.metrics import MetricsWriter, cut


def lines(*steps: int) -> str:
    return "".join(json.dumps({"step": s, "loss": s / 2, "goodput/total_seconds": 10.0 * s}) + "\n" for s in steps)


def test_read_passes_over_an_unfinished_last_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert read_lines(path) == []
    path.write_text(lines(1, 2) + '{"step": 3, "lo')
    assert [line["step"] for line in read_lines(path)] == [1, 2]


def test_cut_removes_what_comes_after_a_step(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(lines(5, 10, 15, 20) + '{"step": 25')
    assert cut(path, 10) == 200.0  # seconds by the last whole line
    assert path.read_text() == lines(5, 10)
    assert cut(path, 10) == 100.0 and path.read_text() == lines(5, 10)
    assert cut(path, 0) == 100.0 and path.read_text() == ""
    assert cut(tmp_path / "none.jsonl", 3) == 0.0 and not (tmp_path / "none.jsonl").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_writer_goes_on_where_the_checkpoint_stands(tmp_path):
    writer = MetricsWriter(tmp_path, 0)
    assert writer.seconds_before == 0
    for step in (1, 2, 3):
        writer.write(step, {"loss": 4.0 - step, "goodput/total_seconds": 2.0 * step})
    writer.close()
    with writer.path.open("a") as file:
        file.write('{"step": 4, "loss": 0.')  # killed while it wrote
    writer = MetricsWriter(tmp_path, 2)
    assert writer.seconds_before == 6.0
    writer.write(3, {"loss": 0.5})
    writer.close()
    assert [(line["step"], line["loss"]) for line in read_lines(writer.path)] == [(1, 3.0), (2, 2.0), (3, 0.5)]
    assert list((tmp_path / "tensorboard").iterdir())


def test_a_resumed_run_goes_on_in_the_same_charts(tmp_path, monkeypatch):
    """With a stand-in for Weights & Biases, which needs an account."""
    calls = []

    class Charts:
        def log(self, values, step):
            calls.append((step, values))

        def finish(self):
            calls.append("finished")

    def init(**options):
        calls.append(options)
        return Charts()

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    for resumed in (0, 1):
        writer = MetricsWriter(tmp_path, resumed, "project", {"steps": 2})
        writer.write(resumed + 1, {"loss": 0.5})
        writer.close()
    first, second = calls[0], calls[3]
    assert first == second and first["id"] and first["resume"] == "allow"
    assert first["project"] == "project" and first["config"] == {"steps": 2}
    assert calls[1:3] == [(1, {"loss": 0.5}), "finished"] and calls[4] == (2, {"loss": 0.5})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_null(tmp_path, value):
    writer = MetricsWriter(tmp_path, 0)
    writer.write(1, {"loss": value, "norm": 2})
    assert json.loads(writer.path.read_text()) == {"step": 1, "loss": None, "norm": 2.0}  # without closing: flushed
    writer.close()
