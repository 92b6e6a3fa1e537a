"""The base model's step and loader on a CPU.

    python launch/bench.py --config=configs/bench/cpu.py             two CPU cores, ten minutes; nothing else may run
    python launch/bench.py --config=configs/bench/cpu.py:root=DIR    with photos, as configs/photos.py reads them

Other records are those of the playroom. The figures are docs/benchmarks/cpu.json.
"""

from ml_collections import ConfigDict

from xmjax.errors import UserError


def get_config(arg: str = "") -> ConfigDict:
    """Batches, the loader with and without what is made ahead, two sizes, and image files where there are some."""
    field, _, root = (arg or "").partition("=")
    if bool(arg) and (field != "root" or not root):
        raise UserError(f"unknown mode {arg!r} after the config's colon: root=DIR, a folder as configs/photos.py reads")
    cases: dict[str, dict] = {
        "batch 32": {"batch_size": 32},
        "batch 64": {},
        "batch 64, nothing made ahead": {"data.prefetch": 0},
        "batch 128": {"batch_size": 128},
        "small, batch 64": {"base": "configs/base.py:size=small"},
    }
    if root:
        cases["photos, batch 32"] = {"base": "configs/photos.py", "data.root": root}
    return ConfigDict(
        {
            "name": "cpu",
            "base": "configs/base.py:size=tiny",
            "cases": cases,
            "repeats": 5,
            "steps": 10,
            "measure": ("compile", "random_data_step", "real_loader_step", "loader_only"),
        },
        convert_dict=False,  # fields of the run's config have dots in their names
    )
