"""Association: which units of the picture a unit of the text speaks of, and how strongly."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int, Integer

from xmjax import vocab
from xmjax.config import ModelConfig
from xmjax.models.embedders import Tokens
from xmjax.models.layers import linear, rms_norm

KINDS = ("learned", "uniform", "shuffled")
"""Where the weights come from: learned, or a control of equal cost: all units alike, or the weights of another row."""


class Association(NamedTuple):
    """For each text unit a distribution over the units of the other modality.

    Attributes:
      weights: sums to one over the units that are there; zero where there are none.
      strength: share that falls on any unit at all and not on "nothing here", from 0 to 1.
    """

    weights: Float[Array, "B T M"]
    strength: Float[Array, "B T"]


class Associate(nn.Module):
    """Compares every text unit with every other unit and with a learned "nothing" (US 12,393,789, claim 4).

    Attributes:
      config: sizes.
    """

    config: ModelConfig

    @nn.compact
    def __call__(
        self, text: Float[Array, "B T D"], other: Float[Array, "B M D"], valid: Bool[Array, "B M"]
    ) -> Association:
        width = self.config.width
        normal = nn.initializers.normal(width**-0.5)

        def projected(x: Array, name: str) -> Array:
            x = rms_norm(x, self.param(f"{name}_norm", nn.initializers.zeros, (width,)))
            return linear(x, self.param(name, normal, (width, width)))

        query, key = projected(text, "query"), projected(other, "key")
        nothing = self.param("nothing", normal, (width,))
        score = jnp.einsum("btd,bmd->btm", query, key, preferred_element_type=jnp.float32) * width**-0.5
        score = jnp.where(valid[:, None, :], score, -1e9)
        against = (query.astype(jnp.float32) @ nothing) * width**-0.5
        share = jax.nn.softmax(jnp.concatenate([against[..., None], score], -1))[..., 1:]
        strength = jnp.sum(share, -1)
        return Association(share / jnp.maximum(strength, 1e-9)[..., None], strength)


def replaced(found: Association, valid: Bool[Array, "B M"], kind: str) -> Association:
    """The association or one of its controls, at the same cost.

    Args:
      found: what was learned.
      valid: units that are there.
      kind: of `KINDS`.
    """
    if kind == "uniform":
        even = valid / jnp.maximum(1, jnp.sum(valid, -1, keepdims=True))
        return Association(0 * found.weights + even[:, None, :], found.strength)
    if kind == "shuffled":
        return Association(jnp.roll(found.weights, valid.shape[0] // 2, 0), found.strength)
    return found


def sentinel_tokens(ids: Integer[Array, "B L"], text: Tokens, count: int) -> Int[Array, "B S"]:
    """Index of the token that holds each of the first ``count`` sentinels; 0 where a text has fewer.

    Args:
      ids: the masked texts.
      text: their tokens.
      count: of sentinels, S.
    """
    wanted = vocab.FIRST_SENTINEL + jnp.arange(count)
    place = jnp.argmax(ids[:, None, :] == wanted[:, None], -1)[..., None]
    first, end = text.spans[:, None, :, 0], text.spans[:, None, :, 1]
    return jnp.argmax((first <= place) & (place < end), -1)
