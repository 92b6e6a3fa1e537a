"""ResNet-18 (He et al. 2016), from a picture to the cells of its last feature map, as pure functions.

A step is pure and parameters are one plain tree, so that there are no running statistics. Begun at random, the network
has group norm in the place of batch norm (Wu and He 2018). Begun with weights, it has what batch norm is once training
is over: a scale and a shift for every channel, into which the statistics of ImageNet are folded; they are trained, the
statistics stay as they were.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the channels of ImageNet's pictures, red, green and blue from 0 to 1."""

EPSILON = 1e-5
"""What is added to a variance."""

STAGES, BLOCKS = range(1, 5), range(2)


class Convolution(NamedTuple):
    """A convolution and the norm behind it.

    Attributes:
      kernel: its side.
      inputs: channels that it reads.
      outputs: channels that it makes.
      stride: cells from one output to the next.
    """

    kernel: int
    inputs: int
    outputs: int
    stride: int


def convolutions(stem: int, channels: int, patch: int) -> dict[str, Convolution]:
    """All convolutions by name: "stem", or stage, block and place such as "2_0_1", on the shortcut "2_0_skip".

    Args:
      stem: width of the first stage, 64 as published; each further one is twice as wide.
      channels: of the picture.
      patch: pixels that one cell of the last map covers. As published they are 32; at 16 the pooling is left out, at 8
        the stride of the first convolution too, so that small pictures have a map of more than one cell.
    """
    found = {"stem": Convolution(7, channels, stem, 1 if patch < 16 else 2)}
    inputs = stem
    for stage in STAGES:
        width = stem * 2 ** (stage - 1)
        for block in BLOCKS:
            stride = width // inputs
            found[f"{stage}_{block}_1"] = Convolution(3, inputs, width, stride)
            found[f"{stage}_{block}_2"] = Convolution(3, width, width, 1)
            if stride > 1:
                found[f"{stage}_{block}_skip"] = Convolution(1, inputs, width, stride)
            inputs = width
    return found


def features(
    p: Mapping[str, Array], picture: Float[Array, "B Y X C"], plan: Mapping[str, Convolution], patch: int, frozen: bool
) -> Float[Array, "B y x D"]:
    """The last feature map, y = Y / patch, x = X / patch, D = 8 times the width of the first stage.

    Args:
      p: "kernel_<name>", "scale_<name>" and "shift_<name>" of every convolution.
      picture: whose sides ``patch`` divides.
      plan: what `convolutions` returned.
      patch: as it was given there.
      frozen: whether scale and shift hold frozen statistics; else they follow a group norm.
    """
    norm = affine if frozen else group_norm

    def layer(x: Array, name: str) -> Array:
        x = convolve(x, p[f"kernel_{name}"], plan[name].stride)
        return norm(x, p[f"scale_{name}"], p[f"shift_{name}"])

    x = jax.nn.relu(layer(picture, "stem"))
    if patch == 32:
        x = pool(x)
    for stage in STAGES:
        for block in BLOCKS:
            name = f"{stage}_{block}"
            shortcut = layer(x, f"{name}_skip") if f"{name}_skip" in plan else x
            x = jax.nn.relu(layer(jax.nn.relu(layer(x, f"{name}_1")), f"{name}_2") + shortcut)
    return x


def convolve(x: Float[Array, "B Y X C"], kernel: Float[Array, "K K C F"], stride: int) -> Float[Array, "B y x F"]:
    """A convolution padded by the same zeros on both sides, so that weights trained elsewhere mean the same here."""
    side = kernel.shape[0] // 2
    return jax.lax.conv_general_dilated(
        x, kernel.astype(x.dtype), (stride, stride), ((side, side),) * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def pool(x: Float[Array, "B Y X C"]) -> Float[Array, "B y x C"]:
    """The largest of three times three cells, with stride 2."""
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), ((0, 0), (1, 1), (1, 1), (0, 0)))


def affine(x: Float[Array, "B Y X C"], scale: Float[Array, " C"], shift: Float[Array, " C"]) -> Float[Array, "B Y X C"]:
    """Batch norm with statistics that do not change, see `folded`."""
    return x * scale.astype(x.dtype) + shift.astype(x.dtype)


def group_norm(
    x: Float[Array, "B Y X C"], scale: Float[Array, " C"], shift: Float[Array, " C"]
) -> Float[Array, "B Y X C"]:
    """Mean 0 and variance 1 over cells and channels of each of 32 groups, or of groups of two channels; in float32."""
    groups = min(32, x.shape[-1] // 2)
    y = rearrange(x.astype(jnp.float32), "b y x (g c) -> b y x g c", g=groups)
    mean = jnp.mean(y, (1, 2, 4), keepdims=True)
    variance = jnp.mean(jnp.square(y - mean), (1, 2, 4), keepdims=True)
    y = rearrange((y - mean) * jax.lax.rsqrt(variance + EPSILON), "b y x g c -> b y x (g c)")
    return (y * scale + shift).astype(x.dtype)


def multiply_adds(plan: Mapping[str, Convolution], height: int, width: int, patch: int) -> int:
    """Multiply-adds of all convolutions on a picture of this size; taps that fall on the padding are not counted."""

    def taps(side: int, one: Convolution) -> int:
        starts = range(-(one.kernel // 2), side - one.kernel // 2, one.stride)
        return sum(min(side, start + one.kernel) - max(0, start) for start in starts)

    total, first = 0, plan["stem"].stride * (2 if patch == 32 else 1)
    for name, one in plan.items():
        # How many pixels a cell is wide that the convolution reads: half of what it makes where its stride is 2.
        pixels = 1 if name == "stem" else first * 2 ** (int(name[0]) - 1) // one.stride
        total += taps(height // pixels, one) * taps(width // pixels, one) * one.inputs * one.outputs
    return total
