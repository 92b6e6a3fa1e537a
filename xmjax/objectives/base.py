"""What an objective is, and their weighted sum."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Integer

from xmjax import vocab
from xmjax.config import Config
from xmjax.errors import UserError
from xmjax.models.association import KINDS
from xmjax.models.passes import Passes
from xmjax.registry import Registry

Metrics = dict[str, Array]

TASKS = {
    "matching": ("retrieval", "match", "sound", "emergent"),
    "translating": ("caption", "mask_predict"),
    "referencing": ("fill", "sense", "answer", "objects", "localize"),
}
"""Kinds of pretraining tasks, as the notes on multi-modal learning (1-2) have them, and the evaluators that score them.

Matching tells what belongs together of two modalities from what does not; translating writes one from another;
referencing completes a modality, or finds a part of it, by what another shows.
"""


@dataclasses.dataclass(frozen=True)
class Options:
    """What every objective can be told.

    Attributes:
      weight: factor of its loss in the sum.
      schedule: points (fraction of the run, multiplier of the weight), linear between; empty is constant.
      turn: (k, n) to count in the k-th of every n steps alone, from 0, so that objectives are trained in turn; empty is
        every step.
      stream: the stream it reads.
    """

    weight: float = 1.0
    schedule: tuple[tuple[float, float], ...] = ()
    turn: tuple[int, ...] = ()
    stream: str = "image_text"


class Objective:
    """A pretraining task.

    Attributes:
      Options: dataclass of its options.
      task: its kind, one of `TASKS`; "" of what is no crossmodal task.
      version: raised with every change of what is computed, so that finished runs of before are not taken for new ones.
      options: those of this run.
      config: the run's configuration.
    """

    Options: ClassVar[Any] = Options
    task: ClassVar[str] = ""
    version: ClassVar[int] = 1

    def __init__(self, options: Any, config: Config):
        self.options = options
        self.config = config

    def features(self, example: Any) -> dict[str, np.ndarray]:
        """Arrays of static shape that the loader adds to one example (`data.pipeline.Example`) for this task."""
        return {}

    def flops(self, share: float) -> dict[str, float]:
        """Operations of a forward pass over one row, by the name of the pass, so that shared ones count once.

        Args:
          share: part of the text that is not padding.
        """
        return {}

    @property
    def towers(self) -> tuple[str, ...]:
        """Modalities whose vectors (`Passes.tower`) are all that the loss computes of a batch; () of most losses.

        Where a batch comes in microbatches, such a loss is still taken over all of it (`training.gradient`).
        """
        return ()

    def loss(self, passes: Passes, rng: Array) -> tuple[Float[Array, ""], Metrics]:
        """The loss over one batch and what to log of it."""
        raise NotImplementedError

    def alarm(self, metrics: Mapping[str, float]) -> str:
        """What is wrong and what to do, where metrics of one step look as if nothing is learned; "" where all is well.

        It is told once, after it was wrong in several logged steps in a row.
        """
        return ""


OBJECTIVES: Registry[type[Objective]] = Registry("objective")


def make(config: Config) -> dict[str, Objective]:
    """The objectives of a run by name."""
    return {name: OBJECTIVES[name](options, config) for name, options in config.objectives.items()}


def options(name: str, **changes: Any) -> dict[str, Any]:
    """All options of an objective, as config files hold them: the defaults with ``changes``."""
    return dataclasses.asdict(OBJECTIVES[name].Options(**changes))


def check_association(association: str, config: Config, name: str) -> None:
    """Raises UserError for an ``association`` that is unknown or that the model cannot give the objective ``name``."""
    field = f"config.objectives.{name}.association"
    if association not in ("", *KINDS):
        raise UserError(f"{field}={association!r}: choose one of {', '.join(KINDS)}, or ''")
    if association and not config.model.association:
        raise UserError(f"{field}={association!r} needs config.model.association=True")


def features(objectives: Mapping[str, Objective]) -> dict[str, list[Any]]:
    """Stream -> what its objectives add to every example."""
    found: dict[str, list[Any]] = {}
    for objective in objectives.values():
        found.setdefault(objective.options.stream, []).append(objective.features)
    return found


def weight(options: Options, step: Array | int, steps: int) -> Float[Array, ""]:
    """The objective's weight at a step."""
    found = jnp.float32(options.weight)
    if options.schedule:
        at, factor = zip(*options.schedule, strict=True)
        found *= jnp.interp(step / steps, jnp.array(at), jnp.array(factor))
    if options.turn:
        k, n = options.turn
        found *= step % n == k
    return found


