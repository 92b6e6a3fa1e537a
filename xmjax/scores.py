"""Scores of an evaluation as rows: every score beside its oracle and its trivial baselines."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

BASELINES = ("chance", "random", "most_frequent", "unigram", "towers", "image_alone", "audio_alone")
"""Last parts of a score's name that stand for what needs no learning, in the order of a table's columns."""

_REFERENCES = (*BASELINES, "oracle", "n")
_UNITS = {"bits_per_byte": "bits per byte", "bits": "bits", "MedR": "rank", "unimodal": "points", "left_out": "items"}
_NAMES = {
    "fill/image": "with its own image",
    "fill/no_image": "without an image",
    "fill/shuffled_image": "with another's image",
    "retrieval/text_to_image": "text to image",
    "retrieval/image_to_text": "image to text",
    "fill/shuffled_association": "with another's association",
    "fill/by_class": "by class",
    "sense/image": "with its own image",
    "sense/no_image": "without an image",
    "sense/shuffled_image": "with another's image",
    "sense/by_word": "by word",
    "sense/by_style": "by wording",
    "sense/seen": "sense seen in training",
    "sense/image_95_low": "with its own image, 95% interval from",
    "sense/image_95_high": "with its own image, 95% interval to",
    "dictionary/accuracy": "senses kept by the captions",
    "dictionary/text_tower": "senses by the run's own text tower",
    "pointing/model": "masked nouns",
    "pointing/named": "the same, read",
    "pointing/centre_prior": "always the middle",
    "answer/model": "with the picture",
    "answer/question_only": "from the question alone",
    "describe/exact": "the one asked for",
    "describe/question_only": "from the request alone",
    "answer/by_class": "by class",
    "zero_shot/model": "by the texts of labels",
    "zero_shot/seen": "the same, of combinations that training shows",
    "zero_shot/by_attribute": "by attribute",
    "tags/image_to_tag_mAP": "tags of a picture: mean average precision",
    "tags/tag_to_image_mAP": "pictures of a tag: mean average precision",
    "localize/map": "the map itself: cIoU@0.5",
    "localize/shuffled_sound": "with another's sound: cIoU@0.5",
    "localize/whole_image": "the whole picture: cIoU@0.5",
    "localize/centre": "always the middle: cIoU@0.5",
    "caption/exact": "equal to a reference",
    "objects/words/bits": "bits of a masked word",
    "objects/words/characters/bits": "bits of its characters, each masked alone",
    "caption/bits_per_byte": "bits per byte",
    "caption/shuffled_image/bits_per_byte": "the same, with another's image",
}


@dataclasses.dataclass(frozen=True)
class Row:
    """A score and what it has to be read against.

    Attributes:
      key: full name of the score.
      data: name of the data set, the first part of the key.
      evaluator: name of the evaluator, the second part.
      value: the score.
      unit: "%" for a fraction of 1, "points" of percent between two, "bits", "bits per byte", "rank" or "items".
      oracle: score of a scorer that reads the truth.
      baselines: name of a baseline -> its score.
      n: number of items scored.
    """

    key: str
    data: str
    evaluator: str
    value: float
    unit: str
    oracle: float | None = None
    baselines: Mapping[str, float] = dataclasses.field(default_factory=dict)
    n: int | None = None

    @property
    def group(self) -> str:
        """The key without its last part: rows of one group are shown together."""
        return self.key.rpartition("/")[0]

    @property
    def label(self) -> str:
        """What to call the row under the name of its data set and evaluator."""
        path = self.key.split("/", 1)[-1]
        if path in _NAMES:
            return _NAMES[path]
        parent, _, last = path.rpartition("/")
        above = _NAMES.get(parent) or parent.removeprefix(self.evaluator).strip("/").replace("/", " ")
        return f"{above}: {last}".removeprefix(": ").replace("_", " ")

    def text(self, value: float | None) -> str:
        """A value in the row's unit, "" where there is none."""
        return "" if value is None else format_value(value, self.unit)


