"""Regions: objects as tokens, after EP 3 889 830: content, coordinates, order and an identifier of the
modality, at the width of the text's tokens.
"""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, UInt8

from xmjax.config import ModelConfig
from xmjax.models.embedders import Tokens
from xmjax.models.layers import linear, waves
from xmjax.models.objects import pooled

GREY = 127
"""Byte that stands where a picture is erased."""


class Regions(nn.Module):
    """One token an object.

    Attributes:
      config: sizes.
    """

    config: ModelConfig

    @nn.compact
    def __call__(
        self,
        tokens: Tokens,
        groups: Float[Array, "B K M"],
        boxes: Float[Array, "B K 4"],
        masked: Bool[Array, "B K"] | None = None,
        unknown: Bool[Array, " B"] | None = None,
    ) -> Tokens:
        """Objects of a picture, from its tokens' shares in them and their boxes; see `Crossmodal.grounded`.

        Of an unknown picture boxes are hidden: else a size would tell what has that size, and a text that says
        otherwise would be read past.
        """
        c, options = self.config, self.config.regions
        normal = nn.initializers.normal
        content = pooled(tokens, groups).tokens.vectors
        mask = self.param("mask", normal(1.0), (c.width,))
        if masked is not None:
            content = jnp.where(masked[..., None], mask.astype(content.dtype), content)
        if options.coordinates:
            side = boxes[..., 2:] - boxes[..., :2]
            # As bare numbers they were hardly read: sizes, places and relations stayed half learned (docs/log.md).
            place = waves(jnp.concatenate([boxes, side, jnp.prod(side, -1, keepdims=True)], -1))
            if unknown is not None:
                place = jnp.where(unknown[:, None, None], 0.0, place)
            content = jnp.concatenate([content, place.astype(content.dtype)], -1)
        kernel = self.param("kernel", normal(content.shape[-1] ** -0.5), (content.shape[-1], c.width))
        order = self.param("order", normal(0.5), (options.count if options.order else 1, c.width))
        identifier = self.param("identifier", normal(0.5), (c.width,))
        x = linear(content, kernel) + (order + identifier).astype(content.dtype)
        return Tokens(x, jnp.all(boxes[..., 2:] > boxes[..., :2], -1), boxes)


def erased(
    image: UInt8[Array, "B Y X 3"], boxes: Float[Array, "B K 4"], masked: Bool[Array, "B K"]
) -> UInt8[Array, "B Y X 3"]:
    """Pictures that are grey wherever a masked box covers any part of a pixel.

    What is masked cannot leak then, neither through a neighbour's box nor through layers that see the whole picture.
    """

    def covers(low: Array, high: Array, size: int) -> Bool[Array, "B K S"]:
        at = jnp.arange(size)
        return (low[..., None] < (at + 1) / size) & (at / size < high[..., None])

    down = covers(boxes[..., 0], boxes[..., 2], image.shape[1])
    across = covers(boxes[..., 1], boxes[..., 3], image.shape[2])
    covered = jnp.any(masked[..., None, None] & down[..., :, None] & across[..., None, :], 1)
    return jnp.where(covered[..., None], jnp.uint8(GREY), image)
