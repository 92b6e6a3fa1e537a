"""Pictures of what a model found."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from xmjax.errors import UserError
from xmjax.evaluation.localize import box_around
from xmjax.lexicon.library import Library
from xmjax.model_api import Associated, Found
from xmjax.search import Hit

COLUMNS = 4
TEXTS, CROPS = 40, 10
"""Of a library: texts that are drawn, and crops of each."""

FONTS = ["Noto Sans CJK JP", "Noto Sans CJK KR", "NanumGothic", "DejaVu Sans"]
"""Of labels, in the order of preference; the first has Korean, Chinese and Japanese."""


def draw_association(image: UInt8[np.ndarray, "Y X 3"], found: Sequence[Associated], path: Path) -> None:
    """Writes a PNG with the picture once for each word, the units that it speaks of bright and the others dark.

    Args:
      image: the picture as the model read it.
      found: of `Model.associate`.
      path: of the file.

    Raises:
      UserError: the file cannot be written.
    """
    import matplotlib
    from matplotlib.figure import Figure

    side = image.shape[0]
    rows = -(-len(found) // COLUMNS)
    with matplotlib.rc_context({"font.family": _fonts()}):
        figure = Figure(figsize=(2.2 * COLUMNS, 2.6 * rows), layout="constrained")
        for axes, one in zip(figure.subplots(rows, COLUMNS, squeeze=False).flat, found, strict=False):
            axes.imshow(heated(image, one), extent=(0, side, side, 0), interpolation="nearest")
            axes.set_title(f"{one.word}  {one.strength:.2f}", fontsize=11)
        _save(figure, path)


def draw_objects(image: UInt8[np.ndarray, "Y X 3"], found: Found, path: Path) -> None:
    """Writes a PNG with a box around every object, numbered, and a line between each and what it is nearest related to.

    Args:
      image: the picture as the model read it.
      found: of `Model.objects`.
      path: of the file.

    Raises:
      UserError: the file cannot be written.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    side, count = image.shape[0], len(found.boxes)
    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.subplots()
    axes.imshow(image, extent=(0, side, side, 0), interpolation="nearest")
    middle = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2 * side
    for i, j in nearest(found):
        (y0, x0), (y1, x1) = middle[i], middle[j]
        axes.plot((x0, x1), (y0, y1), color="white", linewidth=1 + 3 * found.relations[i, j], alpha=0.8)
        text = f"{found.relations[i, j]:.2f}"
        axes.text((x0 + x1) / 2, (y0 + y1) / 2, text, fontsize=9, backgroundcolor="white", ha="center", va="center")
    for k, box in enumerate(found.boxes * side):
        y0, x0, y1, x1 = box
        color = colormaps["tab10"](k % 10)
        axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=color, linewidth=3))
        axes.text(x0, y0, str(k + 1), color="white", backgroundcolor=color, fontsize=11, ha="left", va="top")
    axes.set_title(f"{count} groups, as many as the run keeps;\nlines tell how closely they belong together")
    _save(figure, path)


