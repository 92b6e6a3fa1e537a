"""The vision transformer as it is published (Dosovitskiy et al. 2021), so that its published weights can be loaded.

It differs from the layers of `stack`: layer norm with a shift, biases everywhere, GELU, a class token, learned places.
Parameters of its layers have a leading axis of layers and the names of a stack's, so that the same rules split them
over a mesh.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import linen as nn
from jaxtyping import Array, Float

from xmjax.config import ModelConfig
from xmjax.models import layers
from xmjax.models.stack import scanned
from xmjax.sharding import constrain

MEAN, DEVIATION = 0.5, 0.5
"""Of all channels, from 0 to 1, in the training of most of timm's ViT; those of DeiT and DINO saw ImageNet's."""

EPSILON = 1e-6
"""What is added to a variance."""

HEAD = 64
"""Width of an attention head."""


def shapes(width: int, depth: int, patch: int, side: int) -> dict[str, tuple[int, ...]]:
    """Shape of every parameter by name.

    Args:
      width: of its tokens, a multiple of 64.
      depth: layers.
      patch: pixels along the side of a token.
      side: tokens along the side of the picture.
    """
    heads, head, hidden = width // HEAD, HEAD, 4 * width
    found: dict[str, tuple[int, ...]] = {
        "patch_kernel": (3 * patch * patch, width),
        "patch_shift": (width,),
        "class_token": (width,),
        "places": (side * side + 1, width),
        "last_norm_scale": (width,),
        "last_norm_shift": (width,),
    }
    for scope in ("attention", "mlp"):
        found |= {f"{scope}_norm_scale": (depth, width), f"{scope}_norm_shift": (depth, width)}
    for part in ("query", "key", "value"):
        found |= {f"attention_{part}": (depth, width, heads, head), f"attention_{part}_shift": (depth, heads, head)}
    found |= {"attention_out": (depth, heads, head, width), "attention_out_shift": (depth, width)}
    found |= {"mlp_up": (depth, width, hidden), "mlp_up_shift": (depth, hidden)}
    found |= {"mlp_down": (depth, hidden, width), "mlp_down_shift": (depth, width)}
    return found


def parameters(module: nn.Module, wanted: dict[str, tuple[int, ...]]) -> dict[str, Array]:
    """The module's parameters of these names and shapes: scales are one, shifts zero, others normal, deviation 0.02."""
    normal = nn.initializers.normal(0.02)
    zeros, ones = nn.initializers.zeros, nn.initializers.ones
    return {
        name: module.param(
            name, zeros if name.endswith("_shift") else ones if name.endswith("_scale") else normal, shape
        )
        for name, shape in wanted.items()
    }


def features(
    p: dict[str, Any], picture: Float[Array, "B Y X 3"], patch: int, config: ModelConfig
) -> Float[Array, "B T F"]:
    """The last layer's tokens of a picture, after the last norm and without the class token.

    Args:
      p: parameters as `shapes` has them.
      picture: levels less `MEAN` over `DEVIATION`, in the precision of the matrix products.
      patch: pixels along the side of a token.
      config: tells how attention is computed and what the backward pass computes again.
    """
    x = rearrange(picture, "b (y p) (x q) c -> b (y x) (p q c)", p=patch, q=patch)
    x = layers.linear(x, p["patch_kernel"]) + p["patch_shift"].astype(x.dtype)
    first = jnp.broadcast_to(p["class_token"].astype(x.dtype), (len(x), 1, x.shape[-1]))
    x = jnp.concatenate([first, x], 1) + p["places"].astype(x.dtype)
    blocks = {name: leaf for name, leaf in p.items() if name.startswith(("attention_", "mlp_"))}

    def layer(x: Array, q: dict[str, Array]) -> Array:
        x = constrain(x)

        def shifted(y: Array, name: str) -> Array:
            return y + q[f"{name}_shift"].astype(y.dtype)

        y = layer_norm(x, q["attention_norm_scale"], q["attention_norm_shift"])
        read = [
            shifted(layers.heads(y, q[name]), name) for name in ("attention_query", "attention_key", "attention_value")
        ]
        y = layers.attend(read[0], read[1], read[2], implementation=config.attention)
        x = x + shifted(layers.join(y, q["attention_out"]), "attention_out")
        y = layer_norm(x, q["mlp_norm_scale"], q["mlp_norm_shift"])
        y = jax.nn.gelu(shifted(layers.linear(y, q["mlp_up"]), "mlp_up"), approximate=False)
        return x + shifted(layers.linear(y, q["mlp_down"]), "mlp_down")

    return layer_norm(scanned(config, layer, x, blocks), p["last_norm_scale"], p["last_norm_shift"])[:, 1:]


