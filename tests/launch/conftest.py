"""What the end-to-end tests share: launchers as subprocesses, and what runs leave in their workdirs."""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from filelock import FileLock

from xmjax import inference, sharding
from xmjax.config import MeshConfig
from xmjax.training.checkpoint import Checkpoints

ROOT = Path(__file__).parents[2]
UNEQUAL = ("time/", "perf/", "goodput/", "system/")
"""Keys of metrics that tell how fast a run was, and may differ between equal runs."""


@dataclasses.dataclass
class Run:
    """A launcher that is running. Its output goes to a file, so that it never waits for a reader."""

    process: subprocess.Popen
    log: Path

    @property
    def output(self) -> str:
        """Everything printed so far."""
        return self.log.read_text()

    def until(self, condition: Callable[[], Any], seconds: float = 180, every: float = 0.002) -> bool:
        """Waits for a condition; False where the process ends before it holds."""
        end = time.monotonic() + seconds
        while not condition():
            if self.process.poll() is not None:
                return False
            assert time.monotonic() < end, f"nothing happened in {seconds} s:\n{self.output}"
            time.sleep(every)
        return True

    def wait(self, code: int | None = 0, seconds: float = 300) -> str:
        """The output, when the process has ended with this exit status."""
        try:
            found = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"still running after {seconds} s:\n{self.output}") from None
        assert code is None or found == code, f"exit status {found}, not {code}:\n{self.output}"
        return self.output


class Launcher:
    """Starts launch scripts as a user does."""

    SMOKE = ("--config=configs/base.py:smoke",)

    def __init__(self, directory: Path, compiled: Path):
        self._directory = directory
        self._count = 0
        self._started: list[Run] = []
        self._environment = {
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            # The same programs are compiled by many processes.
            "JAX_COMPILATION_CACHE_DIR": os.environ.get("JAX_COMPILATION_CACHE_DIR", str(compiled)),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
        }

    def start(self, *arguments: str, script: str = "pretrain", devices: int = 1) -> Run:
        """Starts launch/<script>.py on this many CPU devices and returns at once."""
        self._count += 1
        log = self._directory / f"{self._count}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, f"launch/{script}.py", *arguments],
                cwd=ROOT,
                env=self._environment | {"JAX_NUM_CPU_DEVICES": str(devices)},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        self._started.append(Run(process, log))
        return self._started[-1]

    def run(self, *arguments: str, code: int | None = 0, script: str = "pretrain", devices: int = 1) -> str:
        """Output of launch/<script>.py, which must end with this exit status."""
        return self.start(*arguments, script=script, devices=devices).wait(code)

    def close(self) -> None:
        """Ends what a failed test left running."""
        for run in self._started:
            if run.process.poll() is None:
                run.process.kill()
                run.process.wait()


@pytest.fixture(scope="session")
def launcher(tmp_path_factory, shared) -> Iterator[Launcher]:
    """The launcher of this session."""
    launcher = Launcher(tmp_path_factory.mktemp("launcher"), shared / "compiled")
    yield launcher
    launcher.close()


class Workdir:
    """What a run left."""

    def __init__(self, path: Path):
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def lines(self) -> list[dict[str, Any]]:
        """Lines of metrics.jsonl, all of which must be whole."""
        return [json.loads(line) for line in (self.path / "metrics.jsonl").read_text().splitlines()]

    def comparable(self) -> list[dict[str, Any]]:
        """Lines of metrics.jsonl without what tells how fast the run was."""
        return [{k: v for k, v in line.items() if not k.startswith(UNEQUAL)} for line in self.lines()]

    def losses(self) -> dict[int, float]:
        """Logged loss by step."""
        return {line["step"]: line["loss"] for line in self.lines() if "loss" in line}

    def evaluations(self) -> dict[str, Any]:
        """Content of the evaluations by file name."""
        return {path.name: json.loads(path.read_text()) for path in sorted((self.path / "eval").iterdir())}

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints."""
        config = inference.read_config(self.path)
        with contextlib.closing(Checkpoints(self.path / "checkpoints", config.keep, read_only=True)) as saved:
            return saved.steps()

    def meta(self, step: int) -> dict[str, Any]:
        """What stands beside the weights of a checkpoint."""
        with contextlib.closing(Checkpoints(self.path / "checkpoints", 1, read_only=True)) as saved:
            return saved.meta(step)

    def state(self, step: int | None = None) -> dict[str, np.ndarray]:
        """All arrays of a checkpoint, by default the newest, by path."""
        mesh = sharding.make_mesh(MeshConfig(), jax.devices()[:1])
        restored, _ = inference.restore(self.path, inference.read_config(self.path), mesh, step)
        leaves = jax.tree_util.tree_leaves_with_path(restored)
        return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}

    def assert_equals(self, other: "Workdir") -> None:
        """Both hold the same run: metrics, evaluations and all arrays of the newest checkpoint, bit for bit."""
        assert self.comparable() == other.comparable()
        assert self.evaluations() == other.evaluations()
        one, two = self.state(), other.state()
        assert one.keys() == two.keys()
        assert not [key for key in one if one[key].tobytes() != two[key].tobytes()]


@pytest.fixture
def workdir(tmp_path) -> Workdir:
    """A workdir in which nothing is yet."""
    return Workdir(tmp_path / "run")


@dataclasses.dataclass
class Finished:
    """A run that was not disturbed."""

    flags: tuple[str, ...]
    workdir: Workdir
    output: str


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Path:
    """A directory of this session that pytest-xdist's workers have in common."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def smoke(launcher, shared) -> Finished:
    """A short smoke run, made by the first worker that needs it. Tests must not write to its workdir."""
    workdir, output = Workdir(shared / "smoke" / "run"), shared / "smoke.txt"
    flags = (*launcher.SMOKE, "--config.steps=12", "--config.save_every=4", "--config.evaluation.every=8")
    with FileLock(shared / "smoke.lock"):
        if not output.exists():
            output.write_text(launcher.run(*flags, f"--workdir={workdir}"))
    return Finished(flags, workdir, output.read_text())


@pytest.fixture(scope="session")
def longer(launcher, tmp_path_factory) -> Finished:
    """A longer smoke run, which others are compared to. Tests must not write to its workdir."""
    workdir = Workdir(tmp_path_factory.mktemp("longer") / "run")
    flags = (
        *launcher.SMOKE,
        "--config.steps=160",
        "--config.save_every=4",
        "--config.log_every=3",
        "--config.evaluation.every=20",
        "--config.objectives.contrast.turn=(1,2)",
        "--config.objectives.caption.schedule=((0.0,1.0),(1.0,0.5))",
    )
    return Finished(flags, workdir, launcher.run(*flags, f"--workdir={workdir}"))
