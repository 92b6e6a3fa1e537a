"""What a picture is called, asked as a question: a class of one's own data as an answer to fine-tune on."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from xmjax.data.source import Question, Record, Source, Unreadable, varies

LABEL = "label"
"""Kind of the question, and its name in `config.data.questions`."""

ASKED = "what is this?"


class WithLabelQuestions(Source):
    """A source of which each record with exactly one label is asked for it; of several no one is the right answer."""

    def __init__(self, source: Source):
        self.name = source.name
        self.varies = varies(source)
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def read(self, indices: Sequence[int]) -> list[Record | Unreadable]:
        return [
            dataclasses.replace(record, questions=(*record.questions, Question(ASKED, *record.labels, kind=LABEL)))
            if isinstance(record, Record) and len(record.labels) == 1
            else record
            for record in self._source.read(indices)
        ]

    def manifest(self) -> dict[str, Any]:
        return self._source.manifest() | {"questions": LABEL}
