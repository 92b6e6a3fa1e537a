"""Pictures with sounds: the byte-level system, the networks of the image-bridged model, and spectrograms alone.

    python launch/bench.py --config=configs/bench/sound.py          two CPU cores, ten minutes by estimate
    python launch/bench.py --config=configs/bench/sound.py:gpu      one GPU of 80 GB or more, ten minutes by estimate

Records are the playroom's. "mel" is how long spectrograms of a batch take on the device and on the host.
"""

from ml_collections import ConfigDict

from xmjax.errors import UserError


def get_config(arg: str = "") -> ConfigDict:
    """Both systems, small or in the paper's batch of 512 pictures of 224 px."""
    if arg not in (None, "", "gpu"):
        raise UserError(f"unknown mode {arg!r} after the config's colon: gpu, or none")
    size, batches = ("size=base", (512, 1024)) if arg else ("size=tiny", (64,))
    shared = {"precision": "bfloat16"} if arg else {}
    cases = {
        f"{name}, batch {batch}": shared | {"base": f"configs/{config}.py:{size}", "batch_size": batch}
        for batch in batches
        for name, config in (("bytes", "sound"), ("resnet18 and words", "half_supervised"))
    }
    return ConfigDict(
        {
            "name": "sound-gpu" if arg else "sound",
            "base": f"configs/sound.py:{size}",
            "cases": cases,
            "repeats": 5,
            "steps": 10,
            "measure": ("compile", "random_data_step", "real_loader_step", "loader_only", "mel"),
        },
        convert_dict=False,  # fields of the run's config have dots in their names
    )
