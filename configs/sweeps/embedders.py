"""Embedders: n-grams or single bytes of text, and pixels with or without convolutions or the bytes of a file.

    python launch/sweep.py --config=configs/sweeps/embedders.py     two CPU cores, an hour by estimate (6 runs)

Not run to its end yet; the table will be docs/results/embedders.md.
"""

import itertools

from ml_collections import ConfigDict

TEXT = {
    "ngram": {"model.text.embedder": "ngram", "model.text.ngrams": (2, 3, 4)},
    "bytes": {"model.text.embedder": "bytes"},
}
IMAGE = {
    "stem": {"model.image.embedder": "pixels", "model.image.stem": 32},
    "patches": {"model.image.embedder": "pixels", "model.image.stem": 0},
    # A picture of 32 x 32 pixels is a PPM file of 3,085 bytes, which a stride of 32 makes 97 tokens of.
    "file": {"model.image.embedder": "file", "model.image.max_file_bytes": 3104, "model.image.file_kernel": 64},
}


def get_config() -> ConfigDict:
    """Every text embedder with every image embedder, in a run of 400 steps."""
    arms = {
        f"{text} {image}": {"steps": 400} | TEXT[text] | IMAGE[image] for text, image in itertools.product(TEXT, IMAGE)
    }
    return ConfigDict(
        {
            "name": "embedders",
            "base": "configs/base.py",
            "arms": arms,
            "seeds": (0,),
            "metrics": (
                "playroom/fill/image",
                "playroom/retrieval/text_to_image/R@1",
                "playroom/caption/bits_per_byte",
            ),
            "control": "ngram stem",
            "budget_seconds": 600.0,
        },
        convert_dict=False,  # fields of the run's config have dots in their names
    )
