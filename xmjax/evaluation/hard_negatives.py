"""Hard negatives: a picture's caption told from one that a small change made false (SugarCrepe, Hsieh et al. 2023)."""

import dataclasses
import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from xmjax.data.arrays import prompted, text_ids
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
    rule to take the shorter text. Only held-out records count, found by their ids or the names of their files, and to a
    match by objects in given boxes only those that have some ("match/n").
    """

    @classmethod
    def check(cls, config):
        """Raises UserError for a list that cannot be read, or two of one name."""
        paths = [Path(path) for path in config.evaluation.hard_negatives]
        names = [_name(path) for path in paths]
        if twice := next((path for path, name in zip(paths, names, strict=True) if names.count(name) > 1), None):
            raise UserError(f"config.evaluation.hard_negatives: several lists are named like {twice}: rename one")
        for path in paths:
            read_pairs(path)

    def __init__(self, config, mesh, records):
        super().__init__(config, mesh, records)
        known, length = by_file(self.records), config.model.text.max_bytes
        self.items: dict[str, list[tuple[Record, Pair]]] = {}
        self.left_out: dict[str, int] = {}
        for path in map(Path, config.evaluation.hard_negatives):
            pairs = read_pairs(path)
            fits = [
                (known[pair.file], pair)
                for pair in pairs
                if pair.file in known and all(len(text.encode()) <= length for text in (pair.true, pair.false))
            ]
            self.items[_name(path)], self.left_out[_name(path)] = fits, len(pairs) - len(fits)
        # One compiled function for all lists.
        self.rows = [item for items in self.items.values() for item in items]
        if not self.rows:
            return
        records, count = [record for record, _ in self.rows], config.model.regions.given
        self.image = self.pictures(records)
        self.boxes = np.stack([boxes_array(r.regions, max(1, count)) for r in records])
        both = [(pair.true, pair.false) for _, pair in self.rows]
        self.text = np.array([[text_ids(text, length) for text in texts] for texts in both])
        objectives = config.objectives
        self.arms = {"cosine": self.compiled(_cosine)} if "contrast" in objectives else {}
        boxed = [i for i, record in enumerate(records) if record.regions or not count]
        self.asked = {name: (rows, self._others(rows)) for name, rows in (("", range(len(records))), ("match", boxed))}
        if "match" in objectives and boxed:
            self.arms["match"] = self.compiled(_match)
        if caption := objectives.get("caption"):
            like = [captioned(record, pair.true) for record, pair in self.rows]
            self.written = np.array([
                [prompted(Caption(t, c.language, c.style), caption.max_prompt_bytes, length) for t in texts]
                for c, texts in zip(like, both, strict=True)
            ])  # fmt: skip
            self.arms["caption"] = self.compiled(_caption)

    def __call__(self, params):
        scores: Scores = {f"hard_negatives/by_list/{name}/n": len(items) for name, items in self.items.items()}
        scores |= {f"hard_negatives/by_list/{name}/items/left_out": count for name, count in self.left_out.items()}
        if not self.rows:
            return Report(scores | {"hard_negatives/n": 0})
        shorter = np.array([[-len(pair.true), -len(pair.false)] for _, pair in self.rows])
        found = {"shorter": chosen(shorter), "chance": np.full(len(self.rows), 0.5)}
        for name, run in self.arms.items():
            texts = self.written if name == "caption" else self.text
            rows, others = self.asked["match" if name == "match" else ""]
            for key, shown in ((name, rows), (f"{name}/shuffled_image", others)):
                found[key] = np.full(len(self.rows), np.nan)
                found[key][rows] = chosen(run(params, self.image[shown], self.boxes[shown], texts[rows]))
            found[f"{name}/oracle"] = np.ones(len(self.rows))
        return Report(scores | self._by_list(found) | {"hard_negatives/n": len(self.rows)})

    def _others(self, rows: Sequence[int]) -> np.ndarray:
        """For each of these rows another of them that has another picture."""
        ids = [self.rows[row][0].id for row in rows]
        return np.array(rows, int)[derangement(len(ids), lambda i, j: ids[i] == ids[j])]

    def _by_list(self, found: Mapping[str, np.ndarray]) -> Scores:
        """Means over the items of each list, and over all, of which an arm may leave some out (nan)."""
        scores, start, parts = {}, 0, {"hard_negatives": slice(None)}
        for name, items in self.items.items():
            parts[f"hard_negatives/by_list/{name}"] = slice(start, start := start + len(items))
        for above, part in parts.items():
            there = {arm: x[part][~np.isnan(x[part])] for arm, x in found.items()}
            scores |= {f"{above}/{arm}": float(np.mean(x)) for arm, x in there.items() if len(x)}
            for arm in ("match", "match/shuffled_image"):
                if arm in found:
                    scores[f"{above}/{arm}/n"] = len(there[arm])
        return scores


def by_file(records: Sequence[Record]) -> dict[str, Record]:
    """Records by their ids' last parts, the names of files.

    Raises:
      UserError: two records have one name.
    """
    found: dict[str, Record] = {}
    for record in records:
        other = found.setdefault(Path(record.id).name, record)
        if other.id != record.id:
            raise UserError(
                f"the pictures {other.id} and {record.id} have one name, by which hard negatives know them: rename one"
            )
    return found


def captioned(record: Record, text: str) -> Caption:
    """The record's caption that a text of a list is worded like: the same, else the first."""
    return next((c for c in record.captions if c.text.strip() == text.strip()), record.captions[0])


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


def _name(path: Path) -> str:
    return path.name.split(".")[0]


def _cosine(model, image, boxes, text):
    of_text = vectors(model, text.reshape(-1, text.shape[-1]), "text").reshape(*text.shape[:2], -1)
    return (of_text * vectors(model, image, "image")[:, None]).sum(-1)


def _match(model, image, boxes, text):
    return jnp.stack([matched(model, *encoded(model, image, boxes, text[:, i])) for i in range(text.shape[1])], 1)


def _caption(model, image, boxes, sequence):
    logits = model.decode(sequence[..., :-1], *picture_memory(model, image))
    return -sequence_nats(logits, sequence, written_after_prompt(sequence))[0]
