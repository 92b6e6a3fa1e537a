"""Sounds of many files, each decoded where it can harm nothing but itself."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xmjax.errors import UserError
from xmjax.media.children import check_decoders, run

TIMEOUT = 60
"""Most seconds that decoding a sound may take."""


def listen(paths: Sequence[Path], samples: int) -> dict[Path, np.ndarray | str]:
    """The middle of sound files, int16 [samples] at 16 kHz, shorter ones between zeros; of broken ones the reason.

    Raises:
      UserError: the packages that decode are missing, or there is no room for what they decode.
    """
    check_decoders()
    heard: dict[Path, np.ndarray | str] = {}
    with tempfile.TemporaryDirectory() as parts:
        jobs = [{"path": str(p), "part": f"{parts}/{i}.npz", "samples": samples} for i, p in enumerate(paths)]
        for job, found in run(jobs, os.cpu_count() or 1, TIMEOUT):
            if found["state"] == "failed":
                raise UserError(f"{found['reason']}: make room and give the same command again")
            if found["state"] == "kept":
                with np.load(job["part"]) as part:
                    heard[Path(job["path"])] = part["audio"]
            else:
                heard[Path(job["path"])] = found["reason"]
    return heard
