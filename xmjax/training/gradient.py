"""The gradient of all losses over a batch, at once or in microbatches."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array

from xmjax import sharding
from xmjax.models.passes import Passes
from xmjax.objectives import Objective, total_loss, weighted_sum

Batch = Mapping[str, Mapping[str, Array]]
"""Stream -> name -> array."""

Towers = Mapping[tuple[str, str], Array]
"""(Stream, modality) -> what belongs to its vectors, one row each."""


def gradient(
    objectives: Mapping[str, Objective],
    bound: Callable[[Any], Any],
    params: Any,
    batch: Batch,
    step: Array,
    rng: Array,
    microbatches: int = 1,
) -> tuple[tuple[Array, Any], Any]:
    """The weighted sum of all losses, what to log, and the gradient, as ``((loss, metrics), gradient)``.

    Of several microbatches the mean is taken. But a loss that reads nothing but towers compares all rows with each
    other (`Objective.towers`), and is no mean over microbatches: it is taken over the whole batch, by vectors that are
    computed before, and its gradient with respect to them is handed on by the microbatches, which compute theirs again
    (Gao et al. 2021, GradCache). So loss and gradient are those of the whole batch, and of it only vectors are kept.

    Args:
      objectives: by name.
      bound: from parameters to the model that is bound to them.
      params: of the model.
      batch: of all streams.
      step: of the run, for the schedules.
      rng: key of this step.
      microbatches: into how many the rows are divided.
    """
    if microbatches == 1:
        return jax.value_and_grad(lambda p: total_loss(objectives, bound(p), batch, step, rng), has_aux=True)(params)
    whole = {name: o for name, o in objectives.items() if o.towers}
    rest = {name: o for name, o in objectives.items() if not o.towers}
    read = sorted({(o.options.stream, modality) for o in whole.values() for modality in o.towers})
    parts = jax.tree.map(lambda x: _divided(x, microbatches), batch)

    def compared(params: Any, vectors: Towers) -> Any:
        towers = {key: _joined(x, len(batch[key[0]]["id"])) for key, x in vectors.items()}
        return weighted_sum(whole, _passes(bound(params), batch, towers), step, rng)

    def handed_on(params: Any, part: Batch, pulls: Towers, rng: Array) -> Any:
        passes = _passes(bound(params), part)
        loss, metrics = weighted_sum(rest, passes, step, rng)
        pull = sum((jnp.vdot(pulls[key], x) for key, x in _vectors(passes, read).items()), jnp.float32(0))
        # Of no value, since these losses are counted already. What is summed here is divided by the microbatches below.
        return loss + microbatches * (pull - jax.lax.stop_gradient(pull)), metrics

    vectors = jax.lax.map(lambda part: _vectors(_passes(bound(params), part), read), parts)
    (loss, metrics), (grads, pulls) = jax.value_and_grad(compared, (0, 1), has_aux=True)(params, vectors)
    mean = _mean(jax.value_and_grad(handed_on, has_aux=True), params, (parts, pulls), rng, microbatches)
    return (loss + mean[0][0], metrics | mean[0][1]), jax.tree.map(jnp.add, grads, mean[1])


def _passes(model: Any, batch: Batch, known: Towers | None = None) -> dict[str, Passes]:
    """Passes over each stream, of which towers may be known."""
    towers: dict[str, dict[str, Array]] = {stream: {} for stream in batch}
    for (stream, modality), vectors in (known or {}).items():
        towers[stream][modality] = vectors
    return {stream: Passes(model, arrays, towers[stream]) for stream, arrays in batch.items()}


def _vectors(passes: Mapping[str, Passes], read: list[tuple[str, str]]) -> Towers:
    return {(stream, modality): passes[stream].tower(modality) for stream, modality in read}


def _mean(function: Callable, params: Any, parts: Any, rng: Array, count: int) -> Any:
    """Mean of ``function(params, *part, key)`` over ``count`` parts, one after the other."""

    def body(total: Any, scanned: Any) -> tuple[Any, None]:
        part, i = scanned
        return jax.tree.map(jnp.add, total, function(params, *part, jax.random.fold_in(rng, i))), None

    first = jax.eval_shape(function, params, *jax.tree.map(lambda x: x[0], parts), rng)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), first)
    total, _ = jax.lax.scan(body, zeros, (parts, jnp.arange(count)))
    return jax.tree.map(lambda x: x / count, total)


def _divided(x: Array, parts: int) -> Array:
    # Interleaved rows: each microbatch stays spread over all devices.
    return sharding.constrain(rearrange(x, "(b m) ... -> m b ...", m=parts), 1)


def _joined(vectors: Array, records: int) -> Array:
    """Vectors of microbatches in the order of the batch's records; a text's captions stay next to each other."""
    return sharding.constrain(rearrange(vectors, "m (b c) e -> (b m c) e", b=records // len(vectors)))