def focused(
    losses: Mapping[str, Float[Array, ""]],
    weights: tuple[float, ...],
    focus: float,
    there: Mapping[str, Bool[Array, ""]] | None = None,
) -> dict[str, Float[Array, ""]]:
    """Weights of losses, which sum to one and have no gradient: what is learned least counts most.

    Args:
      losses: by name.
      weights: given ones, in that order; none are equal ones.
      focus: power of the losses by which they are multiplied; 0 leaves them as they are.
      there: which losses there are in this batch; the others get no weight. None is all.
    """
    least = jnp.log(jnp.maximum(jax.lax.stop_gradient(jnp.stack(list(losses.values()))), 1e-6))
    known = jnp.stack([there[name] for name in losses]) if there else jnp.ones(len(losses), bool)
    raised = jnp.array(weights or (1.0,) * len(losses)) * known * jnp.exp(focus * (least - jnp.max(least)))
    return dict(zip(losses, raised / jnp.maximum(jnp.sum(raised), 1e-9), strict=True))


def total_loss(
    objectives: Mapping[str, Objective], model: Any, batch: Mapping[str, Mapping[str, Array]], step: Array, rng: Array
) -> tuple[Float[Array, ""], Metrics]:
    """Weighted sum of all objectives over one batch of all streams.

    Args:
      objectives: by name.
      model: the model, bound to its parameters.
      batch: stream -> name -> array.
      step: of the run, for the schedules.
      rng: key of this step.

    Returns:
      The sum, and the metrics as "<objective>/<name>".
    """
    return weighted_sum(objectives, {s: Passes(model, arrays) for s, arrays in batch.items()}, step, rng)


def weighted_sum(
    objectives: Mapping[str, Objective], passes: Mapping[str, Passes], step: Array, rng: Array
) -> tuple[Float[Array, ""], Metrics]:
    """`total_loss` of passes, by stream, of which some may have been computed before."""
    total, metrics = jnp.float32(0), {}
    for i, (name, objective) in enumerate(objectives.items()):
        loss, logged = objective.loss(passes[objective.options.stream], jax.random.fold_in(rng, i))
        total = total + weight(objective.options, step, objective.config.steps) * loss
        metrics |= {f"{name}/{key}": value for key, value in {"loss": loss, **logged}.items()}
    for stream, p in passes.items():
        if "text" in p.batch:
            metrics[f"data/{stream}/padding"] = jnp.mean(p.batch["text"] == vocab.PAD, dtype=jnp.float32)
    return total, metrics


def sequence_nats(
    logits: Float[Array, "*B L V"], sequence: Integer[Array, "*B L1"], written: Bool[Array, "*B L"]
) -> tuple[Float[Array, "*B"], Float[Array, "*B"]]:
    """Negative log-likelihood of what a decoder was to write.

    Args:
      logits: at every position, for the id after it.
      sequence: the ids, one longer than the logits.
      written: positions whose next id counts.

    Returns:
      The sum of nats and the number of ids (bytes and the end symbol) of every sequence.
    """
    targets = sequence[..., 1:].astype(jnp.int32)
    nats = jax.nn.logsumexp(logits, -1) - jnp.take_along_axis(logits, targets[..., None], -1)[..., 0]
    return jnp.sum(jnp.where(written, nats, 0), -1), jnp.sum(written, -1).astype(jnp.float32)


def decoded_nats(
    model: Any, sequences: Integer[Array, "Q K L"], memory: Float[Array, "Q M D"], valid: Bool[Array, "Q M"]
) -> tuple[Float[Array, "Q K"], Float[Array, "Q K"]]:
    """`sequence_nats` of sequences that a model's decoder writes reading memories: all but the first id and padding."""
    logits = model.decode(sequences[..., :-1], memory, valid)
    return sequence_nats(logits, sequences, sequences[..., 1:] != vocab.PAD)


def written_after_prompt(sequence: Integer[Array, "*B L1"]) -> Bool[Array, "*B L"]:
    """For sequences BOS prompt SEP text EOS PAD...: positions whose next id belongs to the text or is its EOS."""
    prompt_over = jnp.cumsum(sequence == vocab.SEP, -1)[..., :-1] > 0
    return prompt_over & (sequence[..., 1:] != vocab.PAD)


def bits_per_byte(nats: Array, count: Array) -> Float[Array, ""]:
    """Sum of nats over sum of ids, in bits."""
    return jnp.sum(nats) / jnp.maximum(1, jnp.sum(count)) / jnp.log(2.0)
