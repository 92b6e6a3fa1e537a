"""The base or large model's step on one GPU of 80 GB or more, in bfloat16, on images of 224 pixels.

    python launch/bench.py --config=configs/bench/gpu.py                one GPU, ten minutes by estimate
    python launch/bench.py --config=configs/bench/gpu.py:size=large     one GPU, fifteen by estimate

Records are noise made by the loader, so that no data are needed: the loader's figures are without reading and decoding.
A case that does not fit in the memory is noted as such.
"""

from ml_collections import ConfigDict

from xmjax.errors import UserError

BATCHES = {"base": (128, 256, 512), "large": (64, 128, 256)}


def get_config(arg: str = "") -> ConfigDict:
    """The benchmark for "size=base" or "size=large"."""
    size = (arg or "size=base").removeprefix("size=")
    if size not in BATCHES:
        raise UserError(f"unknown mode {arg!r} after the config's colon: size= one of {', '.join(BATCHES)}")
    shared = {"data.source": "random", "precision": "bfloat16", "model.remat": "none"}
    small, middle, big = BATCHES[size]
    cases = {f"batch {batch}": shared | {"batch_size": batch} for batch in (small, middle, big)}
    cases |= {
        f"batch {middle}, {attention}": shared | {"batch_size": middle, "model.attention": attention}
        for attention in ("xla", "cudnn")
    }
    return ConfigDict(
        {
            "name": f"gpu-{size}",
            "base": f"configs/base.py:size={size}",
            "cases": cases,
            "repeats": 5,
            "steps": 20,
            "measure": ("compile", "random_data_step", "real_loader_step", "loader_only"),
        },
        convert_dict=False,  # fields of the run's config have dots in their names
    )
