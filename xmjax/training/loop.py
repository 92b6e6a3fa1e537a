"""The loop: one linear function from config to a trained model."""

import contextlib
import json
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
from jax.experimental import multihost_utils

import xmjax
from xmjax import config as config_module
from xmjax import files, inference, sharding
from xmjax.config import Config
from xmjax.data.pipeline import Batches, manifest, open_streams
from xmjax.errors import UserError
from xmjax.evaluation.run import Evaluation
from xmjax.models import library
from xmjax.objectives import features, make
from xmjax.training import checkpoint as checkpoints
from xmjax.training import throughput, weights
from xmjax.training.alarms import Alarms
from xmjax.training.checkpoint import Checkpoints
from xmjax.training.clock import Clock
from xmjax.training.metrics import MetricsWriter
from xmjax.training.progress import Progress
from xmjax.training.step import abstract_state, jit_init, jit_update

Scores = dict[str, float]


class Stopped(Exception):
    """The run was asked to stop, and has saved."""


def train(config: Config, workdir: Path) -> Scores:
    """Trains until the config's last step, from the workdir's newest checkpoint if it has one.

    Args:
      config: of the run.
      workdir: where everything is written.

    Returns:
      Scores of the last evaluation.

    Raises:
      UserError: the input cannot work, or too many steps in a row could not be applied.
      Stopped: SIGINT or SIGTERM came; the state is saved.
    """
    clock = Clock()
    main = jax.process_index() == 0
    if ":/" in str(workdir):  # what pathlib makes of gs://bucket
        raise UserError(f"--workdir={workdir} is the address of a bucket; give a directory, such as the bucket mounted")
    began = workdir.exists()
    files.make_directory(workdir, "--workdir")
    with contextlib.ExitStack() as stack:
        if not began:
            stack.callback(files.remove_without_files, workdir)  # of a run that is refused nothing stays
        saved = Checkpoints(workdir / "checkpoints", config.keep, best=config.evaluation.best)
        stack.callback(saved.close)
        newest = saved.steps()[-1] if saved.steps() else None
        if newest is not None:
            meta = saved.meta(newest)
            checkpoints.check_same(config, meta["config"], workdir)
            if main and meta["xmjax_version"] != xmjax.__version__:
                print(f"{workdir} began with xmjax {meta['xmjax_version']}; {xmjax.__version__} goes on", flush=True)
        elif files.read_lines(workdir / "metrics.jsonl"):
            # Killed before the first checkpoint: another config would cut its metrics away.
            checkpoints.check_same(config, config_module.to_dict(inference.read_config(workdir)), workdir)

        mesh = sharding.make_mesh(config.mesh)
        rows = sharding.local_rows(mesh, config.batch_size)
        objectives = make(config)
        streams = open_streams(config, features(objectives))
        data_manifest = manifest(streams) | library.manifest(config)
        if newest is not None:
            checkpoints.check_manifest(data_manifest, meta["manifest"], workdir)
        for name, said in data_manifest.items() if main and newest is None else ():
            if isinstance(said, dict) and "pictures" in said:
                print(f"{name}: {said['records']:,} records with {said['pictures']:,} pictures", flush=True)
        evaluation = Evaluation(config, mesh, workdir)
        evaluation.open()

        stack.enter_context(jax.set_mesh(mesh))
        if newest is None:
            state, step = weights.begin(config, jit_init(config, mesh)(), workdir), 0
        else:
            restored = saved.restore(abstract_state(config, mesh), newest)
            state, step = restored.state, restored.step
            clock.add(meta["clock"])
            for name, stream in streams.items():
                stream.quarantine.reasons.update(meta["quarantine"][name])
        if main:
            _write_config(config, workdir)
        writer = MetricsWriter(workdir, step, config.wandb, config_module.to_dict(config)) if main else None
        if writer is not None:
            stack.callback(writer.close)
            counted = sum(meta["clock"].values()) if newest is not None else 0.0
            clock.add({"lost": max(0.0, writer.seconds_before - counted)})

        batches = Batches(config, streams, rows).start(step)
        stack.callback(batches.close)
        update = jit_update(config, objectives, mesh)
        speed = throughput.Throughput(config, objectives, streams)
        alarms = Alarms(objectives)
        stop = stack.enter_context(_signals())  # before the first word on the terminal, which others wait for
        progress = stack.enter_context(Progress(config.steps, step, enabled=main))
        pending: tuple[int, dict[str, jax.Array]] | None = None
        scores: Scores = {}
        clock.switch("compile")

        def log() -> None:
            """Reads the metrics of the newest step and writes them."""
            nonlocal pending
            if pending is None:
                return
            done, values = pending[0], {k: float(v) for k, v in jax.device_get(pending[1]).items()}
            pending = None
            values |= speed.metrics(values, clock) | clock.metrics() | {"time/unix_seconds": time.time()}
            if writer is not None:
                writer.write(done, values)
            progress.show(done, values)
            for text in alarms(done, values):
                progress.warn(done, text)
            check(done, values)

        def check(done: int, values: Mapping[str, Any]) -> None:
            """Stops a run that has diverged, before it is saved."""
            if int(values["guard/in_a_row"]) >= config.guard.patience:
                raise UserError(_diverged(config, saved, done, values))

        with jax.transfer_guard("disallow"):
            while step < config.steps:
                # 1. The next batch. The device is still busy with the step before.
                # (Of several processes, placing is a copy that the guard takes for an implicit one.)
                with clock.of("data_wait"), jax.transfer_guard("allow"):
                    batch = sharding.place(next(batches), mesh, config.batch_size)
                # 2. The update is queued; nothing is read from the device.
                state, metrics = update(state, batch)
                step += 1
                clock.switch("step")
                speed.step()
                # 3. Metrics of the step before the one just queued, so that the host never waits for the newest.
                if pending is not None and pending[0] % config.log_every == 0:
                    log()
                pending = (step, metrics)
                # 4. Evaluate, then save, and only then take the next batch.
                last = step == config.steps
                stopping = stop(step)
                evaluate = last or (config.evaluation.every and step % config.evaluation.every == 0)
                save = last or stopping or (config.save_every and step % config.save_every == 0)
                if evaluate or save:
                    if step % config.log_every == 0 or last:
                        log()
                    check(step, jax.device_get(metrics))
                score: Scores = {}
                if evaluate:
                    with clock.of("evaluation"), jax.transfer_guard("allow"):
                        scores = evaluation(state, step)
                    if writer is not None:
                        writer.write(step, scores | clock.metrics())
                    score = evaluation.best(scores)
                    save = save or saved.improves(score)
                if save:
                    with clock.of("checkpoint"), jax.transfer_guard("allow"):
                        quarantine = {name: dict(s.quarantine.reasons) for name, s in streams.items()}
                        about = checkpoints.meta(config, data_manifest, quarantine, clock.seconds())
                        saved.save(step, state, about, score)
                if stopping and not last:
                    with clock.of("checkpoint"):
                        saved.wait()
                    raise Stopped(f"stopped after step {step} of {config.steps}, which is saved in {workdir}")
        for stream in streams.values():
            progress.unreadable(stream.source.name, stream.quarantine.reasons)
        if newest == config.steps:
            scores = evaluation.read(step) if checkpoints.same_evaluation(config, meta["config"]) else {}
            scores = scores or evaluation(state, step)
        if main and config.evaluation.best:
            print(f"best by {config.evaluation.best}: step {saved.best()}, kept in {workdir}", flush=True)
    return scores


