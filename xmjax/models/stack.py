"""A stack of transformer layers: parameters with a leading layer axis, applied by a scan."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from xmjax.config import ModelConfig
from xmjax.models import layers
from xmjax.models.layers import Params
from xmjax.sharding import constrain

Cache = dict[str, Array]


def policy(remat: str):
    """What `jax.checkpoint` keeps for the backward pass."""
    return jax.checkpoint_policies.dots_with_no_batch_dims_saveable if remat == "dots" else None


SELF = ("attention", "mlp")
"""A layer that looks at its own tokens."""
READING = ("attention", "cross", "mlp")
"""A layer that also looks at a memory."""


class Stack(nn.Module):
    """``depth`` pre-norm layers and a final norm.

    Compile time does not grow with depth: the layers' parameters are stacked and scanned over.

    Attributes:
      config: sizes.
      depth: layers.
      order: what a layer does, each with parameters of its own: "attention" (to the own tokens), "cross" (attention to
        a memory), "mlp", and "cross_mlp" for a second one.
      causal: whether tokens see only what stands before them.
    """

    config: ModelConfig
    depth: int
    order: tuple[str, ...] = SELF
    causal: bool = False

    def setup(self):
        c = self.config
        n, h, hidden = c.heads, c.width // c.heads, int(c.width * c.mlp_ratio)
        residual = (2 * max(1, self.depth)) ** -0.5  # so that two writes a layer keep the scale of the residual stream

        def stacked(scope: str, name: str, shape: tuple[int, ...], fan_in: int, scale: float = 1.0):
            init = nn.initializers.normal(scale * fan_in**-0.5) if fan_in else nn.initializers.zeros
            return self.param(f"{scope}_{name}", init, (self.depth, *shape))

        def attention(scope: str) -> Params:
            return {
                "norm": stacked(scope, "norm", (c.width,), 0),
                "query": stacked(scope, "query", (c.width, n, h), c.width),
                "key": stacked(scope, "key", (c.width, n, h), c.width),
                "value": stacked(scope, "value", (c.width, n, h), c.width),
                "out": stacked(scope, "out", (n, h, c.width), c.width, residual),
            }

        def mlp(scope: str) -> Params:
            return {
                "norm": stacked(scope, "norm", (c.width,), 0),
                "up": stacked(scope, "up", (c.width, hidden), c.width),
                "down": stacked(scope, "down", (hidden, c.width), hidden, residual),
            }

        self.blocks: dict[str, Params] = {
            scope: mlp(scope) if scope.endswith("mlp") else attention(scope) for scope in self.order
        }
        self.norm = self.param("norm", nn.initializers.zeros, (c.width,))

    def __call__(
        self,
        x: Float[Array, "B T D"],
        valid: Bool[Array, "B T"] | None = None,
        memory: Float[Array, "R M D"] | None = None,
        memory_valid: Bool[Array, "R M"] | None = None,
        near: Bool[Array, "T T"] | None = None,
    ) -> Float[Array, "B T D"]:
        """Applies the layers.

        Args:
          x: tokens.
          valid: which of them others may look at; None is all.
          memory: what cross-attention looks at. One memory may serve B / R consecutive rows of ``x``.
          memory_valid: which of its tokens.
          near: which tokens look at which; None is all at all.
        """

        def body(x: Array, p: Mapping[str, Params]) -> Array:
            return self.layer(p, x, valid, memory, memory_valid, near)

        return layers.rms_norm(scanned(self.config, body, x, self.blocks), self.norm)

    def layer(
        self,
        p: Mapping[str, Params],
        x: Float[Array, "B T D"],
        valid: Bool[Array, "B T"] | None,
        memory: Float[Array, "R M D"] | None = None,
        memory_valid: Bool[Array, "R M"] | None = None,
        near: Bool[Array, "T T"] | None = None,
    ) -> Float[Array, "B T D"]:
        """One layer with the parameters ``p``, those of ``blocks`` without their first axis."""
        x = constrain(x)
        for scope in self.order:
            if scope == "attention":
                x = x + layers.self_attention(p[scope], x, valid, self.causal, self.config.attention, near)
            elif scope == "cross":
                assert memory is not None
                # Rows that share a memory become one longer query.
                y = rearrange(x, "(r k) t d -> r (k t) d", r=memory.shape[0])
                y = layers.cross_attention(p[scope], y, memory, memory_valid, self.config.attention)
                x = x + rearrange(y, "r (k t) d -> (r k) t d", t=x.shape[1])
            else:
                x = x + layers.mlp(p[scope], x)
        return x

    def start(self, memory: Float[Array, "B M D"], rows: int, length: int) -> Cache:
        """An empty key-value cache for ``length`` tokens of ``rows`` rows a memory."""
        c = self.config
        b = memory.shape[0]
        empty = jnp.zeros((self.depth, b * rows, length, c.heads, c.width // c.heads), memory.dtype)
        cross = self.blocks["cross"]
        project = jax.vmap(layers.heads, (None, 0))
        return {"key": empty, "value": empty, "memory_key": project(memory, cross["key"]),
                "memory_value": project(memory, cross["value"])}  # fmt: skip

    def step(
        self, x: Float[Array, "B D"], cache: Cache, index: Int[Array, ""], memory_valid: Bool[Array, "R M"] | None
    ) -> tuple[Float[Array, "B D"], Cache]:
        """One token a row at position ``index``, equal to that token of a full call, and the cache that holds it."""

        def body(y, scanned):
            p, key, value, memory_key, memory_value = scanned
            a = p["attention"]
            z = layers.rms_norm(y, a["norm"])
            key = jax.lax.dynamic_update_index_in_dim(key, layers.heads(z, a["key"]), index, 1)
            value = jax.lax.dynamic_update_index_in_dim(value, layers.heads(z, a["value"]), index, 1)
            seen = (jnp.arange(key.shape[1]) <= index)[None, None, None, :]
            z = layers.attend(layers.heads(z, a["query"]), key, value, seen, implementation="xla")
            y = y + layers.join(z, a["out"])
            p_cross = p["cross"]
            q = layers.heads(layers.rms_norm(y, p_cross["norm"]), p_cross["query"])
            r = memory_key.shape[0]
            q = rearrange(q, "(r k) t n h -> r (k t) n h", r=r)
            mask = None if memory_valid is None else memory_valid[:, None, None, :]
            z = layers.attend(q, memory_key, memory_value, mask, implementation="xla")
            y = y + layers.join(rearrange(z, "r (k t) n h -> (r k) t n h", t=1), p_cross["out"])
            return y + layers.mlp(p["mlp"], y), (key, value)

        scanned = (self.blocks, cache["key"], cache["value"], cache["memory_key"], cache["memory_value"])
        y, (key, value) = jax.lax.scan(body, x[:, None, :], scanned)
        return layers.rms_norm(y, self.norm)[:, 0], {**cache, "key": key, "value": value}


def scanned(config: ModelConfig, layer: Callable[[Any, Any], Any], x: Any, blocks: Any) -> Any:
    """``x`` after all layers.

    Args:
      config: tells what the backward pass computes again, and how much of the loop is unrolled.
      layer: from ``x`` and one layer's parameters to the next ``x``; of any tree.
      x: what enters.
      blocks: parameters, with a leading axis of layers.
    """
    if config.remat != "none":
        layer = jax.checkpoint(layer, policy=policy(config.remat))
    x, _ = jax.lax.scan(lambda y, p: (layer(y, p), None), x, blocks, unroll=config.unroll)
    return x
