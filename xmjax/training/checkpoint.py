"""Checkpoints: state, data position and meta in one step directory. Only complete ones are ever restored."""

import dataclasses
import math
import shutil
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import jax
from orbax.checkpoint import v1 as ocp

import xmjax
from xmjax import config as config_module
from xmjax.config import Config
from xmjax.errors import UserError
from xmjax.objectives import options
from xmjax.scores import lower_is_better

FREE = (
    "name", "log_every", "save_every", "keep", "wandb", "mesh", "evaluation", "data.root",
    "data.prefetch", "data.max_unreadable", "frame_audio.root", "frame_audio.prefetch", "frame_audio.max_unreadable",
    "model.attention", "model.remat", "model.unroll", "objectives.contrast.chunk", "objectives.sound.chunk",
)  # fmt: skip
"""Config fields that may differ between the parts of one run: they change how it runs, not what it computes."""


@dataclasses.dataclass
class Restored:
    """A checkpoint's content."""

    state: Any
    step: int
    meta: dict[str, Any]


class Checkpoints:
    """The checkpoints of a workdir. Saving goes on in the background; `close` waits for it."""

    def __init__(self, directory: Path, keep: int, read_only: bool = False, best: str = ""):
        """Args:
        directory: of all checkpoints of the run.
        keep: newest ones that are kept.
        read_only: leaves everything there is as it is.
        best: name of the score by which one more is kept; "" keeps the newest only.
        """
        self._directory, self._keep, self._best = directory, keep, best
        policies: list[Any] = [ocp.training.preservation_policies.LatestN(keep)]
        if best:
            policies.append(ocp.training.preservation_policies.BestN(
                get_metric_fn=lambda scores: _worth(scores, best), n=1, keep_checkpoints_without_metrics=False
            ))  # fmt: skip
        if not read_only and jax.process_index() == 0:
            # Orbax can do this too, but in a thread that an early end of the process breaks with a traceback.
            for unfinished in directory.glob("*.orbax-checkpoint-tmp"):
                shutil.rmtree(unfinished)
        self._checkpointer = ocp.training.Checkpointer(
            str(directory.absolute()),
            preservation_policy=cast(
                Any, None if read_only else ocp.training.preservation_policies.AnyPreservationPolicy(policies)
            ),
        )

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints."""
        # A kill may have left an older one half deleted, which orbax lists as well.
        newest = sorted(c.step for c in self._checkpointer.checkpoints)[-self._keep :]
        best = self.best()
        return newest if best is None or best in newest else sorted([best, *newest])

    def best(self) -> int | None:
        """Step of the checkpoint with the best score, the newest of equal ones; None where none has a score.

        The score is the one this was made with; a reader takes that of the newest checkpoint that has one.
        """
        scored = [(c.step, c.metrics) for c in self._checkpointer.checkpoints if isinstance(c.metrics, dict)]
        name = self._best or next((key for _, scores in sorted(scored, key=lambda s: -s[0]) for key in scores), "")
        steps = [step for step, scores in scored if name in scores]
        worth = {step: _worth(scores, name) for step, scores in scored}
        return max(steps, key=lambda step: (worth[step], step), default=None)

    def improves(self, score: Mapping[str, float]) -> bool:
        """Whether a score, by its name, is better than those of all checkpoints; nothing improves nothing."""
        if self._best not in score:
            return False
        worths = [_worth(c.metrics, self._best) for c in self._checkpointer.checkpoints]
        return _worth(score, self._best) > max(worths, default=-math.inf)

    def save(self, step: int, state: Any, meta: dict[str, Any], score: Mapping[str, float] | None = None) -> None:
        """Writes a checkpoint in the background, after an earlier one that is still being written.

        Args:
          step: updates done.
          state: to write.
          meta: what stands beside it, see `meta`.
          score: name and value of the score that checkpoints are compared by, where the state was evaluated.
        """
        content = {"state": state, "data": {"step": step}, "meta": meta}
        scores: Any = dict(score) if score else None
        self._checkpointer.save_checkpointables_async(step, content, force=True, overwrite=True, metrics=scores)

    def meta(self, step: int) -> dict[str, Any]:
        """What stands beside the weights.

        Raises:
          UserError: it cannot be read.
        """
        return self._load(step, {"meta": None})["meta"]

    def restore(self, abstract_state: Any, step: int) -> Restored:
        """The checkpoint of a step, on the shardings of ``abstract_state``, whatever mesh it was written on.

        Raises:
          UserError: it cannot be read, or its arrays have other names or shapes.
        """
        content = self._load(step, {"state": abstract_state, "data": None, "meta": None})
        return Restored(content["state"], int(content["data"]["step"]), content["meta"])

    def _load(self, step: int, wanted: dict[str, Any]) -> dict[str, Any]:
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "coroutine .* was never awaited")  # what orbax leaves where it fails
                return self._checkpointer.load_checkpointables(step, wanted)
        except (LookupError, ValueError, OSError) as error:  # what orbax raises of damage, and of other names or shapes
            older = [s for s in self.steps() if s < step]
            remedy = (
                f"remove {self._directory / str(step)} to go on from the complete one of step {older[-1]}"
                if older
                else "no older one is complete: train again with another --workdir"
            )
            raise UserError(
                f"the checkpoint of step {step} in {self._directory.parent} cannot be restored by xmjax "
                f"{xmjax.__version__}: it is damaged, or of a model of another version, which can restore it; {remedy}"
            ) from error

    def wait(self) -> None:
        """Blocks until nothing is being written."""
        if self._checkpointer.is_saving_in_progress():
            self._checkpointer.wait()

    def close(self) -> None:
        """Waits, and frees the checkpointer's threads."""
        self._checkpointer.close()


