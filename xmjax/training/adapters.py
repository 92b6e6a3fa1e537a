"""What of a model is trained: all of it, all but its towers, or matrices of low rank beside those it has."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from xmjax.config import OptimizerConfig

WAYS = ("all", "fused", "lora")
"""Everything; what reads or joins the modalities, their own towers being frozen; low rank only (Hu et al. 2022)."""

LORA = "lora"
"""Where in the parameters the matrices of low rank stand, by the path of the matrix that they are added to."""

TOWERS = ("embedders_", "unimodal_", "places_", "modality_")
"""How names of parameters begin that belong to one modality before it meets another."""

_MATRICES = {
    "attention_query": 2, "attention_key": 2, "attention_value": 2, "attention_out": 3,
    "cross_query": 2, "cross_key": 2, "cross_value": 2, "cross_out": 3, "mlp_up": 2, "mlp_down": 2,
    "cross_mlp_up": 2, "cross_mlp_down": 2,
}  # fmt: skip
"""Matrices of a stack of layers, and how many of their axes come before what they put out, the layer's included."""


def _path(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def with_lora(params: Mapping[str, Any], rank: int, rng: Array) -> dict[str, Any]:
    """Parameters with a product of two matrices beside each matrix of their layers, zero at first.

    Args:
      params: of a model.
      rank: of the products.
      rng: key of the first factors.
    """
    added: dict[str, dict[str, Array]] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        name = _path(path)
        axes = _MATRICES.get(name.rpartition(".")[2])
        if axes is None:
            continue
        depth, inputs, outputs = leaf.shape[0], math.prod(leaf.shape[1:axes]), math.prod(leaf.shape[axes:])
        key = jax.random.fold_in(rng, len(added))
        down = jax.random.normal(key, (depth, inputs, rank), jnp.float32) * inputs**-0.5
        added[name] = {"down": down, "up": jnp.zeros((depth, rank, outputs), jnp.float32)}
    return {**params, LORA: added}


def merged(params: Mapping[str, Any]) -> Mapping[str, Any]:
    """Parameters of the model alone, with what stands beside its matrices added to them."""
    if LORA not in params:
        return params

    def one(path: Any, leaf: Array) -> Array:
        factors = params[LORA].get(_path(path))
        return leaf if factors is None else leaf + (factors["down"] @ factors["up"]).reshape(leaf.shape)

    return jax.tree_util.tree_map_with_path(one, {name: value for name, value in params.items() if name != LORA})


def trained(config: OptimizerConfig, params: Mapping[str, Any]) -> Any:
    """Which parameters are trained: True or False for every array."""

    def one(path: Any, leaf: Any) -> bool:
        name = _path(path)
        if config.trained == "lora":
            return name.startswith(f"{LORA}.")
        return config.trained == "all" or not name.startswith(TOWERS)

    return jax.tree_util.tree_map_with_path(one, params)


def effective(config: OptimizerConfig, params: Mapping[str, Any]) -> Mapping[str, Any]:
    """Parameters of the model as a step uses them: merged, and no gradient reaches what is not trained."""
    if config.trained == "all":
        return params
    held = jax.tree.map(lambda x, train: x if train else jax.lax.stop_gradient(x), params, trained(config, params))
    return merged(held)
