"""Writes a contact sheet of the playroom: ``python -m xmjax.data.playroom --output sheet.png``."""

import argparse
import pathlib
import sys
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from xmjax.data.playroom import ALL_STYLES, STYLES, Playroom
from xmjax.data.playroom.render import render
from xmjax.data.playroom.world import GRADES, KINDS, SIZES, SPLITS, Scene, Toy, extent
from xmjax.data.source import Record

_FONT_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.fonts", "~/.local/share/fonts", "/Library/Fonts")
_HANGUL_FONTS = (
    "Nanum*",
    "NotoSans*CJK*",
    "NotoSansKR*",
    "*Gothic*",
    "Un*",
    "Baekmuk*",
    "DroidSansFallback*",
    "*unifont*",
)
_CELL = 288  # pixels of a scene on the sheet
_LINE = 18


def _font(points: int) -> tuple[ImageFont.FreeTypeFont | ImageFont.ImageFont, bool]:
    """A font, and whether it has Hangul."""
    for folder in _FONT_FOLDERS:
        for pattern in _HANGUL_FONTS:
            for path in sorted(pathlib.Path(folder).expanduser().rglob(pattern)):
                try:
                    font = ImageFont.truetype(str(path), points)
                except OSError:
                    continue
                # A font shows one and the same box for all the letters that it lacks.
                if len({_drawn(letter, font) for letter in "abc박쥐컵\uffff"}) == 7:
                    return font, True
    return ImageFont.load_default(points), False


def _drawn(letter: str, font: ImageFont.FreeTypeFont) -> bytes:
    cell = Image.new("L", (32, 32))
    ImageDraw.Draw(cell).text((4, 4), letter, fill=255, font=font)
    return cell.tobytes()


def sheet(records: Sequence[Record], columns: int = 6) -> Image.Image:
    """Scenes enlarged, each with its captions beneath."""
    font, hangul = _font(13)
    lines = max((len(record.captions) for record in records), default=0)
    height = _CELL + lines * _LINE + 12
    rows = -(-len(records) // columns)
    page = Image.new("RGB", (columns * (_CELL + 12), rows * height), "white")
    draw = ImageDraw.Draw(page)
    for number, record in enumerate(records):
        x, y = number % columns * (_CELL + 12) + 6, number // columns * height + 6
        assert record.image is not None
        page.paste(Image.fromarray(record.image).resize((_CELL, _CELL), Image.Resampling.NEAREST), (x, y))
        for line, caption in enumerate(record.captions):
            text = caption.text if hangul or caption.text.isascii() else f"[{caption.language}: no font with Hangul]"
            draw.text((x, y + _CELL + line * _LINE), text, fill="black", font=font)
    return page


def kinds_sheet(image_size: int) -> Image.Image:
    """Every kind in every size on the plain ground, enlarged."""
    step = image_size * 5 // 8
    columns = []
    for kind in KINDS:
        cells = []
        for size in SIZES:
            height, width = extent(kind, size, image_size)
            y, x = (step - height) // 2, (step - width) // 2
            toy = Toy(kind, "white", size, (y, x, y + height, x + width))
            cells.append(render(Scene((toy,), None, "easy", image_size, (112, 110, 114), 7))[:step, :step])
        columns.append(np.concatenate(cells))
    half = len(columns) // 2
    page = np.concatenate([np.concatenate(columns[:half], axis=1), np.concatenate(columns[half:], axis=1)])
    return Image.fromarray(page).resize((page.shape[1] * 6, page.shape[0] * 6), Image.Resampling.NEAREST)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the command line, writes the sheet and prints the captions; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m xmjax.data.playroom", description=__doc__)
    parser.add_argument("--output", required=True, help="picture to write, such as sheet.png")
    parser.add_argument("--split", choices=SPLITS, default="train")
    parser.add_argument("--grade", choices=GRADES, default="easy")
    parser.add_argument("--count", type=int, default=24, help="number of scenes")
    parser.add_argument("--start", type=int, default=0, help="index of the first scene")
    parser.add_argument("--image_size", type=int, default=32, help="pixels along each side, 32 to 64")
    parser.add_argument("--style", choices=ALL_STYLES, help="one wording instead of all")
    parser.add_argument("--kinds", action="store_true", help="show all kinds in all sizes instead of scenes")
    options = parser.parse_args(arguments)
    if options.count < 1 or options.start < 0:
        parser.error("--count must be at least 1 and --start must not be negative")
    styles = (options.style,) if options.style else STYLES
    try:
        source = Playroom(options.split, options.grade, options.image_size, styles=styles)
    except ValueError as error:
        parser.error(str(error))
    if options.start + options.count > len(source):
        parser.error(f"the split has {len(source)} records; lower --start or --count")
    if options.kinds:
        page = kinds_sheet(options.image_size)
    else:
        indices = range(options.start, options.start + options.count)
        records = [record for record in source.read(indices) if isinstance(record, Record)]
        for record in records:
            print(record.id, *(caption.text for caption in record.captions), sep="\t")
        page = sheet(records, min(6, options.count))
    try:
        page.save(options.output)
    except (OSError, ValueError) as error:
        print(f"playroom: cannot write {options.output}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