def draw_heat(image: UInt8[np.ndarray, "Y X 3"], heat: Float[np.ndarray, "S S"], path: Path) -> None:
    """Writes a PNG with a picture and, beside it, the same under a map of where a sound comes from.

    What is found, the box around the largest part above the threshold, is drawn in white.

    Args:
      image: the picture as the model read it.
      heat: of `Model.localize`.
      path: of the file.

    Raises:
      UserError: the file cannot be written.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    side = image.shape[0]
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    for axes, shown in zip(figure.subplots(1, 2), (False, True), strict=True):
        axes.imshow(image, extent=(0, side, side, 0), interpolation="nearest")
        if shown:
            drawn = axes.imshow(heat, extent=(0, side, side, 0), cmap="magma", alpha=0.6, interpolation="bilinear")
            if box := box_around(heat):
                y0, x0, y1, x1 = (side * edge for edge in box)
                axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor="white", linewidth=2))
            figure.colorbar(drawn, ax=axes, label="cosine with the sound")
    _save(figure, path)


def draw_hits(hits: Sequence[Hit], root: Path, path: Path) -> None:
    """Writes a PNG with what was found, best first: pictures, and the names of sounds and texts.

    Args:
      hits: of `search.Index.nearest`.
      root: folder of the index.
      path: of the file.

    Raises:
      UserError: the file cannot be written, or a picture of the index is gone.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from PIL import Image

    columns = min(COLUMNS + 1, max(1, len(hits)))
    rows = max(1, -(-len(hits) // columns))
    with matplotlib.rc_context({"font.family": _fonts()}):
        figure = Figure(figsize=(2.4 * columns, 2.8 * rows), layout="constrained")
        for axes, hit in zip(figure.subplots(rows, columns, squeeze=False).flat, hits, strict=False):
            axes.set_title(f"{hit.score:.3f}  {hit.modality}", fontsize=10)
            if hit.modality == "image":
                try:
                    with Image.open(root / hit.name) as image:
                        axes.imshow(np.asarray(image.convert("RGB")), interpolation="nearest")
                except OSError as error:
                    raise UserError(
                        f"{root / hit.name} cannot be read: make the index anew, or leave out --picture"
                    ) from error
            else:
                axes.text(0.5, 0.5, hit.name, ha="center", va="center", wrap=True, fontsize=10)
        _save(figure, path)


def draw_library(library: Library, path: Path) -> None:
    """Writes a PNG with the first crops of the texts that have most, a row a text.

    Args:
      library: not empty.
      path: of the file.

    Raises:
      UserError: the file cannot be written.
    """
    import matplotlib
    from matplotlib.figure import Figure

    counts = np.bincount(library.text_of, minlength=len(library.texts))
    shown = np.argsort(-counts, kind="stable")[:TEXTS]
    rows = -(-len(shown) // 2)
    with matplotlib.rc_context({"font.family": _fonts()}):
        figure = Figure(figsize=(11, 0.85 * rows + 0.3), layout="constrained")
        for axes, text in zip(figure.subplots(rows, 2, squeeze=False).flat, shown, strict=False):
            crops = library.crops[library.text_of == text][:CROPS]
            blank = np.full_like(library.crops[0], 255)
            row = [*crops, *[blank] * (CROPS - len(crops))]
            axes.imshow(np.concatenate(row, 1), interpolation="nearest")
            axes.set_title(f"{library.texts[text]}  ({counts[text]})", fontsize=9, loc="left", pad=2)
        _save(figure, path)


def nearest(found: Found) -> list[tuple[int, int]]:
    """Each object with the other that it is most closely related to, every pair once, the first object first."""
    if len(found.boxes) < 2:
        return []
    others = np.where(np.eye(len(found.boxes), dtype=bool), -1, found.relations)
    return sorted({(min(i, int(j)), max(i, int(j))) for i, j in enumerate(others.argmax(1))})


def _fonts() -> list[str]:
    """Those of `FONTS` that the machine has."""
    from matplotlib import font_manager

    known = {font.name for font in font_manager.fontManager.ttflist}
    return [name for name in FONTS if name in known] or ["sans-serif"]


def _save(figure: Any, path: Path) -> None:
    """Writes a figure without its axes."""
    if path.suffix.lower() != ".png":
        raise UserError(f"--picture={path}: pictures are written as PNG, so name it .png")
    for axes in figure.axes:
        axes.set_axis_off()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # without the fonts, labels are boxes; pictures stay
            figure.savefig(path, dpi=120, format="png")
    except OSError as error:
        raise UserError(f"--picture={path} cannot be written ({error.strerror}): give a file you may write") from error


def heated(image: UInt8[np.ndarray, "Y X 3"], one: Associated) -> UInt8[np.ndarray, "Y X 3"]:
    """The picture with every pixel as bright as the heaviest unit that covers it."""
    height, width = image.shape[:2]
    light = np.zeros((height, width))
    for weight, (y0, x0, y1, x1) in zip(one.weights / max(one.weights.max(), 1e-9), one.boxes, strict=True):
        part = light[round(y0 * height) : round(y1 * height), round(x0 * width) : round(x1 * width)]
        np.maximum(part, weight, out=part)
    return (image * (0.2 + 0.8 * light[..., None])).astype(np.uint8)
