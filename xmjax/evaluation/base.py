"""What an evaluator is."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from xmjax import sharding
from xmjax.config import Config
from xmjax.data.arrays import image_bytes
from xmjax.data.source import Record
from xmjax.registry import Registry
from xmjax.training.step import make_model

Scores = dict[str, float]


@dataclasses.dataclass(frozen=True)
class Report:
    """What an evaluator found.

    Attributes:
      scores: name after the data set's -> fraction of 1, count or bits.
      examples: for the report, item id -> what was shown and what came out.
    """

    scores: Scores
    examples: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)


class Evaluator:
    """Scores a model on held-out records of one stream.

    Attributes:
      stream: whose records they are, and by whose name the scores go.

    Everything that does not depend on the parameters (items, baselines, oracle, compiled functions) is made once.
    """

    stream: ClassVar[str] = "image_text"

    def __init__(self, config: Config, mesh: Mesh, records: Sequence[Record]):
        """Args:
        config: of the run.
        mesh: its devices.
        records: held-out ones; the first ``config.evaluation.samples`` are scored.
        """
        self.config = config
        self.mesh = mesh
        self.records = records[: config.evaluation.samples]

    @classmethod
    def check(cls, config: Config) -> None:
        """Raises UserError where the config names what it cannot use; called before a run spends time."""

    def __call__(self, params: Any) -> Report:
        """Scores of a model with these parameters."""
        raise NotImplementedError

    def pictures(self, records: Iterable[Record]) -> np.ndarray:
        """What the model reads of pictures [N, ...], as `image_bytes` makes it."""
        return np.stack([image_bytes(record, self.config.model.image) for record in records])

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function(model, *arrays)`` as a function of parameters and NumPy arrays, see `batched`."""
        size = min(self.config.evaluation.batch_size, max(1, len(self.records)))  # few records are no full batch
        return batched(self.config, self.mesh, function, size)


def batched(config: Config, mesh: Mesh, function: Callable[..., Any], size: int) -> Callable[..., Any]:
    """``function(model, *arrays)`` as a function of parameters and NumPy arrays, or trees of them, of one row each.

    Rows are split over the mesh in batches of one shape, ``size`` rows or a few more; the results come back whole, on
    every process.
    """
    model = make_model(config)
    jitted = jax.jit(
        lambda params, arrays: function(model.bind({"params": params}), *arrays),
        out_shardings=NamedSharding(mesh, P()),
    )
    parts = mesh.shape["data"] * mesh.shape["fsdp"]
    size = -(-size // parts) * parts
    rows = sharding.local_rows(mesh, size)

    def run(params: Any, *arrays: Any) -> Any:
        count, results = len(jax.tree.leaves(arrays)[0]), []
        for start in range(0, count, size):
            # The last batch is filled up with its first row, so that nothing compiles again.
            index = np.arange(start, start + size)
            index = np.where(index < count, index, start)[rows]
            batch = sharding.place(jax.tree.map(lambda a, rows=index: a[rows], arrays), mesh, size)
            results.append(jax.tree.map(np.asarray, jax.device_get(jitted(params, batch))))
        return jax.tree.map(lambda *parts: np.concatenate(parts)[:count], *results)

    return run


EVALUATORS: Registry[type[Evaluator]] = Registry("evaluator")
