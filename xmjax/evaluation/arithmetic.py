"""Arithmetic of vectors: a picture less a text plus another text, and a picture plus a sound."""

import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from xmjax.data import playroom
from xmjax.data.arrays import audio_bytes, text_ids
from xmjax.data.playroom.source import picture, scene_size
from xmjax.data.playroom.world import arrange, extent, uniforms
from xmjax.data.source import Record
from xmjax.evaluation.base import EVALUATORS, Evaluator, Report, Scores
from xmjax.evaluation.retrieval import recalls, towers, vectors
from xmjax.evaluation.sound import sound_records

SIZE, GROUND = "medium", (128, 128, 128)
"""Of every toy, and RGB of what it lies on, where all but kind and colour are equal."""


@EVALUATORS.register("arithmetic")
class ArithmeticEvaluator(Evaluator):
    """One toy made another: the picture of a red cup, less "red cup", plus "red hat", is nearest to that of a red hat.

    Every two looks (kind and colour) that differ in one of both are asked for, among one picture of each, all else
    being equal: every toy lies in the middle. "anywhere" is the same for toys that lie anywhere. Both texts are in the
    first language that has a name of its own for the wanted kind. Runs on the playroom alone.
    """

    def __init__(self, config, mesh, records):
        super().__init__(config, mesh, records)
        playing = config.data.source == "playroom"
        self.looks = list(itertools.product(playroom.KINDS, playroom.COLORS)) if playing else []
        if not playing:
            return
        size = config.model.image.size
        shown = [in_the_middle(kind, color, SIZE, seed, size) for seed, (kind, color) in enumerate(self.looks)]
        anywhere = [alone(kind, color, SIZE, seed, size) for seed, (kind, color) in enumerate(self.looks)]
        languages = config.data.languages or playroom.LANGUAGES
        captions = [playroom.captions(r.truth, lang, "one")[0].text for lang in languages for r in shown]
        self.image = self.pictures((*shown, *anywhere))
        self.text = np.stack([text_ids(caption, config.model.text.max_bytes) for caption in captions])
        self.language = np.array([language_of(kind, languages) for kind, _ in self.looks])
        self.pairs = np.array([
            (i, j)
            for i, j in itertools.permutations(range(len(self.looks)), 2)
            if sum(a == b for a, b in zip(self.looks[i], self.looks[j], strict=True)) == 1
        ])  # fmt: skip
        self.run = self.compiled(towers)

    def __call__(self, params):
        if not self.looks:
            return Report({"arithmetic/n": 0})
        image, text = (vectors.reshape(2, len(self.looks), -1) for vectors in self.run(params, self.image, self.text))
        start, end = self.pairs.T
        language = self.language[end]
        scores: Scores = {"arithmetic/n": len(self.pairs)}
        for name, shown in zip(("arithmetic", "arithmetic/anywhere"), image, strict=True):
            made = shown[start] - text[language, start] + text[language, end]
            scores |= {
                f"{name}/top1": top1(made, shown, end, start),
                f"{name}/top1/oracle": 1.0,
                f"{name}/top1/text_alone": top1(text[language, end], shown, end, start),
                f"{name}/top1/chance": 1 / (len(shown) - 1),
                f"{name}/top1_inputs_kept": top1(made, shown, end),
            }
        return Report(scores)


def language_of(kind: str, languages: Sequence[str]) -> int:
    """Index of the first of several languages in which no other kind has this one's name; 0 where there is none."""
    own = [list(playroom.NAMES[x].values()).count(playroom.NAMES[x][kind]) == 1 for x in languages]
    return own.index(True) if any(own) else 0


def top1(
    queries: Float[np.ndarray, "Q E"],
    items: Float[np.ndarray, "N E"],
    wanted: np.ndarray,
    excluded: np.ndarray | None = None,
) -> float:
    """Share of queries whose nearest item is the wanted one; a tie counts as its expectation.

    Args:
      queries: vectors of any length.
      items: unit vectors.
      wanted: index of each query's item.
      excluded: index of an item that each query must not find, such as one that it is made of.
    """
    scores = queries @ items.T
    rows = np.arange(len(scores))
    if excluded is not None:
        scores[rows, excluded] = -np.inf
    best = scores == scores.max(1, keepdims=True)
    return float(np.mean(best[rows, wanted] / best.sum(1)))


@EVALUATORS.register("compose")
class ComposeEvaluator(Evaluator):
    """A picture of one toy and the sound of another find the picture of both. Runs on the playroom alone."""

    stream = "frame_audio"

    def __init__(self, config, mesh, records):
        super().__init__(config, mesh, records)
        sounding = [r for r in sound_records(config, captions=False) if isinstance(r.truth, playroom.Scene)]
        self.records = [r for r in sounding if len(r.truth.toys) > 1]
        pool = min(config.evaluation.pool, len(self.records))
        self.records = self.records[: len(self.records) // pool * pool] if pool else []
        if not self.records:
            return
        self.blocks = [slice(i, i + pool) for i in range(0, len(self.records), pool)]
        others = [next(t for i, t in enumerate(r.truth.toys) if i != r.truth.sounding) for r in self.records]
        size = config.model.image.size
        shown = [alone(toy.kind, toy.color, toy.size, seed, size) for seed, toy in enumerate(others)]
        self.arrays = (
            self.pictures(shown),
            np.stack([audio_bytes(r) for r in self.records]),
            self.pictures(self.records),
        )
        names = ("image", "audio", "image")
        self.run = self.compiled(lambda model, *data: [vectors(model, d, m) for d, m in zip(data, names, strict=True)])

    def __call__(self, params):
        if not self.records:
            return Report({"retrieval/image+audio_to_image/n": 0})
        seen, heard, both = self.run(params, *self.arrays)
        queries = {"": seen + heard, "/image_alone": seen, "/audio_alone": heard, "/random": np.zeros_like(seen)}
        scores = {
            f"retrieval/image+audio_to_image/{key}{suffix}": value
            for suffix, query in queries.items()
            for key, value in recalls([query[block] @ both[block].T for block in self.blocks]).items()
        }
        return Report(scores | {"retrieval/image+audio_to_image/n": len(self.records)})


def in_the_middle(kind: str, color: str, size: str, seed: int, image_size: int) -> Record:
    """A picture of one toy of this look in the middle of an even ground; the noise is drawn by the seed."""
    side = scene_size(image_size)
    height, width = extent(kind, size, side)
    y, x = (side - height) // 2, (side - width) // 2
    toy = playroom.Toy(kind, color, size, (y, x, y + height, x + width))
    scene = playroom.Scene((toy,), None, "single", side, GROUND, seed)
    return Record(f"middle/{seed}", image=picture(scene, image_size), truth=scene)


def alone(kind: str, color: str, size: str, seed: int, image_size: int) -> Record:
    """A picture of one toy of this look, anywhere."""
    draws = uniforms(np.random.default_rng(seed))
    scene = arrange(draws, [(kind, color, size)], "single", scene_size(image_size))
    return Record(f"alone/{seed}", image=picture(scene, image_size), truth=scene)
