"""Captions of similar pictures: mined once by a trained model, read beside the records in training.

They are captions of other pictures that lie near a picture in the space of the towers. Near pictures would not do: they
share some of what they show, and half of their captions speak of something else (docs/log.md).

A file of them has a line for each record that has any:

    {"id": "a.jpg", "similar": [{"id": "b.jpg", "similarity": 0.91, "captions": [{"text": "...", "language": "en"}]}]}

`launch/prepare.py similar` writes it. Source: US 12,393,789, claim 5: captions of the third modality are those related
to the first in meaning, of its own picture or of others.
"""

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xmjax.data.source import Amended, Caption, Record, Source
from xmjax.errors import UserError

BLOCK = 1024
"""Rows that are compared with all others at a time."""


def neighbours(queries: np.ndarray, keys: np.ndarray, count: int, least: float) -> Iterator[list[tuple[int, float]]]:
    """For each query in turn its nearest keys.

    Args:
      queries: unit vectors, float [N, E].
      keys: unit vectors, float [M, E].
      count: most keys of a query.
      least: smallest cosine of a key.

    Yields:
      (key, cosine) pairs, the nearest first; of equals the first key.
    """
    for start in range(0, len(queries), BLOCK):
        for row in queries[start : start + BLOCK] @ keys.T:
            last = np.partition(row, -count)[-count] if count < len(row) else -np.inf
            near = np.flatnonzero(row >= max(last, least))
            yield [(int(i), float(row[i])) for i in near[np.argsort(-row[near], kind="stable")][:count]]


def mine(
    records: Sequence[Record],
    digests: Sequence[bytes],
    pictures: np.ndarray,
    texts: np.ndarray,
    count: int,
    least: float,
) -> Iterator[dict[str, Any]]:
    """Lines of a file of other pictures' captions that are near a picture, of the records that have any.

    A picture that is there twice has no captions of its twin: they would be its own. Nor is one text taken twice.

    Args:
      records: with captions; their pictures are not read.
      digests: what tells equal pictures of the records.
      pictures: unit vectors of the pictures, float [N, E].
      texts: unit vectors of all captions, record by record, float [M, E].
      count: most captions of a record.
      least: smallest cosine between a picture and a caption.
    """
    captions = [(i, caption) for i, record in enumerate(records) for caption in record.captions]
    own = Counter(digests[i] for i, _ in captions)
    spare = 2 * count + max(own.values(), default=0)  # texts that are passed over
    for i, found in enumerate(neighbours(pictures, texts, count + spare, least)):
        taken = {caption.text for caption in records[i].captions}
        entries = []
        for key, cosine in found:
            origin, caption = captions[key]
            if digests[origin] != digests[i] and caption.text not in taken and len(entries) < count:
                taken.add(caption.text)
                said = {"text": caption.text, "language": caption.language}
                entries.append({"id": records[origin].id, "similarity": round(cosine, 4), "captions": [said]})
        if entries:
            yield {"id": records[i].id, "similar": entries}


class WithSimilar(Amended):
    """A source whose records bring captions of similar pictures along, each with the id of its own record."""

    def __init__(self, source: Source, path: str):
        """Args:
          source: of the records.
          path: file of similar pictures' captions.

        Raises:
          UserError: the file cannot be read, or a line is not as the module says.
        """
        super().__init__(source)
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise UserError(
                f"config.data.similar={path} cannot be read ({error.strerror}): write it with launch/prepare.py similar"
            ) from error
        self._digest = hashlib.sha256(data).hexdigest()
        self._found = dict(
            _read(line, number, path) for number, line in enumerate(data.splitlines(), 1) if line.strip()
        )

    def amended(self, record: Record) -> Record:
        return dataclasses.replace(record, similar=self._found.get(record.id, ()))

    def manifest(self) -> dict[str, Any]:
        return self._source.manifest() | {"similar": self._digest}


def _read(line: bytes, number: int, path: str) -> tuple[str, tuple[Caption, ...]]:
    try:
        values = json.loads(line)
        captions = tuple(
            Caption(caption["text"], caption.get("language", ""), origin=other["id"])
            for other in values["similar"]
            for caption in other["captions"]
        )
        return values["id"], captions
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}, line {number}: not a record with captions of similar pictures ({type(error).__name__}: {error}); "
            "write the file with launch/prepare.py similar"
        ) from error
