"""Hard negatives: a picture's caption told from one that a small change made false (SugarCrepe, Hsieh et al. 2023)."""

import dataclasses
import gzip
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from xmjax.data.arrays import image_bytes, prompted, text_ids
from xmjax.data.regions import boxes_array
from xmjax.data.source import Caption, Record
from xmjax.errors import UserError
from xmjax.evaluation.base import EVALUATORS, Evaluator, Report, Scores
from xmjax.evaluation.caption import picture_memory
from xmjax.evaluation.fill import derangement
from xmjax.evaluation.match import encoded, matched
from xmjax.evaluation.retrieval import vectors
from xmjax.objectives.base import sequence_nats, written_after_prompt


@dataclasses.dataclass(frozen=True)
class Pair:
    """A picture with a true and a false text.

    Attributes:
      file: name of the picture's file, without its folders.
      true: the caption.
      false: the hard negative.
    """

    file: str
    true: str
    false: str


@EVALUATORS.register("hard_negatives")
class HardNegativesEvaluator(Evaluator):
    """Accuracy of choosing the true text, of each list in `config.evaluation.hard_negatives`; ties count half.

    Chosen by the towers' cosine, by match score and by the captioner's likelihood, where the model has been trained in
    them. Beside each is the same with another item's picture, which tells how far texts alone give it away, and the
    rule to take the shorter text. Only held-out records count, found by the names of their files.
    """

    @classmethod
    def check(cls, config):
        """Raises UserError for a list that cannot be read."""
        for path in config.evaluation.hard_negatives:
            read_pairs(Path(path))

    def __init__(self, config, mesh, records):
        super().__init__(config, mesh, records)
        by_file = {Path(record.id).name: record for record in self.records}
        length = config.model.text.max_bytes
        self.items: dict[str, list[tuple[Record, Pair]]] = {}
        self.too_long: dict[str, int] = {}
        for path in map(Path, config.evaluation.hard_negatives):
            known = [(by_file[pair.file], pair) for pair in read_pairs(path) if pair.file in by_file]
            fits = [item for item in known if all(len(t.encode()) <= length for t in (item[1].true, item[1].false))]
            name = path.name.split(".")[0]
            self.items[name], self.too_long[name] = fits, len(known) - len(fits)
        # One compiled function for all lists.
        self.rows = [item for items in self.items.values() for item in items]
        if not self.rows:
            return
        records = [record for record, _ in self.rows]
        self.image = np.stack([image_bytes(r, config.model.image) for r in records])
        self.boxes = np.stack([boxes_array(r.regions, max(1, config.model.regions.count)) for r in records])
        self.donor = derangement(len(records), lambda i, j: records[i].id == records[j].id)
        both = [(pair.true, pair.false) for _, pair in self.rows]
        self.text = np.array([[text_ids(text, length) for text in texts] for texts in both])
        arms = {"towers": ("contrast", _towers), "match": ("match", _match)}
        self.arms = {name: self.compiled(run) for name, (needs, run) in arms.items() if needs in config.objectives}
        if caption := config.objectives.get("caption"):
            like = [record.captions[0] for record in records]
            self.written = np.array([
                [prompted(Caption(t, c.language, c.style), caption.max_prompt_bytes, length) for t in texts]
                for c, texts in zip(like, both, strict=True)
            ])  # fmt: skip
            self.arms["caption"] = self.compiled(_caption)

    def __call__(self, params):
        scores: Scores = {f"hard_negatives/{name}/n": len(items) for name, items in self.items.items()}
        scores |= {f"hard_negatives/{name}/too_long/n": count for name, count in self.too_long.items()}
        if not self.rows:
            return Report(scores | {"hard_negatives/n": 0})
        shorter = np.array([[-len(pair.true), -len(pair.false)] for _, pair in self.rows])
        found = {"shorter": chosen(shorter), "chance": np.full(len(self.rows), 0.5)}
        for name, run in self.arms.items():
            texts = self.written if name == "caption" else self.text
            run = partial(run, params)
            found[name] = chosen(run(self.image, self.boxes, texts))
            found[f"{name}/shuffled_image"] = chosen(run(self.image[self.donor], self.boxes[self.donor], texts))
            found[f"{name}/oracle"] = np.ones(len(self.rows))
        return Report(scores | self._by_list(found) | {"hard_negatives/n": len(self.rows)})

    def _by_list(self, found: Mapping[str, np.ndarray]) -> Scores:
        """Means over the items of each list, and over all."""
        scores, start = {f"hard_negatives/{arm}": float(np.mean(right)) for arm, right in found.items()}, 0
        for name, items in self.items.items():
            part = slice(start, start := start + len(items))
            scores |= {f"hard_negatives/{name}/{arm}": float(np.mean(x[part])) for arm, x in found.items() if items}
        return scores


def chosen(scores: np.ndarray) -> np.ndarray:
    """Of scores [N, 2] of true and false texts: 1 where the true one's is higher, a half where they are equal."""
    return np.where(scores[:, 0] == scores[:, 1], 0.5, scores[:, 0] > scores[:, 1])


def read_pairs(path: Path) -> Sequence[Pair]:
    """A list in the form of SugarCrepe: JSON, also gzipped, an object or a list of items.

    Raises:
      UserError: it cannot be read, or is of another form.
    """
    try:
        data = path.read_bytes()
        rows = json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
        rows = rows.values() if isinstance(rows, dict) else rows
        return [Pair(Path(r["filename"]).name, str(r["caption"]), str(r["negative_caption"])) for r in rows]
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"config.evaluation.hard_negatives: {path} cannot be read ({error!r}): give a JSON list of "
            '{"filename": NAME, "caption": TEXT, "negative_caption": TEXT}, as SugarCrepe has it'
        ) from error


def _towers(model, image, boxes, text):
    of_text = vectors(model, text.reshape(-1, text.shape[-1]), "text").reshape(*text.shape[:2], -1)
    return (of_text * vectors(model, image, "image")[:, None]).sum(-1)


def _match(model, image, boxes, text):
    return jnp.stack([matched(model, *encoded(model, image, boxes, text[:, i])) for i in range(text.shape[1])], 1)


def _caption(model, image, boxes, sequence):
    logits = model.decode(sequence[..., :-1], *picture_memory(model, image))
    return -sequence_nats(logits, sequence, written_after_prompt(sequence))[0]
