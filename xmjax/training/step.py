"""The state of a run and the one jitted function that updates it."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float, Int

from xmjax import sharding
from xmjax.config import STREAMS, Config, GuardConfig
from xmjax.models.crossmodal import Crossmodal
from xmjax.objectives import Objective
from xmjax.training import adapters, optimizer
from xmjax.training.gradient import gradient

Metrics = dict[str, Array]


class Guard(struct.PyTreeNode):
    """Running statistics of the loss, and counts of what was not applied.

    Attributes:
      mean: of the losses of accepted steps, exponentially averaged.
      square: of their squares.
      accepted: steps that were applied.
      skipped: steps that were not.
      in_a_row: skipped since the last accepted one.
    """

    mean: Float[Array, ""]
    square: Float[Array, ""]
    accepted: Int[Array, ""]
    skipped: Int[Array, ""]
    in_a_row: Int[Array, ""]

    @classmethod
    def start(cls) -> "Guard":
        """Nothing seen."""
        return cls(jnp.float32(0), jnp.float32(0), jnp.int32(0), jnp.int32(0), jnp.int32(0))

    def accepts(self, loss: Float[Array, ""], norm: Float[Array, ""], config: GuardConfig) -> Bool[Array, ""]:
        """Whether a step is applied: loss and gradient finite, and the loss no outlier upwards.

        Once ``patience`` steps in a row were refused nothing is applied any more, until the host sees it and stops.
        """
        finite = jnp.isfinite(loss) & jnp.isfinite(norm) & (self.in_a_row < config.patience)
        if not config.sigma:
            return finite
        deviation = jnp.sqrt(jnp.maximum(self.square - self.mean**2, 1e-8))
        return finite & ((self.accepted < config.window) | (loss < self.mean + config.sigma * deviation))

    def forget(self, when: Bool[Array, ""]) -> "Guard":
        """With nothing to judge by, where ``when``: losses of other data are no measure."""
        return self.replace(accepted=jnp.where(when, 0, self.accepted))

    def update(self, loss: Float[Array, ""], accepted: Bool[Array, ""], config: GuardConfig) -> "Guard":
        """The statistics after a step."""
        # While the window fills, this is the plain mean, so that no start value has to be forgotten.
        rate = 1 / jnp.minimum(self.accepted + 1, config.window).astype(jnp.float32)
        value = jnp.where(accepted, loss, self.mean)
        square = jnp.where(accepted, loss**2, self.square)
        return Guard(
            mean=self.mean + rate * (value - self.mean),
            square=self.square + rate * (square - self.square),
            accepted=self.accepted + accepted,
            skipped=self.skipped + ~accepted,
            in_a_row=jnp.where(accepted, 0, self.in_a_row + 1),
        )


class State(struct.PyTreeNode):
    """Everything an update changes. All of it lives on the mesh.

    Attributes:
      step: updates done, skipped ones included.
      params: of the model.
      opt_state: of the optimizer.
      ema: averaged parameters, or None.
      guard: statistics of the loss.
    """

    step: Int[Array, ""]
    params: Any
    opt_state: Any
    ema: Any
    guard: Guard

    @property
    def used(self) -> Any:
        """The parameters that are evaluated and used: the averaged ones where there are any."""
        return adapters.merged(self.params if self.ema is None else self.ema)


def make_model(config: Config) -> Crossmodal:
    """The model of a run, with activations in the run's precision."""
    precision = config.precision
    if precision == "auto":
        precision = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    return Crossmodal(config.model, jnp.dtype(precision))


def init(config: Config) -> State:
    """The state before the first step."""
    key = jax.random.key(config.seed)
    params = make_model(config).init(key, method="initialise")["params"]
    if config.optimizer.trained == "lora":
        params = adapters.with_lora(params, config.optimizer.rank, jax.random.fold_in(key, 1))
    return State(
        step=jnp.int32(0),
        params=params,
        opt_state=optimizer.make(config).init(params),
        ema=params if config.optimizer.ema else None,
        guard=Guard.start(),
    )


def state_shardings(config: Config, mesh: Any) -> State:
    """A sharding for every array of the state."""
    return sharding.shardings(jax.eval_shape(partial(init, config)), mesh)


def abstract_state(config: Config, mesh: Any) -> State:
    """Shapes, dtypes and shardings of the state, without any memory."""
    shapes = jax.eval_shape(partial(init, config))
    return jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, sharding.shardings(shapes, mesh)
    )


def update(
    config: Config, objectives: Mapping[str, Objective], state: State, batch: Mapping[str, Mapping[str, Array]]
) -> tuple[State, Metrics]:
    """One update: loss, gradient, guard, optimizer."""
    model = make_model(config)
    rng = jax.random.fold_in(jax.random.key(config.seed), state.step)

    def bound(params: Any) -> Any:
        return model.bind({"params": adapters.effective(config.optimizer, params)})

    (loss, metrics), grads = gradient(
        objectives, bound, state.params, batch, state.step, rng, config.optimizer.accumulate
    )
    norm = optax.tree.norm(grads)
    changes = jnp.array([config.first_steps(name) for name in STREAMS])
    guard = state.guard.forget(jnp.any(state.step == changes))
    accepted = guard.accepts(loss, norm, config.guard)
    updates, opt_state = optimizer.make(config).update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    keep = partial(jax.tree.map, lambda new, old: jnp.where(accepted, new, old))
    params, opt_state = keep(params, state.params), keep(opt_state, state.opt_state)
    decay = jnp.minimum(config.optimizer.ema, (1 + state.step) / (10 + state.step))  # follows closely at first
    ema = None if state.ema is None else jax.tree.map(lambda e, p: e + (1 - decay) * (p - e), state.ema, params)
    guard = guard.update(loss, accepted, config.guard)
    metrics |= {
        "loss": loss,
        "gradient_norm": norm,
        "learning_rate": optimizer.schedule(config.optimizer, config.steps)(state.step),
        "guard/skipped": guard.skipped,
        "guard/in_a_row": guard.in_a_row,
    }
    if config.optimizer.trained == "all":  # else most of a modality's parameters are held
        norms = {m: optax.tree.norm(of_modality(grads, m)) for m in config.model.modalities}
        metrics |= {f"gradient_norm/{m}": value for m, value in norms.items()}
    return State(state.step + 1, params, opt_state, ema, guard), metrics


def of_modality(params: Any, modality: str) -> Any:
    """Of a model's parameters, or what has their shape, what belongs to one modality alone: to embed and to read it."""
    return {key: value for key, value in params.items() if key.partition("_")[2] == modality}


def jit_update(config: Config, objectives: Mapping[str, Objective], mesh: Mesh) -> Callable:
    """`update` compiled for a mesh; the old state's memory is reused."""
    states = state_shardings(config, mesh)
    return jax.jit(
        partial(update, config, objectives),
        in_shardings=(states, sharding.batch_sharding(mesh)),
        out_shardings=(states, NamedSharding(mesh, P())),
        donate_argnums=0,
    )


def jit_init(config: Config, mesh: Mesh) -> Callable[[], State]:
    """`init` compiled for a mesh, so that no device ever holds the whole state."""
    return jax.jit(partial(init, config), out_shardings=state_shardings(config, mesh))
