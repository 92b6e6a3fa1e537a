"""What a picture is called, asked as a question: a class of one's own data as an answer to fine-tune on."""

import dataclasses
from typing import Any

from xmjax.data.source import Amended, Question, Record

LABEL = "label"
"""Kind of the question, and its name in `config.data.questions`."""

ASKED = "what is this?"


class WithLabelQuestions(Amended):
    """A source of which each record with exactly one label is asked for it; of several no one is the right answer."""

    def amended(self, record: Record) -> Record:
        if len(record.labels) != 1:
            return record
        question = Question(ASKED, *record.labels, kind=LABEL)
        return dataclasses.replace(record, questions=(*record.questions, question))

    def manifest(self) -> dict[str, Any]:
        return self._source.manifest() | {"questions": LABEL}
