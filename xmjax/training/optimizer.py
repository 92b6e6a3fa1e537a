"""The optimizer and its schedule."""

from typing import Any

import jax
import optax

from xmjax.config import Config, OptimizerConfig
from xmjax.training import adapters

NOT_DECAYED = (
    "norm",
    "table",
    "ngram",
    "position",
    "log_scale",
    "bias",
    "absent",
    "modality",
    "shift",
    "places",
    "token",
)


MATRICES = ("kernel", "patch_kernel", "projection", "value", "hidden", "out")
"""Names of matrices outside of stacks, from all of their first axes to the last."""


def schedule(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """Linear warm-up to the peak, then decay to ``final`` of it at the last step, or at once at ``drop_at``."""
    warmup = min(config.warmup, max(1, steps - 1))
    rest, peak, final = max(1, steps - warmup), config.learning_rate, config.final * config.learning_rate
    decays = {
        "cosine": lambda: optax.cosine_decay_schedule(peak, rest, config.final),
        "linear": lambda: optax.linear_schedule(peak, final, rest),
        "step": lambda: optax.piecewise_constant_schedule(
            peak, {max(0, round(config.drop_at * steps) - warmup): config.final}
        ),
        "constant": lambda: optax.constant_schedule(peak),
    }
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), decays[config.decay]()], [warmup])


def decayed(params: Any) -> Any:
    """True for the matrices, which weight decay pulls towards zero; False for norms, tables, positions and scalars."""

    def one(path: Any, leaf: Any) -> bool:
        return leaf.ndim >= 2 and not any(word in _name(path) for word in NOT_DECAYED)

    return jax.tree_util.tree_map_with_path(one, params)


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path[-1:], simple=True)


def muon_dimensions(params: Any) -> Any:
    """For Muon, how each matrix is a matrix; None where AdamW takes the parameter: vectors, tables and the byte head.

    The leading axis of a stack's parameter counts layers, which are orthogonalised one by one; a convolution is a
    matrix from its window to its channels.
    """
    stacked = {
        "query": ((1,), (2, 3)), "key": ((1,), (2, 3)), "value": ((1,), (2, 3)), "out": ((1, 2), (3,)),
        "up": ((1,), (2,)), "down": ((1,), (2,)),
    }  # fmt: skip

    def one(path: Any, leaf: Any) -> optax.contrib.MuonDimensionNumbers | None:
        name = _name(path)
        scope, _, last = name.rpartition("_")
        if scope in ("attention", "cross", "mlp", "cross_mlp") and last in stacked:
            return optax.contrib.MuonDimensionNumbers(*stacked[last])
        if name.startswith(("stem", "kernel_")) or name in MATRICES:
            return optax.contrib.MuonDimensionNumbers(tuple(range(leaf.ndim - 1)), (leaf.ndim - 1,))
        return None

    return jax.tree_util.tree_map_with_path(one, params)


def make(config: Config) -> optax.GradientTransformation:
    """The gradient transformation of a run."""
    c = config.optimizer
    rate = schedule(c, config.steps)
    if c.name == "muon":
        update = optax.contrib.muon(
            rate,
            adam_learning_rate=rate,
            weight_decay=c.weight_decay,
            weight_decay_mask=decayed,
            adam_weight_decay=0.0,  # it has no mask: norms, tables and places would be decayed too
            adam_b1=c.b1,
            adam_b2=c.b2,
            muon_weight_dimension_numbers=muon_dimensions,
            consistent_rms=0.2,  # updates as large as AdamW's, so that one learning rate serves both (Moonlight)
        )
    else:
        update = optax.adamw(rate, c.b1, c.b2, weight_decay=c.weight_decay, mask=decayed)
    update = optax.chain(optax.clip_by_global_norm(c.clip), update) if c.clip else update
    if c.trained == "all":
        return update

    def parts(params: Any) -> Any:
        return jax.tree.map(lambda train: "trained" if train else "held", adapters.trained(c, params))

    return optax.partition({"trained": update, "held": optax.set_to_zero()}, parts)
