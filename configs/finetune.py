"""A trained run is trained further for one task (EP 3 889 830, paragraph 74): all of it, its fused part, or LoRA.

    python launch/pretrain.py --config=configs/finetune.py:from=runs/base,task=scene,train=lora    two cores, minutes
    python launch/pretrain.py --config=configs/finetune.py:smoke                                   under a minute

    from=WORKDIR   the run to begin from, with its model, data and newest checkpoint
    task=NAME      "scene" (what a picture of the playroom shows, as a label), "label" (the class of a picture of your
                   own, from --config.data.label_column), "retrieval", "captioning" or "answering"
    train=WAY      "all", "fused" (towers frozen) or "lora"

The score is `<data>/finetune/scene` or `.../label`, of the other tasks that of their evaluators (`TASKS`).

In the place of from=, the modes of configs/base.py ("size=tiny", "smoke") begin at random: the control.
"""

from pathlib import Path

from ml_collections import ConfigDict

from configs import base
from xmjax import config as xmjax_config
from xmjax import inference
from xmjax.errors import UserError
from xmjax.objectives import options
from xmjax.training.adapters import WAYS

TASKS = {
    "scene": ("answer", "finetune"),
    "label": ("answer", "finetune"),
    "retrieval": ("contrast", "retrieval"),
    "captioning": ("caption", "caption"),
    "answering": ("answer", "answer"),
}
"""Task -> the objective that is trained, and the evaluator that scores it."""


def get_config(arg: str = "") -> ConfigDict:
    """The config for "from=WORKDIR" or a mode of configs/base.py, "task=NAME" and "train=WAY", with commas between."""
    given, mode = parse(arg)
    workdir = given["from"]
    if bool(workdir) == bool(mode):
        raise UserError("configs/finetune.py needs a run to begin from: --config=configs/finetune.py:from=runs/base")
    if workdir:
        config = ConfigDict(xmjax_config.to_dict(inference.read_config(Path(workdir))))
    else:
        config = base.get_config(mode)
    objective, evaluator = TASKS[given["task"]]
    config.name = base.run_name(f"finetune-{given['task']}-{given['train']}", mode)
    config.begin_from = workdir
    config.data.first_grade, config.data.first_share, config.data.first_every = "", 0.0, 0
    config.data.questions = (given["task"],) if evaluator == "finetune" else ()
    kept = {objective: config.objectives[objective].to_dict()} if objective in config.objectives else {}
    with config.unlocked():
        new = options(objective)
        if objective == "answer" and config.model.regions.count:
            new["objects"] = True  # as the run has read pictures so far
        config.objectives = ConfigDict(kept or {objective: new})
    config.evaluation.names, config.evaluation.best, config.evaluation.every = (evaluator,), "", 0
    optimizer = config.optimizer
    optimizer.name, optimizer.trained = "adamw", given["train"]
    optimizer.learning_rate = 3e-3 if given["train"] == "lora" else 1e-3
    optimizer.rank = 16  # of LoRA; 8 were three points short (docs/log.md)
    if not base.parse(mode)[1]:
        config.steps, optimizer.warmup, config.save_every = 1500, 20, 0
    return config


def parse(arg: str) -> tuple[dict[str, str], str]:
    """What a config's argument says: from, task and train, and the rest, which is a mode of configs/base.py."""
    found, rest = {"from": "", "task": "scene", "train": "all"}, []
    for part in filter(None, (arg or "").split(",")):
        key, equals, value = part.partition("=")
        if equals and value and key in found:
            found[key] = value
        else:
            rest.append(part)
    for key, known in (("task", tuple(TASKS)), ("train", WAYS)):
        if found[key] not in known:
            raise UserError(f"{key}={found[key]!r} after the config's colon: choose one of {', '.join(known)}")
    base.parse(",".join(rest))
    return found, ",".join(rest)
