"""A benchmark of next to nothing.

    python launch/bench.py --config=configs/bench/smoke.py --output=runs/bench/smoke.json   two CPU cores, one minute

It shows that benchmarks work; its figures mean nothing.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """One small case."""
    return ConfigDict(
        {
            "name": "smoke",
            "base": "configs/base.py:smoke",
            "cases": {"batch 16": {"batch_size": 16}},
            "repeats": 2,
            "steps": 2,
        },
        convert_dict=False,  # fields of the run's config have dots in their names
    )
