"""A stack of transformer layers: parameters with a leading layer axis, applied by a scan."""

import functools

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


class Stack(nn.Module):
    """``depth`` pre-norm layers of self-attention, cross-attention (if ``cross``) and MLP, and a final norm.

    Compile time does not grow with depth: the layers' parameters are stacked and scanned over.
    """

    config: ModelConfig
    depth: int
    cross: bool = False
    causal: bool = False

    def setup(self):
        c = self.config
        n, h, hidden = c.heads, c.width // c.heads, int(c.width * c.mlp_ratio)
        residual = (2 * max(1, self.depth)) ** -0.5  # the sum over a residual stream of this depth keeps its scale

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

        blocks: dict[str, Params] = {"attention": attention("attention")}
        if self.cross:
            blocks["cross"] = attention("cross")
        blocks["mlp"] = {
            "norm": stacked("mlp", "norm", (c.width,), 0),
            "up": stacked("mlp", "up", (c.width, hidden), c.width),
            "down": stacked("mlp", "down", (hidden, c.width), hidden, residual),
        }
        self.blocks = blocks
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
        body = functools.partial(
            _layer, valid=valid, memory=memory, memory_valid=memory_valid, near=near, config=self.config,
            causal=self.causal,
        )  # fmt: skip
        if self.config.remat != "none":
            body = jax.checkpoint(body, policy=policy(self.config.remat))
        x, _ = jax.lax.scan(lambda y, p: (body(p, y), None), x, self.blocks, unroll=self.config.unroll)
        return layers.rms_norm(x, self.norm)

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


def _layer(p: Params, x, *, valid, memory, memory_valid, near, config: ModelConfig, causal: bool):
    x = constrain(x)
    x = x + layers.self_attention(p["attention"], x, valid, causal, config.attention, near)
    if memory is not None:
        rows, length = memory.shape[0], x.shape[1]
        y = rearrange(x, "(r k) t d -> r (k t) d", r=rows)  # rows that share a memory become one longer query
        y = layers.cross_attention(p["cross"], y, memory, memory_valid, config.attention)
        x = x + rearrange(y, "r (k t) d -> (r k) t d", t=length)
    return x + layers.mlp(p["mlp"], x)
