"""From a workdir to a model that can be used."""

import ast
import contextlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from xmjax import config as config_module
from xmjax import sharding
from xmjax.config import Config
from xmjax.errors import UserError
from xmjax.evaluation.base import Scores
from xmjax.evaluation.run import Evaluation
from xmjax.models import library
from xmjax.training.checkpoint import Checkpoints
from xmjax.training.step import State, abstract_state

CHANGEABLE = ("data", "frame_audio", "evaluation", "objectives")
"""Groups of the config that an evaluation may change."""


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
    if isinstance(values.get("model"), dict) and values["model"].get("unmasking") is False:
        del values["model"]["unmasking"]  # gone, and nothing of such a run needed it
    return config_module.build({key: value for key, value in values.items() if key not in about})


def read_step(text: str | None) -> int | str | None:
    """What --step says: a number, "best", or nothing.

    Raises:
      UserError: it says something else.
    """
    if text is None or text == "best":
        return text
    if not text.isdecimal():
        raise UserError(f"--step={text!r}: give the number of a step, or best")
    return int(text)


def restore(workdir: Path, config: Config, mesh: jax.sharding.Mesh, step: int | str | None = None) -> tuple[State, int]:
    """The state of a checkpoint, by default the newest, or of the "best", on any mesh.

    Raises:
      UserError: there is no such checkpoint, or it is damaged or of another version.
    """
    directory = workdir / "checkpoints"
    if not directory.is_dir():
        raise UserError(f"{workdir} has no checkpoint; launch/pretrain.py writes one with the same --workdir")
    with contextlib.closing(Checkpoints(directory, config.keep, read_only=True)) as saved:
        steps = saved.steps()
        if step == "best" and (step := saved.best()) is None:
            raise UserError(f"{workdir} has no best checkpoint; train with --config.evaluation.best, or give a step")
        wanted = step if step is not None else (steps[-1] if steps else None)
        if wanted not in steps:
            there = f"complete ones are of steps {', '.join(map(str, steps))}" if steps else "none is complete yet"
            raise UserError(f"{workdir} has no checkpoint{'' if step is None else f' of step {step}'}: {there}")
        restored = saved.restore(abstract_state(config, mesh), wanted)
        then = restored.meta["manifest"].get("library")
        if (now := library.manifest(config).get("library")) != then:
            raise UserError(
                f"config.model.library.path={config.model.library.path} of {workdir} is not the library that it was "
                f"trained with ({now}, not {then}): put that one back there"
            )
        return restored.state, restored.step


def evaluate(
    workdir: Path,
    step: int | str | None = None,
    only: Sequence[str] = (),
    changes: Sequence[str] = (),
    name: str = "",
) -> Scores:
    """Scores of a checkpoint, written to the workdir's eval/step_<n>.json.

    Args:
      workdir: of the run.
      step: of the checkpoint, or "best"; default the newest.
      only: evaluators to run; their scores replace those in the file, others stay.
      changes: "field=value" of the run's config that this evaluation changes: other data, other questions.
      name: of an evaluation with changes, whose file is eval/step_<n>.<name>.json, so that the run's own stays.

    Raises:
      UserError: there is no such run or checkpoint, a change cannot be made, or there was nothing to score.
    """
    if bool(changes) != bool(name) or not re.fullmatch(r"(?!examples$)\w*", name):
        raise UserError(f"--name={name!r}: give --set and --name together, the name of letters, digits and _")
    config = read_config(workdir)
    mesh = sharding.make_mesh(config_module.MeshConfig())
    with jax.set_mesh(mesh):
        state, step = restore(workdir, config, mesh, step)
        scores = Evaluation(changed(config, changes), mesh, workdir, only, name)(state, step)
    if not any(count for key, count in scores.items() if key.endswith("/n")):
        raise UserError(
            f"nothing was scored of {workdir}: neither its held-out records nor its objectives have what "
            f"{', '.join(only or config.evaluation.names) or 'no evaluator'} asks for"
        )
    return scores


def changed(config: Config, changes: Sequence[str]) -> Config:
    """A run's config with other values of what does not make its model: "data.grade=cluttered".

    Raises:
      UserError: a field is unknown or of the model or training, or its value is not of its type.
    """
    values = ConfigDict(config_module.to_dict(config))
    for change in changes:
        field, equals, text = change.partition("=")
        if not equals or field.partition(".")[0] not in CHANGEABLE:
            raise UserError(f"--set={change}: write FIELD=VALUE, the field within one of {', '.join(CHANGEABLE)}")
        if wrong := config_module.unknown_field(values, field):
            raise UserError(f"--set={change}: {wrong}")
        value: Any = text
        if not isinstance(values[field], str):
            try:
                value = ast.literal_eval(text)
            except (ValueError, SyntaxError):
                wrong = config_module.wrong_value(values, field, text) or f"write it like {field}={values[field]}"
                raise UserError(f"--set={change}: {wrong}") from None
        with values.ignore_type():  # `build` tells of a wrong type
            values.update_from_flattened_dict({field: value})
    return config_module.build(values)
