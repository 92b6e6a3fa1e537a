"""The base model's step and loader on a CPU.

    python launch/bench.py --config=configs/bench/cpu.py    two CPU cores, three minutes; nothing else may run

Records are those of the playroom. The figures are docs/benchmarks/cpu.json.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Two batch sizes, random data beside the loader."""
    return ConfigDict(
        {
            "name": "cpu",
            "base": "configs/base.py:size=tiny",
            "grid": {"batch_size": (32, 64), "model.attention": ("xla",)},
            "repeats": 5,
            "steps": 10,
            "measure": ("compile", "random_data_step", "real_loader_step", "loader_only"),
        },
        convert_dict=False,  # fields of the run's config have dots in their names
    )