def unit_of(key: str) -> str:
    """Unit of a score by its full name, also of its references; see `Row`."""
    parts = key.split("/")
    return _UNITS.get(parts[-2] if parts[-1] in _REFERENCES and len(parts) > 1 else parts[-1], "%")


def lower_is_better(key: str) -> bool:
    """Whether a score improves as it falls: ranks, bits and gaps do, shares rise."""
    return unit_of(key) != "%"


def format_value(value: float, unit: str) -> str:
    """A number as people read it: fractions as percent, ranks with one digit, bits with three, counts whole."""
    if not math.isfinite(value):
        return "not finite"
    if unit == "points":
        return f"{100 * value:.1f} points"
    return format(value, {"%": ".1%", "rank": ".1f", "items": ".0f"}.get(unit, ".3f"))


def rows(scores: Mapping[str, float | None]) -> list[Row]:
    """The scores of an evaluation, with references taken out of the list and put beside what they refer to.

    A reference belongs to the score that its name continues ("a/exact/oracle" to "a/exact"), or, where there is none,
    to all scores that stand beside it ("fill/chance" to "fill/image" and "fill/no_image").

    Args:
      scores: "<data>/<evaluator>/..." -> value; values that are None are left out.

    Returns:
      Rows by evaluator, then by data set, then in the order given.
    """
    known = {key: float(value) for key, value in scores.items() if isinstance(value, int | float)}
    found = []
    for key, value in known.items():
        parent, _, last = key.rpartition("/")
        if last in _REFERENCES:
            continue
        data, _, path = key.partition("/")
        beside = {name: known[f"{parent}/{name}"] for name in _REFERENCES if f"{parent}/{name}" in known}
        own = {name: known[f"{key}/{name}"] for name in _REFERENCES if f"{key}/{name}" in known}
        references = (beside if parent not in known else {}) | own
        unit = unit_of(key)
        found.append(
            Row(
                key, data, path.partition("/")[0], value, unit, references.get("oracle"),
                {name: references[name] for name in BASELINES if name in references},
                int(references["n"]) if "n" in references else None,
            )
        )  # fmt: skip
    evaluators = list(dict.fromkeys(row.evaluator for row in found))
    sets = list(dict.fromkeys(row.data for row in found))
    # What has subdivisions comes after what has none, such as the accuracy of each class after the whole.
    return sorted(
        found, key=lambda row: (evaluators.index(row.evaluator), sets.index(row.data), "/by_class/" in row.key)
    )


def baselines_of(chosen: Iterable[Row]) -> list[str]:
    """Names of the baselines that any row has, in the order of columns."""
    present = {name for row in chosen for name in row.baselines}
    return [name for name in BASELINES if name in present]


def summary(scores: Mapping[str, float | None], name: str) -> str:
    """The table that a run ends with, as plain aligned text.

    Args:
      scores: of the last evaluation, "<data>/<evaluator>/..." -> value.
      name: what to print above, such as the name of the run.
    """
    found = rows(scores)
    if not found:
        return f"{name}: no scores"
    baselines = baselines_of(found)
    table: list[Sequence[str]] = [(name, "score", "oracle", *(b.replace("_", " ") for b in baselines), "n")]
    above = ""
    for row in found:
        if (heading := f"{row.data} / {row.evaluator}") != above:
            table.append((heading,))
            above = heading
        references = [row.text(row.baselines.get(b)) or "-" for b in baselines]
        count = "-" if row.n is None else str(row.n)
        table.append((f"  {row.label}", row.text(row.value), row.text(row.oracle) or "-", *references, count))
    widths = [max(len(line[i]) for line in table if i < len(line)) for i in range(len(table[0]))]
    lines = [
        "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=False)))
        for line in table
    ]
    lines.insert(1, "-" * (sum(widths) + 2 * (len(widths) - 1)))
    return "\n".join(line.rstrip() for line in lines)
