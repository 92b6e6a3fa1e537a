"""Where arrays live: the mesh, the rules from parameter path to mesh axes, and the placing of batches."""

import re
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from xmjax.config import MeshConfig
from xmjax.errors import UserError

AXES = ("data", "fsdp", "tensor")
BATCH = ("data", "fsdp")
"""Mesh axes over which the rows of a batch are split."""

RULES: tuple[tuple[str, tuple[str | None, ...]], ...] = (
    (r"(attention|cross)_(query|key|value)", (None, "fsdp", "tensor", None)),
    (r"(attention|cross)_out", (None, "tensor", None, "fsdp")),
    (r"(cross_)?mlp_up", (None, "fsdp", "tensor")),
    (r"(cross_)?mlp_down", (None, "tensor", "fsdp")),
    (r"ngram\d+", (None, "fsdp")),
    (r"(embedders|towers)_\w+/(kernel|value|hidden|out)", ("fsdp", None)),
)
"""The end of a parameter's path -> an axis for each dimension. The first rule that matches counts; parameters without
a rule are whole on every device: norms, byte tables (gathers from a sharded table communicate), the byte head."""


def check_rules(rules: tuple[tuple[str, tuple[str | None, ...]], ...]) -> None:
    """Raises UserError for a rule with an axis that no mesh has, or with one axis twice."""
    for pattern, axes in rules:
        named = [a for a in axes if a is not None]
        for axis in named:
            if axis not in AXES:
                raise UserError(
                    f"sharding rule {pattern!r} names the mesh axis {axis!r}; the axes are {', '.join(AXES)}"
                )
        if len(set(named)) < len(named):
            raise UserError(f"sharding rule {pattern!r} uses a mesh axis twice: {axes}")


check_rules(RULES)


def make_mesh(config: MeshConfig, devices: list[Any] | None = None) -> Mesh:
    """The mesh of all devices, or of ``devices``.

    Raises:
      UserError: the axes' sizes do not multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = [config.data, config.fsdp, config.tensor]
    free = [i for i, size in enumerate(sizes) if size == -1]
    fixed = int(np.prod([size for size in sizes if size != -1]))
    if len(free) > 1 or min(sizes) < -1 or fixed < 1 or len(devices) % fixed or (not free and fixed != len(devices)):
        raise UserError(
            f"config.mesh is data={config.data} fsdp={config.fsdp} tensor={config.tensor}, but there are "
            f"{len(devices)} devices; the product must be their number, and one axis may be -1 to take the rest"
        )
    for i in free:
        sizes[i] = len(devices) // fixed
    return jax.make_mesh(tuple(sizes), AXES, axis_types=(AxisType.Auto,) * len(AXES), devices=devices)


def spec(path: str, shape: tuple[int, ...], mesh: Any) -> P:
    """How the array at ``path`` is split over ``mesh``.

    Raises:
      UserError: a dimension does not divide over its axis; the message names the parameter.
    """
    for pattern, axes in RULES:
        if re.search(rf"(^|/){pattern}$", path) and len(axes) == len(shape):
            for size, axis in zip(shape, axes, strict=True):
                if axis is not None and size % mesh.shape[axis]:
                    raise UserError(
                        f"parameter {path} has shape {shape}, and its dimension of {size} does not divide over the "
                        f"{mesh.shape[axis]} devices of mesh axis {axis!r}; change config.mesh.{axis} or the size"
                    )
            return P(*axes)
    return P()


def shardings(tree: Any, mesh: Any) -> Any:
    """A NamedSharding for every array of a tree of parameters, of an optimizer's state, or of both."""

    def one(path: Any, leaf: Any) -> NamedSharding:
        return NamedSharding(mesh, spec(jax.tree_util.keystr(path, simple=True, separator="/"), leaf.shape, mesh))

    return jax.tree_util.tree_map_with_path(one, tree)


def batch_sharding(mesh: Any) -> NamedSharding:
    """Rows of a batch over the data and fsdp axes."""
    return NamedSharding(mesh, P(BATCH))


def local_rows(mesh: Mesh, batch_size: int) -> slice:
    """The contiguous rows of a global batch that this process's devices hold.

    Raises:
      UserError: the batch does not divide over the mesh, or this process's rows are not contiguous.
    """
    parts = mesh.shape["data"] * mesh.shape["fsdp"]
    if batch_size % parts:
        raise UserError(
            f"config.batch_size={batch_size} does not divide over the {parts} devices of mesh axes data and fsdp "
            f"({mesh.shape['data']} x {mesh.shape['fsdp']}); use a multiple of {parts}"
        )
    held = batch_sharding(mesh).addressable_devices_indices_map((batch_size,))
    starts = sorted({index[0].start or 0 for index in held.values() if index is not None})
    rows = batch_size // parts
    if starts != list(range(starts[0], starts[-1] + 1, rows)):
        raise UserError(f"the devices of this process hold rows that are not contiguous: {starts}; reorder config.mesh")
    return slice(starts[0], starts[-1] + rows)


def place(batch: Any, mesh: Mesh, batch_size: int) -> Any:
    """Puts this process's rows of a batch on its devices, as parts of the global arrays."""
    sharding = batch_sharding(mesh)
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(sharding, x, (batch_size, *x.shape[1:])), batch
    )


def batch_devices() -> int:
    """Devices over which the rows of a batch are split on the mesh in use; 1 without a mesh."""
    mesh = jax.sharding.get_abstract_mesh()
    return int(np.prod([mesh.shape.get(axis, 1) for axis in BATCH]))


def constrain(x: jax.Array, axis: int = 0) -> jax.Array:
    """Keeps dimension ``axis`` of an activation split as the batch is. Without a mesh it does nothing."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or not set(BATCH) <= set(mesh.axis_names):
        return x
    return jax.lax.with_sharding_constraint(x, P(*[None] * axis, BATCH))