def _write_config(config: Config, workdir: Path) -> None:
    about = {"xmjax_version": xmjax.__version__, "command": shlex.join(["python", *sys.argv])}
    text = json.dumps(config_module.to_dict(config) | about, indent=2, ensure_ascii=False)
    files.write(workdir / "config.json", text + "\n")


def _diverged(config: Config, saved: Checkpoints, step: int, values: Mapping[str, Any]) -> str:
    steps = saved.steps()
    good = f"the last good checkpoint is of step {steps[-1]}" if steps else "there is no checkpoint yet"
    return (
        f"{int(values['guard/in_a_row'])} steps in a row up to step {step} had a loss or gradient that is not finite "
        f"or far above its mean (loss {values['loss']:.4g}, gradient norm {values['gradient_norm']:.4g}), and were not "
        f"applied; {good}. Lower config.optimizer.learning_rate or look at the data"
    )


@contextlib.contextmanager
def _signals() -> Iterator[Any]:
    """Inside, SIGINT and SIGTERM ask for a stop; yields a function of the step that tells whether to stop now.

    Several processes agree on one step. A second SIGINT interrupts at once.
    """
    asked = threading.Event()
    several = jax.process_count() > 1

    def ask(number: int, frame: Any) -> None:
        if asked.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.set()
        if several and number == signal.SIGINT:
            os.kill(os.getpid(), signal.SIGTERM)  # which JAX tells all processes

    def stop(step: int) -> bool:
        return multihost_utils.reached_preemption_sync_point(step) if several else asked.is_set()

    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may set handlers
        return
    numbers = (signal.SIGINT,) if several else (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
