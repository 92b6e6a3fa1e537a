"""All rows of one side compared with all of another, without ever holding all of their scores.

Every device holds its rows of both sides. Those of the first side stay; those of the second go round all devices with
what was found of them so far, and are compared a chunk at a time. The backward pass goes round once more and computes
each block of scores again, so that nothing is kept of a block but what was found of its rows and columns.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float

from xmjax import sharding


class Side(NamedTuple):
    """Rows that are compared with those of another side.

    Attributes:
      vectors: of the rows.
      about: arrays that tell what belongs together, without a gradient; as many rows, or one for every so many of them.
    """

    vectors: Float[Array, "R E"]
    about: Any


class Totals(NamedTuple):
    """What all comparisons of each row come to. A loss chooses how many it needs of each kind, all of shape [R].

    Attributes:
      logs: logarithms of sums of exponentials.
      sums: plain sums.
      maxima: what was largest; never differentiated.
    """

    logs: tuple[Float[Array, " R"], ...] = ()
    sums: tuple[Float[Array, " R"], ...] = ()
    maxima: tuple[Float[Array, " R"], ...] = ()

    def merged(self, other: "Totals") -> "Totals":
        """Of the comparisons of both."""
        return Totals(*(
            tuple(map(join, mine, theirs))
            for join, mine, theirs in zip((jnp.logaddexp, jnp.add, jnp.maximum), self, other, strict=True)
        ))  # fmt: skip

    def pulled(self, whole: "Totals", pull: "Totals") -> "Totals":
        """The gradient with respect to these totals of a block, by the totals of all and the gradient there."""
        logs = (p * jnp.exp(own - w) for own, w, p in zip(self.logs, whole.logs, pull.logs, strict=True))
        return pull._replace(logs=tuple(logs))


Block = Callable[[Side, Side, Any], tuple[Totals, Totals]]
"""From two sides and a tree of scalars to the totals of the first side's rows and of the second side's."""


def compare(block: Block, chunks: int, first: Side, second: Side, scalars: Any) -> tuple[Totals, Totals]:
    """``block(first, second, scalars)`` of the whole batch, in values and gradients, made of smaller blocks.

    Args:
      block: what is compared, which must not close over traced values.
      chunks: into which each device's rows of the second side are divided; they must divide evenly.
      first: the side that stays, its rows split over the mesh as a batch is.
      second: the side that goes round.
      scalars: other values that have gradients.
    """
    found: Any = _compared(block, chunks, first, second, scalars)
    return found


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _compared(block: Block, chunks: int, first: Side, second: Side, scalars: Any) -> tuple[Totals, Totals]:
    return _per_device(partial(_totals, block, chunks))((first, second), scalars)


def _forward(block: Block, chunks: int, first: Side, second: Side, scalars: Any) -> tuple[Any, Any]:
    totals = _compared(block, chunks, first, second, scalars)
    return totals, (first, second, scalars, totals)


def _backward(block: Block, chunks: int, kept: Any, pulls: tuple[Totals, Totals]) -> tuple[Side, Side, Any]:
    first, second, scalars, totals = kept
    gradients = _per_device(partial(_gradients, block, chunks))
    of_first, of_second, of_scalars = gradients((first, second, totals, pulls), scalars)
    return Side(of_first, None), Side(of_second, None), jax.tree.map(lambda x: jnp.sum(x, 0), of_scalars)


_compared.defvjp(_forward, _backward)


def _totals(block: Block, chunks: int, sides: tuple[Side, Side], scalars: Any) -> tuple[Totals, Totals]:
    """Totals of this device's rows of both sides."""
    first, visitors = sides[0], _divided(sides[1], chunks)

    def meet(rows: Totals, visiting: tuple[Side, Totals]) -> tuple[Totals, Totals]:
        found = block(first, visiting[0], scalars)
        return rows.merged(found[0]), visiting[1].merged(found[1])

    shapes = jax.eval_shape(block, first, jax.tree.map(lambda x: x[0], visitors), scalars)
    rows, columns = _go_round(meet, _nothing(shapes[0]), visitors, _nothing(shapes[1], chunks))
    return rows, _joined(columns)


def _gradients(block: Block, chunks: int, given: Any, scalars: Any) -> tuple[Array, Array, Any]:
    """Gradients with respect to this device's vectors of both sides, and its part [1] of those of the scalars."""
    first, second, totals, pulls = given
    visitors = _divided((second, totals[1], pulls[1]), chunks)

    def meet(sums: Any, visiting: Any) -> tuple[Any, Array]:
        (side, whole, pull), so_far = visiting

        def compared(rows: Array, columns: Array, scalars: Any) -> tuple[Totals, Totals]:
            return block(first._replace(vectors=rows), side._replace(vectors=columns), scalars)

        found, back = jax.vjp(compared, first.vectors, side.vectors, scalars)
        mine, theirs, shared = back((found[0].pulled(totals[0], pulls[0]), found[1].pulled(whole, pull)))
        return jax.tree.map(jnp.add, sums, (mine, shared)), so_far + theirs

    start = jax.tree.map(jnp.zeros_like, (first.vectors, scalars))
    sums, columns = _go_round(meet, start, visitors, jnp.zeros_like(visitors[0].vectors))
    return sums[0], _joined(columns), jax.tree.map(lambda x: x[None], sums[1])


def _go_round(meet: Callable, state: Any, visitors: Any, found: Any) -> tuple[Any, Any]:
    """Takes every chunk of every device to every device once, and home again.

    Args:
      meet: from a device's state, and a chunk with what was found of it so far, to both changed.
      state: stays on the device.
      visitors: this device's chunks, along the first axis.
      found: of them, along the first axis.
    """
    devices = sharding.batch_devices()
    onward = [(i, (i + 1) % devices) for i in range(devices)]

    def stop(carried: Any, _: None) -> tuple[Any, None]:
        state, visitors, found = carried
        state, found = jax.lax.scan(meet, state, (visitors, found))
        if devices > 1:
            visitors, found = jax.lax.ppermute((visitors, found), sharding.BATCH, onward)
        return (state, visitors, found), None

    (state, _, found), _ = jax.lax.scan(stop, (state, visitors, found), length=devices)
    return state, found


def _per_device(function: Callable) -> Callable:
    """``function(rows, scalars)`` on each device's rows of trees of arrays. Without a mesh it is left as it is."""
    if sharding.batch_devices() == 1:
        return function
    # Nothing is differentiated through it, so that there is no need to follow what differs between devices.
    return jax.shard_map(function, in_specs=(P(sharding.BATCH), P()), out_specs=P(sharding.BATCH), check_vma=False)


def _nothing(shapes: Totals, *chunks: int) -> Totals:
    """Totals of no comparison at all, which `Totals.merged` leaves out."""
    starts = zip((-jnp.inf, 0.0, -jnp.inf), shapes, strict=True)
    return Totals(*(tuple(jnp.full((*chunks, *x.shape), start, x.dtype) for x in kind) for start, kind in starts))


def _divided(tree: Any, chunks: int) -> Any:
    return jax.tree.map(lambda x: x.reshape(chunks, len(x) // chunks, *x.shape[1:]), tree)


def _joined(tree: Any) -> Any:
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)
