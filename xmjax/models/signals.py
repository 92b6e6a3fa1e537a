"""Embedders of further modalities, for planes, series and strings of bytes of any name.

A modality of `model.others` chooses one by its field "embedder"; its other fields are those that the embedder names.
What none of them serves is a class registered as "<modality>/<name>" (see `models.embedders`).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import linen as nn
from jaxtyping import Array, Float, UInt8

from xmjax.config import ModelConfig
from xmjax.errors import UserError
from xmjax.models.embedders import EMBEDDERS, Tokens, byte_spans, patch_products, patches, squares
from xmjax.models.layers import linear, sincos


def embedder(modality: str, name: str) -> Callable[..., Any]:
    """What makes a modality's front end: the class registered for it, or one for any modality (`models.signals`)."""
    own = ("image", "audio", "text")
    if f"{modality}/{name}" not in EMBEDDERS and f"any/{name}" in EMBEDDERS and modality not in own:
        return partial(EMBEDDERS[f"any/{name}"], modality=modality)
    return EMBEDDERS[f"{modality}/{name}"]


normal = nn.initializers.normal


class Further(nn.Module):
    """What they have in common.

    Attributes:
      config: of the model.
      dtype: of matrix products.
      modality: the name under which `config.others` has its fields.
    """

    fields: ClassVar[tuple[str, ...]] = ()
    """What a modality's options must name, whole numbers above 0 all of them but ``stem``."""

    config: ModelConfig
    dtype: jnp.dtype = jnp.dtype("float32")
    modality: str = ""

    @property
    def options(self) -> Any:
        """Fields of the modality."""
        return self.config.modalities[self.modality]

    @staticmethod
    def shape(options: Any) -> tuple[int, ...]:
        """Shape of one row of input."""
        raise NotImplementedError

    @staticmethod
    def work(options: Any, width: int) -> tuple[int, float]:
        """Tokens of one row, and multiply-adds that make them of its bytes."""
        raise NotImplementedError

    def example(self, config: ModelConfig) -> UInt8[Array, "1 ..."]:
        """One row of input, for initialisation."""
        return jnp.zeros((1, *self.shape(config.modalities[self.modality])), jnp.uint8)

    def checked(self, data: UInt8[Array, "B ..."]) -> UInt8[Array, "B ..."]:
        """The input, where it has the shape that the model was made for."""
        wanted = self.shape(self.options)
        if data.shape[1:] != wanted:
            raise UserError(
                f"rows of {self.modality} have the shape {data.shape[1:]}, the model reads {wanted}: change the fields "
                f"of config.model.others.{self.modality}, or the data"
            )
        return data

    def mapped(self, x: Float[Array, "B T K"]) -> Float[Array, "B T D"]:
        """Every row of numbers as a vector that knows its place."""
        width, count = self.config.width, x.shape[-1]
        # Small, and of any number of rows: whole on every device.
        x = linear(x.astype(self.dtype), self.param("projection", normal(count**-0.5), (count, width)))
        return x + self.param("position", lambda key, shape: sincos(*shape), (x.shape[1], width))


@EMBEDDERS.register("any/plane")
class Plane(Further):
    """A byte a point of a square (depth, warmth), as pixels are: fields `size`, `patch`, `stem` and `table`."""

    fields = ("size", "patch", "stem", "table")

    @staticmethod
    def shape(options: Any) -> tuple[int, ...]:
        return options.size, options.size

    @staticmethod
    def work(options: Any, width: int) -> tuple[int, float]:
        return (options.size // options.patch) ** 2, patch_products(options, 1, width)

    @nn.compact
    def __call__(self, data: UInt8[Array, "B Y X"]) -> Tokens:
        x = patches(self, self.checked(data)[..., None], self.options, self.config.width)
        return Tokens(x, jnp.ones(x.shape[:2], bool), squares(x.shape[0], self.options.size // self.options.patch))


@EMBEDDERS.register("any/series")
class Series(Further):
    """Samples of several channels, 16-bit little-endian, such as motion.

    Its fields are `length`, bytes of a row, `channels`, and `patch`, samples of a token.
    """

    fields = ("length", "channels", "patch")

    @staticmethod
    def shape(options: Any) -> tuple[int, ...]:
        return (options.length,)

    @staticmethod
    def work(options: Any, width: int) -> tuple[int, float]:
        return options.length // (2 * options.channels * options.patch), options.length / 2 * width

    @nn.compact
    def __call__(self, data: UInt8[Array, "B N"]) -> Tokens:
        o = self.options
        samples = jax.lax.bitcast_convert_type(rearrange(self.checked(data), "b (n two) -> b n two", two=2), jnp.int16)
        x = rearrange(samples, "b (t n) -> b t n", n=o.patch * o.channels).astype(jnp.float32) / 8192
        x = self.mapped(x)
        return Tokens(x, jnp.ones(x.shape[:2], bool), byte_spans(x.shape[0], x.shape[1], 2 * o.channels * o.patch))


@EMBEDDERS.register("any/bytes")
class Bytes(Further):
    """Any string of bytes of one length, through a table (Horton et al. 2023).

    Its fields are `length`, bytes of a row, and `patch`, bytes of a token.
    """

    fields = ("length", "patch")

    @staticmethod
    def shape(options: Any) -> tuple[int, ...]:
        return (options.length,)

    @staticmethod
    def work(options: Any, width: int) -> tuple[int, float]:
        return options.length // options.patch, 16.0 * options.length * width

    @nn.compact
    def __call__(self, data: UInt8[Array, "B N"]) -> Tokens:
        x = self.param("table", normal(1.0), (256, 16))[self.checked(data).astype(jnp.int32)]
        x = self.mapped(rearrange(x, "b (t n) k -> b t (n k)", n=self.options.patch))
        return Tokens(x, jnp.ones(x.shape[:2], bool), byte_spans(x.shape[0], x.shape[1], self.options.patch))
