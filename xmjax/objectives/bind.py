"""Bind: every further modality meets the picture alone, and all others through it (Girdhar et al. 2023, ImageBind)."""

import dataclasses

import jax.numpy as jnp

from xmjax.errors import UserError
from xmjax.objectives import base, contrast

LOSSES = ("infonce", "sigmoid")


@dataclasses.dataclass(frozen=True)
class Options(base.Options):
    """Options of `Bind`.

    Attributes:
      to: the modality that all others are bound to.
      modalities: those that are bound.
      weights: of their losses, in that order; empty are equal ones.
      focus: by how much more a modality counts the less it is learned yet: weights are multiplied by this power of its
        loss (`base.focused`).
      loss: of each pair, "infonce" or "sigmoid" as of `contrast`.
      chunk: as of `contrast`.
    """

    stream: str = "frame_audio"
    to: str = "image"
    modalities: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    focus: float = 0.0
    loss: str = "infonce"
    chunk: int = 0


@base.OBJECTIVES.register("bind")
class Bind(base.Objective):
    """Mean over modalities of their contrastive losses with one of them.

    No two of the others are ever compared. That they meet all the same is measured by the evaluator `emergent`.
    """

    Options = Options
    task = "matching"
    version = 2  # 1 weighed by the softmax of losses

    def __init__(self, options, config):
        super().__init__(options, config)
        if not options.modalities:
            raise UserError("config.objectives.bind.modalities is empty: name those that are bound")
        if options.weights and len(options.weights) != len(options.modalities):
            raise UserError(
                f"config.objectives.bind.weights has {len(options.weights)} numbers for {len(options.modalities)} "
                "modalities: give one for each, or none"
            )
        if options.focus < 0 or min(options.weights, default=1.0) < 0 or not any(options.weights or (1.0,)):
            raise UserError("config.objectives.bind: weights and focus must not be negative, nor all weights zero")
        if options.loss not in LOSSES:
            raise UserError(f"config.objectives.bind.loss={options.loss!r}: choose {' or '.join(LOSSES)}")
        if "text" in (options.to, *options.modalities):
            raise UserError(
                "config.objectives.bind.modalities has 'text', which comes several to a record: compare it by an "
                "objective contrast"
            )
        self.pairs = {
            m: contrast.Contrast(
                contrast.Options(
                    stream=options.stream, loss=options.loss, first=options.to, second=m, chunk=options.chunk
                ),
                config,
                "bind",
            )
            for m in options.modalities
        }

    @property
    def towers(self):
        return self.options.to, *self.options.modalities

    def flops(self, share):
        found: dict[str, float] = {}
        for pair in self.pairs.values():
            found |= pair.flops(share)
        return found

    def loss(self, passes, rng):
        losses, metrics = {}, {}
        for m, pair in self.pairs.items():
            losses[m], found = pair.loss(passes, rng)
            metrics |= {f"{m}/loss": losses[m], f"{m}/accuracy": found["accuracy"]}
        weights = base.focused(losses, self.options.weights, self.options.focus)
        metrics |= {f"{m}/weight": weight for m, weight in weights.items()}
        return sum((weights[m] * losses[m] for m in losses), jnp.float32(0)), metrics
