"""All evaluators of a run, and the files their results go to."""

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh
from PIL import Image

from xmjax import files
from xmjax.config import Config
from xmjax.data.source import Record, Source, named, picture_id, stable_id
from xmjax.data.sources import open_source
from xmjax.errors import UserError
from xmjax.evaluation.base import EVALUATORS, Evaluator, Scores
from xmjax.models import library
from xmjax.registry import suggest


def first_records(source: Source, count: int) -> tuple[list[Record], dict[str, str]]:
    """The first ``count`` readable records of a source, or as many as it has; and why others met cannot be read."""
    found: list[Record] = []
    unreadable: dict[str, str] = {}
    for start in range(0, len(source), 256):
        if len(found) >= count:
            break
        rows = source.read(range(start, min(start + 256, len(source))))
        found += [r for r in rows if isinstance(r, Record)]
        unreadable |= {r.id: r.reason for r in rows if not isinstance(r, Record)}
    return found[:count], unreadable


def check_apart(config: Config, records: Sequence[Record]) -> None:
    """Raises UserError where the model's library has crops of held-out records, which would find themselves."""
    if path := config.model.library.path:
        ids, pictures = (set(column.tolist()) for column in library.opened(path).origins.T)
        for what, shared in (
            ("records", [r.id for r in records if int(stable_id(r.id)) in ids]),
            ("pictures", [r.id for r in records if r.image is not None and int(picture_id(r)) in pictures]),
        ):
            if shared:
                raise UserError(
                    f"config.model.library.path={path} has crops of {len(shared)} held-out {what}, such as that of "
                    f"{shared[0]}: make it with launch/prepare.py library from a run that holds the same records out"
                )


class Evaluation:
    """The evaluators of a config on the validation split of its image-text stream."""

    def __init__(self, config: Config, mesh: Mesh, workdir: Path, only: Sequence[str] = (), name: str = ""):
        """Args:
        config: of the run.
        mesh: its devices.
        workdir: results go to its directory "eval".
        only: names of the evaluators to run; empty takes the config's.
        name: part of its files' names, for an evaluation that is not the run's own.
        """
        names = tuple(only) or config.evaluation.names
        makers = [EVALUATORS[name] for name in names]
        self._config, self._mesh, self._directory = config, mesh, workdir / "eval"
        self._makers = [make for make in makers if config.stream(make.stream).source != "none"]
        self._evaluators: list[Evaluator] | None = None
        self.records: list[Record] = []
        self._names: dict[str, str] = {}  # of the data, by stream
        self._complete = not only
        self._suffix = f".{name}" if name else ""

    def open(self) -> None:
        """Reads the held-out records, so that what is wrong with them is known before a run spends time."""
        if self._names:
            return
        for make in self._makers:
            make.check(self._config)
        for stream in {make.stream for make in self._makers}:
            options = self._config.stream(stream)
            source = open_source(self._config, options, "val")
            self._names[stream] = options.name or source.name
            if stream == "image_text":
                self.records = self._held_out(source)

    def _held_out(self, source: Source) -> list[Record]:
        records, unreadable = first_records(source, self._config.evaluation.samples)
        if not records:
            raise UserError(
                f"no record of the validation split of {source.name} can be read ({named(unreadable)}): repair or "
                "remove these files, or hold out others with config.data.validation_fraction"
            )
        check_apart(self._config, records)
        if unreadable and jax.process_index() == 0:
            count = len(unreadable)
            print(f"{count} unreadable of {source.name}, held out, not evaluated: {named(unreadable)}", flush=True)
        return records

    def _prepare(self) -> list[Evaluator]:
        """Items and compiled functions, made when they are first needed."""
        self.open()
        if self._evaluators is None:
            self._evaluators = [make(self._config, self._mesh, self.records) for make in self._makers]
        return self._evaluators

    def __call__(self, state: Any, step: int) -> Scores:
        """Scores of a state, by "<data>/<evaluator>/<name>"; written by the first process."""
        if not self._makers:
            return {}
        evaluators = self._prepare()
        params = state.used  # once: of LoRA it is a sum
        scores: Scores = {}
        examples: dict[str, dict[str, Any]] = {}
        for evaluator in evaluators:
            report = evaluator(params)
            scores |= {f"{self._names[evaluator.stream]}/{key}": value for key, value in report.scores.items()}
            for id, shown in report.examples.items():
                examples.setdefault(id, {}).update(shown)
        if jax.process_index() == 0:
            self._write(step, scores, examples)
        return scores

    def best(self, scores: Scores) -> Scores:
        """Name and value of the score by which the best checkpoint is kept; empty where none is or nothing was scored.

        Raises:
          UserError: there is no score of the name that the config gives.
        """
        wanted = self._config.evaluation.best
        if not wanted or not scores:
            return {}
        for name in (wanted, *(f"{data}/{wanted}" for data in self._names.values())):
            if name in scores:
                return {wanted: float(scores[name])}
        raise UserError(f"config.evaluation.best={wanted!r} is no score of this run: {suggest(wanted, scores)}")

    def _write(self, step: int, scores: Scores, examples: dict[str, dict[str, Any]]) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        if not self._complete:
            scores = self.read(step) | scores
        path = self._directory / f"step_{step}{self._suffix}.json"
        files.write(path, json.dumps(scores, indent=2, ensure_ascii=False) + "\n")
        shown = {id: e for id, e in examples.items() if "right" in e} or dict(list(examples.items())[:20])
        by_id = {record.id: record for record in self.records}
        for id, example in shown.items():
            example["image_png"] = _png(by_id[id])
            example["captions"] = [caption.text for caption in by_id[id].captions]
        if shown and self._complete:
            examples_path = self._directory / f"step_{step}{self._suffix}.examples.json"
            files.write(examples_path, json.dumps(shown, indent=1, ensure_ascii=False) + "\n")

    def read(self, step: int) -> Scores:
        """Scores of an earlier evaluation, empty where there was none.

        Raises:
          UserError: its file is damaged.
        """
        path = self._directory / f"step_{step}{self._suffix}.json"
        try:
            return dict(json.loads(path.read_text())) if path.exists() else {}
        except (TypeError, ValueError) as error:
            raise UserError(f"{path} is damaged ({error}): remove it and run launch/evaluate.py") from error


def _png(record: Record) -> str:
    if record.image is None:
        return ""
    buffer = io.BytesIO()
    Image.fromarray(record.image).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
