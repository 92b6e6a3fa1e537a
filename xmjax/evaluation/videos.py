"""Videos: which of a list a text is of, in the form of Kim and Yoon's Table 1."""

import numpy as np

from xmjax.data.arrays import audio_bytes, text_ids
from xmjax.data.source import Record
from xmjax.data.sources import open_source
from xmjax.evaluation.base import EVALUATORS, Evaluator, Report, Scores
from xmjax.evaluation.retrieval import recalls, vectors
from xmjax.evaluation.sound import captioned

MOMENTS = 3
"""Times that each piece of a video is read, with another frame and the sound around it."""


@EVALUATORS.register("videos")
class VideosEvaluator(Evaluator):
    """Recall and median rank of videos for texts, "retrieval/text_to_video": one item a file, asked by its first text.

    A video's vector is the mean over frames, at `MOMENTS` of each of its pieces. "retrieval/text_to_video+audio" mixes
    `evaluation.audio_share` of its sound in, where it has one ("silent" counts those that have none); that share is to
    be chosen on other data, such as the run's own (`evaluation.sound`). All files of the list are one pool, of
    whichever `evaluation.samples` are read.
    """

    stream = "frame_audio"

    def __init__(self, config, mesh, records):
        super().__init__(config, mesh, records)
        source = open_source(config, captioned(config), "val")
        count = min(len(source), config.evaluation.samples)
        read = source.read([i + turn * len(source) for turn in range(MOMENTS) for i in range(count)])
        self.records = [r for r in read if isinstance(r, Record) and r.captions and r.image is not None]
        self.audio_share = config.evaluation.audio_share if config.model.audio.embedder else 0.0
        names = [file_of(record.id) for record in self.records]
        self.files = sorted(set(names))
        if not self.files:
            return
        self.of = np.array([self.files.index(name) for name in names])
        asked = [self.records[names.index(file)].captions[0].text for file in self.files]
        self.text = np.stack([text_ids(text, config.model.text.max_bytes) for text in asked])
        self.arrays = {"image": self.pictures(self.records)}
        if self.audio_share:
            self.arrays["audio"] = np.stack([audio_bytes(r) for r in self.records])
            self.heard = np.isin(np.arange(len(self.files)), self.of[self.arrays["audio"].any(1)])
        shown = tuple(self.arrays)
        self.show = self.compiled(lambda model, *data: [vectors(model, d, m) for m, d in zip(shown, data, strict=True)])
        self.read = self.compiled(lambda model, text: vectors(model, text, "text"))

    def __call__(self, params):
        name = "retrieval/text_to_video"
        if not self.files:
            return Report({f"{name}/n": 0})
        text = self.read(params, self.text)
        found = dict(zip(self.arrays, self.show(params, *self.arrays.values()), strict=True))
        videos = {modality: mean_by(rows, self.of, len(self.files)) for modality, rows in found.items()}
        arms = {name: videos["image"]}
        if self.audio_share:
            share = self.audio_share * self.heard[:, None]
            arms[f"{name}+audio"] = (1 - share) * videos["image"] + share * videos["audio"]
        scores: Scores = {f"{name}+audio/silent": int(np.sum(~self.heard))} if self.audio_share else {}
        for arm, rows in arms.items():
            scores |= {f"{arm}/{key}": value for key, value in recalls([text @ rows.T]).items()}
            scores[f"{arm}/n"] = len(self.files)
        constant = recalls([np.zeros((len(text),) * 2)])
        return Report(scores | {f"{name}/{key}/random": value for key, value in constant.items()})


def file_of(record_id: str) -> str:
    """The file that a piece is of: what stands before the second at which it begins."""
    name, at, second = record_id.rpartition("@")
    return name if at and second.isdecimal() else record_id


def mean_by(rows: np.ndarray, group: np.ndarray, count: int) -> np.ndarray:
    """Means [count, E] of rows [N, E] by group, as unit vectors."""
    sums = np.zeros((count, rows.shape[1]), np.float32)
    np.add.at(sums, group, rows)
    return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
