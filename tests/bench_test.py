"""Tests of benchmarks: cases and errors, what a case that fails leaves, random batches, and a real benchmark."""

import json
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ml_collections import ConfigDict

from xmjax import bench, measure, vocab
from xmjax.data.pipeline import Batches, open_streams
from xmjax.errors import UserError
from xmjax.objectives import features, make
from xmjax.sweep import load_config
from xmjax.training.throughput import Throughput

ROOT = Path(__file__).parents[1]

# ml_collections loads config files by a method that Python is going to drop.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

# Stands for launch/bench.py --case: one case works, one is killed, one fails as it would without memory.
FAKE = """
import json, os, signal, sys
given = dict(a.lstrip("-").split("=", 1) for a in sys.argv[1:])
if given["case"] == "killed":
    print("the last words", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
machine = {"device": "cpu", "devices": 1}
step = {"seconds": {"median": 0.05, "min": 0.04, "max": 0.06}, "examples_per_second": 320.0}
good = {"machine": machine, "compile_seconds": 2.0, "random_data_step": step}
bad = {"machine": machine, "error": "XlaRuntimeError: RESOURCE_EXHAUSTED"}
open(given["output"], "w").write(json.dumps(good if given["case"] == "good" else bad))
"""


def values(**changes) -> ConfigDict:
    fields = {"name": "b", "base": "configs/base.py:smoke", "cases": {"good": {"batch_size": 16}}}
    return ConfigDict(fields | changes, convert_dict=False)


@pytest.fixture
def smoke(monkeypatch):
    monkeypatch.chdir(ROOT)
    return load_config("configs/base.py:smoke", {})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cases": {}}, "no cases"),
        ({"measure": ("speed",)}, "unknown measure 'speed'"),
        ({"repeats": 0}, "repeats=0"),
        ({"stps": 3}, "unknown field 'stps' in the config: did you mean 'steps'"),
        ({"base": "configs/bse.py"}, "case 'good': config file 'configs/bse.py' does not exist"),
        ({"cases": {"good": {"batch": 3}}}, r"case 'good': unknown config field config\.batch"),
        ({"cases": {"good": {"base": "configs/bse.py"}}}, "case 'good': config file 'configs/bse.py' does not exist"),
    ],
)
def test_mistakes_are_named_before_anything_is_measured(changes, message, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(UserError, match=message):
        bench.run(bench.build(values(**changes)), ["false"], tmp_path / "b.json")


def test_a_case_that_fails_is_recorded_and_the_others_go_on(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    launcher = tmp_path / "launcher.py"
    launcher.write_text(FAKE)
    built = bench.build(values(cases={"killed": {}, "memory": {}, "good": {"batch_size": 16}}))
    output = tmp_path / "out" / "b.json"
    report = bench.run(built, [sys.executable, str(launcher), "--config=c.py"], output, lambda line: None)
    assert json.loads(output.read_text()) == report and [p.name for p in output.parent.iterdir()] == ["b.json"]
    cases = report["cases"]
    assert cases["killed"]["error"] == "the process ended with status -9: the last words"
    assert "RESOURCE_EXHAUSTED" in cases["memory"]["error"]
    assert cases["good"]["compile_seconds"] == 2.0 and cases["good"]["overrides"] == {"batch_size": 16}
    assert report["machine"]["device"] == "cpu" and report["machine"]["cpus"] >= 1
    assert report["command"] == "python launch/bench.py --config=c.py"
    table = bench.table(report).splitlines()
    assert table[2].split()[1:4] == ["killed", "|", "failed"] and table[4].split()[1:8:2] == ["good", "2", "50", "-"]
    assert any("memory: XlaRuntimeError: RESOURCE_EXHAUSTED" in line for line in table)


def test_random_batches_keep_shapes_lengths_and_special_ids(smoke):
    batch = Batches(smoke, open_streams(smoke, features(make(smoke))), slice(0, 4)).at(0)
    random = measure.randomised(batch)
    assert batch.keys() == random.keys()
    for key, real in batch["image_text"].items():
        other = random["image_text"][key]
        assert other.shape == real.shape and other.dtype == real.dtype
        if real.dtype == np.uint16:
            special = real >= vocab.PAD
            assert np.array_equal(other[special], real[special]) and np.all(other[~special] < vocab.PAD)
        if real.dtype in (np.uint8, np.uint16):
            assert not np.array_equal(other, real), key


def test_the_random_source_is_a_function_of_the_index(smoke):
    source = measure.RandomSource(224, 2, 64)
    one, two = source.read([5, 6])
    again = source.read([5])[0]
    assert one.image.shape == (224, 224, 3) and one.image.dtype == np.uint8 and len(one.captions) == 2
    assert all(len(caption.text) == 64 and " " in caption.text for caption in one.captions)
    assert np.array_equal(one.image, again.image) and one.captions == again.captions
    assert not np.array_equal(one.image, two.image) and one.captions != two.captions


def test_rates_are_those_of_the_loop(smoke):
    task = SimpleNamespace(flops=lambda share: {"pass": 1e6})
    rates = measure._rates(Throughput(smoke, {"task": task}, {"image_text": None}), {}, 0.5)
    assert rates["examples_per_second"] == smoke.batch_size / 0.5
    image, text = smoke.model.image, smoke.model.text
    assert rates["bytes_per_second"] == smoke.batch_size * (3 * image.size**2 + 2 * text.max_bytes) / 0.5
    assert rates["flops_per_second"] == smoke.batch_size * 3e6 / 0.5
    assert "mfu" not in rates, "nobody knows the peak of a CPU"


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "bench").glob("[!_]*.py")), ids=lambda path: path.stem)
def test_shipped_benchmarks_can_run(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    get_config = runpy.run_path(str(path))["get_config"]
    for mode in ((), ("size=large",)) if path.stem == "gpu" else ((),):
        built = bench.build(get_config(*mode))
        assert built.name.startswith(path.stem)
        for name in built.cases:
            bench.case_config(built, name)


@pytest.mark.slow
def test_a_real_benchmark(tmp_path):
    config = tmp_path / "two.py"
    cases = {"works": {"batch_size": 16}, "random source": {"data.source": "random"}, "fails": {"mesh.data": 1000}}
    fields = {"name": "two", "base": "configs/base.py:smoke", "cases": cases, "repeats": 2, "steps": 2}
    config.write_text(
        "from ml_collections import ConfigDict\n\n\ndef get_config():\n"
        f"    return ConfigDict({fields!r}, convert_dict=False)\n"
    )
    output = tmp_path / "two.json"
    command = [sys.executable, "launch/bench.py", f"--config={config}", f"--output={output}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    cases = json.loads(output.read_text())["cases"]
    assert "1000" in cases["fails"]["error"]
    for name in ("works", "random source"):
        found = cases[name]
        assert found["compile_seconds"] > 0 and found["memory"]["temp_bytes"] > 0
        assert found["random_data_step"]["flops_per_second"] > 0
        for kind in ("random_data_step", "real_loader_step", "loader_only"):
            seconds = found[kind]["seconds"]
            assert 0 < seconds["min"] <= seconds["median"] <= seconds["max"]
            assert found[kind]["examples_per_second"] == pytest.approx(16 / seconds["median"])
        assert found["loader_ratio"]["median"] > 0


def test_spectrograms_are_timed_both_ways(make_sound_config):
    times = measure.mel_times(make_sound_config({}), 2, 1)
    assert set(times) == {"device_seconds", "host_seconds", "factor"}
    assert all(0 < spread["min"] <= spread["median"] <= spread["max"] for spread in times.values())
