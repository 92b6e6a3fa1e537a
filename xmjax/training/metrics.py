"""Where numbers go: metrics.jsonl, TensorBoard events, optionally Weights & Biases."""

import json
import math
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from xmjax import files
from xmjax.errors import UserError


class MetricsWriter:
    """Appends metrics of steps. A resumed run goes on where the checkpoint stands: what came after is cut away."""

    def __init__(self, workdir: Path, resume_step: int, wandb_project: str = "", config: dict[str, Any] | None = None):
        """Args:
        workdir: of the run.
        resume_step: steps that are done; lines of later ones are cut.
        wandb_project: project of Weights & Biases; "" for none.
        config: what Weights & Biases shows as the run's config.
        """
        self.path = workdir / "metrics.jsonl"
        self.seconds_before = cut(self.path, resume_step)
        self._file = self.path.open("a")
        self._board = SummaryWriter(str(workdir / "tensorboard"), purge_step=resume_step + 1)
        self._wandb = None
        if wandb_project:
            try:
                import wandb  # pyright: ignore[reportMissingImports]
            except ImportError:
                raise UserError("config.wandb is set but wandb is not installed; pip install wandb") from None
            identity = workdir / "wandb_id.txt"  # by which a resumed run goes on in the same charts
            if not identity.exists():
                files.write(identity, uuid.uuid4().hex[:8])
            name, known = workdir.name, identity.read_text()
            self._wandb = wandb.init(
                project=wandb_project, dir=workdir, config=config, resume="allow", name=name, id=known
            )

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """One line. Values that are not finite are written as null, which is what JSON can hold."""
        values = {key: float(value) for key, value in values.items()}
        line = {key: value if math.isfinite(value) else None for key, value in values.items()}
        self._file.write(json.dumps({"step": step, **line}) + "\n")
        self._file.flush()
        for key, value in values.items():
            if math.isfinite(value):  # TensorBoard shows no others, and its writer warns of each
                self._board.add_scalar(key, value, step)
        if self._wandb is not None:
            self._wandb.log(values, step=step)

    def close(self) -> None:
        """Writes out what is buffered."""
        self._file.close()
        self._board.close()
        if self._wandb is not None:
            self._wandb.finish()


def cut(path: Path, step: int) -> float:
    """Removes lines after ``step``, atomically. Returns the seconds the run had taken by the last line there was."""
    lines = [line for line in files.read_lines(path) if isinstance(line.get("step"), int)]
    kept = [line for line in lines if line["step"] <= step]
    if path.exists():
        files.write(path, "".join(json.dumps(line) + "\n" for line in kept))
    return max((line.get("goodput/total_seconds") or 0.0 for line in lines), default=0.0)