def _worth(scores: Any, name: str) -> float:
    """How good a checkpoint is, higher is better; one without the score, or whose score is no number, is worst."""
    value = (scores or {}).get(name, math.nan)
    return -math.inf if math.isnan(value) else -value if lower_is_better(name) else value


def meta(config: Config, manifest: dict[str, Any], quarantine: dict[str, Any], seconds: dict[str, float]) -> dict:
    """What stands beside the weights: config, version, data manifest, unreadable records, and the clock."""
    return {
        "config": config_module.to_dict(config),
        "xmjax_version": xmjax.__version__,
        "manifest": manifest,
        "quarantine": quarantine,
        "clock": seconds,
    }


def check_same(config: Config, saved: dict[str, Any], workdir: Path) -> None:
    """Raises UserError where a workdir's config differs from this run's in what it computes."""
    # A field that came after the run was saved had its default then.
    known = computed(defaults(config.objectives.keys() & saved["objectives"].keys()))
    now, then = computed(config_module.to_dict(config)), known | computed(saved)
    different = [key for key in sorted(now.keys() | then.keys()) if now.get(key) != then.get(key)]
    if different:
        shown = ", ".join(f"{k}: {then.get(k)!r} there, {now.get(k)!r} now" for k in different[:5])
        raise UserError(f"{workdir} is of another config ({shown}); give this run another --workdir or the same values")


def same_evaluation(config: Config, saved: dict[str, Any]) -> bool:
    """Whether a workdir was evaluated as this run's config asks for."""
    usual = defaults(())["evaluation"]
    return _flat(config_module.to_dict(config)["evaluation"]) == _flat(usual | saved["evaluation"])


def defaults(objectives: Iterable[str]) -> dict[str, Any]:
    """Every field at its default, as `config.to_dict` gives a config with these objectives."""
    return dataclasses.asdict(Config()) | {"objectives": {name: options(name) for name in objectives}}


def computed(values: dict[str, Any]) -> dict[str, Any]:
    """The fields of a config, as `config.to_dict` gives it, that decide what is computed: their paths and values."""
    return {
        key: value for key, value in _flat(values).items() if not any(key == f or key.startswith(f"{f}.") for f in FREE)
    }


def check_manifest(manifest: dict[str, Any], saved: dict[str, Any], workdir: Path) -> None:
    """Raises UserError where the data are not those the run began with."""
    now, then = _flat(manifest), _flat(saved)
    for key in sorted(now.keys() | then.keys()):
        if now.get(key) != then.get(key):
            raise UserError(
                f"the data changed since {workdir} began: {key} was {then.get(key)!r} and is {now.get(key)!r}; "
                "restore the data, or start again with another --workdir"
            )


def _flat(tree: dict[str, Any]) -> dict[str, Any]:
    leaves = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda x: isinstance(x, list | tuple))[0]
    return {jax.tree_util.keystr(path, simple=True, separator="."): _listed(value) for path, value in leaves}


def _listed(value: Any) -> Any:
    """Tuples as the lists that JSON makes of them, those in others too."""
    return [_listed(one) for one in value] if isinstance(value, list | tuple) else value
