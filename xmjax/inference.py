"""From a workdir to a model that can be used."""

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path

import jax

import xmjax
from xmjax import config as config_module
from xmjax import sharding
from xmjax.config import Config
from xmjax.errors import UserError
from xmjax.evaluation.base import Scores
from xmjax.evaluation.run import Evaluation
from xmjax.training.checkpoint import Checkpoints
from xmjax.training.step import State, abstract_state


def read_config(workdir: Path) -> Config:
    """The config of a run.

    Raises:
      UserError: the workdir is none.
    """
    path = workdir / "config.json"
    if not path.is_file():
        raise UserError(
            f"{workdir} is no workdir of a run: it has no config.json; give the --workdir of a pretraining run"
        )
    try:
        values = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): start the run again with another --workdir") from error
    about = ("xmjax_version", "command")  # written beside the config for people
    return config_module.build({key: value for key, value in values.items() if key not in about})


def restore(workdir: Path, config: Config, mesh: jax.sharding.Mesh, step: int | None = None) -> tuple[State, int]:
    """The state of a checkpoint, by default the newest, on any mesh.

    Raises:
      UserError: there is no such checkpoint, or it is damaged or of another version.
    """
    directory = workdir / "checkpoints"
    if not directory.is_dir():
        raise UserError(f"{workdir} has no checkpoint; launch/pretrain.py writes one with the same --workdir")
    with contextlib.closing(Checkpoints(directory, config.keep, read_only=True)) as saved:
        steps = saved.steps()
        wanted = step if step is not None else (steps[-1] if steps else None)
        if wanted not in steps:
            there = f"complete ones are of steps {', '.join(map(str, steps))}" if steps else "none is complete yet"
            raise UserError(f"{workdir} has no checkpoint{'' if step is None else f' of step {step}'}: {there}")
        try:
            restored = saved.restore(abstract_state(config, mesh), wanted)
        except (LookupError, ValueError) as error:  # what orbax raises where names or shapes of arrays differ
            raise UserError(
                f"the checkpoint of step {wanted} in {workdir} cannot be restored by xmjax {xmjax.__version__}: it is "
                "damaged or of a model of another version; use the version that wrote it, or train again"
            ) from error
        return restored.state, restored.step


def evaluate(workdir: Path, step: int | None = None, only: Sequence[str] = ()) -> Scores:
    """Scores of a checkpoint, written to the workdir's eval/step_<n>.json.

    Args:
      workdir: of the run.
      step: of the checkpoint; default the newest.
      only: evaluators to run; their scores replace those in the file, others stay.
    """
    config = read_config(workdir)
    mesh = sharding.make_mesh(config_module.MeshConfig())
    with jax.set_mesh(mesh):
        state, step = restore(workdir, config, mesh, step)
        return Evaluation(config, mesh, workdir, only)(state, step)