def layer_norm(x: Float[Array, "*B F"], scale: Float[Array, " F"], shift: Float[Array, " F"]) -> Float[Array, "*B F"]:
    """Layer normalisation in float32 (Ba et al. 2016)."""
    y = x.astype(jnp.float32)
    y = (y - jnp.mean(y, -1, keepdims=True)) * jax.lax.rsqrt(jnp.var(y, -1, keepdims=True) + EPSILON)
    return (y * scale + shift).astype(x.dtype)


def from_timm(
    given: Mapping[str, np.ndarray], wanted: Mapping[str, tuple[int, ...]]
) -> tuple[dict, set[str], list[str]]:
    """Parameters out of the state dict of a ViT of timm.

    Args:
      given: arrays by timm's names.
      wanted: `shapes`.

    Returns:
      Parameters by name, with shapes as they are there; the names that were used; and what was reshaped, and how.
    """
    found: dict[str, np.ndarray] = {}
    used: set[str] = set()
    reshaped: list[str] = []

    def take(name: str) -> np.ndarray | None:
        if name not in given:
            return None
        used.add(name)
        return given[name].astype(np.float32)

    def put(name: str, array: np.ndarray | None) -> None:
        if array is not None:
            found[name] = array

    kernel = take("patch_embed.proj.weight")
    put("patch_kernel", None if kernel is None else rearrange(kernel, "f c p q -> (p q c) f"))
    put("patch_shift", take("patch_embed.proj.bias"))
    token = take("cls_token")
    put("class_token", None if token is None else token.reshape(-1))
    places = take("pos_embed")
    if places is not None:
        fitted = resized(places[0], wanted["places"][0])
        if len(fitted) != places.shape[1]:
            old, new = (round((n - 1) ** 0.5) for n in (places.shape[1], len(fitted)))
            reshaped.append(f"pos_embed: of {old} x {old} tokens, stretched to {new} x {new}")
        put("places", fitted)
    put("last_norm_scale", take("norm.weight"))
    put("last_norm_shift", take("norm.bias"))
    depth, width, heads, head = wanted["attention_query"]
    rows: dict[str, list[np.ndarray]] = {}
    for i in range(depth):
        block = f"blocks.{i}"
        for name, theirs in (("attention_norm", "norm1"), ("mlp_norm", "norm2")):
            _append(rows, f"{name}_scale", take(f"{block}.{theirs}.weight"))
            _append(rows, f"{name}_shift", take(f"{block}.{theirs}.bias"))
        kernel, shift = take(f"{block}.attn.qkv.weight"), take(f"{block}.attn.qkv.bias")
        for k, part in enumerate(("query", "key", "value")):
            if kernel is not None and kernel.shape == (3 * width, width):
                split = kernel.reshape(3, heads, head, width)[k]
                _append(rows, f"attention_{part}", split.transpose(2, 0, 1))
            if shift is not None and shift.shape == (3 * width,):
                _append(rows, f"attention_{part}_shift", shift.reshape(3, heads, head)[k])
        out = take(f"{block}.attn.proj.weight")
        fits = out is not None and out.shape == (width, width)
        _append(rows, "attention_out", out.T.reshape(heads, head, width) if out is not None and fits else None)
        _append(rows, "attention_out_shift", take(f"{block}.attn.proj.bias"))
        for name, theirs in (("mlp_up", "mlp.fc1"), ("mlp_down", "mlp.fc2")):
            kernel = take(f"{block}.{theirs}.weight")
            _append(rows, name, None if kernel is None else kernel.T)
            _append(rows, f"{name}_shift", take(f"{block}.{theirs}.bias"))
    found |= {name: np.stack(arrays) for name, arrays in rows.items() if len(arrays) == depth}
    return found, used, reshaped


def _append(rows: dict[str, list[np.ndarray]], name: str, array: np.ndarray | None) -> None:
    if array is not None:
        rows.setdefault(name, []).append(array)


def resized(places: np.ndarray, count: int) -> np.ndarray:
    """Learned places of a square of tokens, the class token's first, stretched to another square where it differs."""
    old, new = round((len(places) - 1) ** 0.5), round((count - 1) ** 0.5)
    if old == new or old * old != len(places) - 1:
        return places
    square = places[1:].reshape(old, old, -1)
    stretched = jax.image.resize(jnp.asarray(square), (new, new, square.shape[-1]), "bicubic")
    return np.concatenate([places[:1], np.asarray(stretched).reshape(new * new, -1)])
