"""Tests on real files: what is read of videos is what they hold, and no broken or odd file stops a run."""

import functools
import json
import wave
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from xmjax.data.clips import Clips, centred, window
from xmjax.media import commands, decode

DATA = Path(__file__).parents[2].parent / "shared" / "data"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"the real data are not at {DATA}"),
]

SILENT = {
    # Their decoded samples are all zero.
    "av/androidx_media/mp4/midroll-5s.mp4",
    "av/androidx_media/mp4/silent-black-25s.mp4",
    "av/moviepy/no_duration.webm",
    "av/moviepy/transparent.webm",
}

VIDEO_EXCEPTIONS = {
    # A track that is not read has no decoder: subtitles, data.
    "av/androidx_media/mkv/sample_with_vtt_subtitles.mkv": "kept",
    "av/androidx_media/mp4/sample_with_color_info.mp4": "kept",
}
"""Files that a decoder of all their tracks refuses."""


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_clips_hold_what_their_files_hold(tmp_path):
    """Frames and sound against a whole decoding by hand; clips.json says how much there is of each."""
    root, out = DATA / "clips", tmp_path / "set"
    (tmp_path / "held_out.txt").write_text("mdn/*\n")
    texts = json.loads((root / "grid_transcripts.json").read_text())
    said = "".join(json.dumps({"file": f"grid/{name}", "text": {"en": text}}) + "\n" for name, text in texts.items())
    (tmp_path / "texts.jsonl").write_text(said)
    commands.videos(
        str(root), str(out), held_out=str(tmp_path / "held_out.txt"), captions=str(tmp_path / "texts.jsonl"), workers=2
    )

    @functools.cache
    def whole(name: str) -> decode.Media:
        return decode.video(str(root / name), 64)

    found = {line["file"]: line for line in lines(out / "files.jsonl")}
    known = {line["file"]: line for line in json.loads((root / "clips.json").read_text())}
    assert set(found) == set(known)
    for name, line in known.items():
        if line["audio_peak_raw"] == 0:
            assert (found[name]["state"], found[name]["reason"]) == ("dropped", "audio: silent")
            continue
        seconds = line["frames_decoded"] / line["video"][2]
        assert found[name]["state"] == "kept" and found[name]["frames"] == int(seconds + 0.5), name
        assert found[name]["seconds"] == pytest.approx(seconds, abs=0.05)
        assert found[name]["split"] == ("val" if name.startswith("mdn/") else "train")
        media = whole(name)
        assert len(media.audio) == pytest.approx(line["audio_samples_decoded"] / line["audio_rate"] * 16_000, abs=3)
    source = Clips(str(out), image_size=32, captions=False)
    for record in source.read(range(len(source))):
        name, second = record.id.split("@")
        media = whole(name)
        own = [k for k, time in enumerate(media.times) if int(second) <= time < int(second) + 10]
        first = centred(media.times[own[len(own) // 2]], 48_000) - media.start
        np.testing.assert_array_equal(record.audio, window(media.audio, first, 48_000))
    spoken = {
        r.id: r.captions for r in Clips(str(out), captions=True).read(range(len(source))) if hasattr(r, "captions")
    }
    assert [c.text for c in spoken["grid/bbaf2n.mpg@0"]] == ["bin blue at f two now"] and len(spoken) == len(texts)


def test_every_bad_file_is_survived_as_video(tmp_path):
    """Pictures too are offered as videos; none is a pair, whether it is whole or broken."""
    known = {line["file"]: line for line in json.loads((DATA / "badinput" / "index.json").read_text())}
    (tmp_path / "list.txt").write_text("".join(f"{DATA / 'badinput' / name}\n" for name in known))
    commands.videos(str(tmp_path / "list.txt"), str(tmp_path / "set"), validation_fraction=0, timeout=60, workers=2)
    found = {
        str(Path(line["file"]).relative_to(DATA / "badinput")): line for line in lines(tmp_path / "set/files.jsonl")
    }
    assert set(found) == set(known)
    print(Counter((line["state"], line.get("reason")) for line in found.values()))
    for name, line in known.items():
        state, reason = found[name]["state"], found[name].get("reason", "")
        if "pyav" not in line:
            assert state != "kept", name
            continue
        pair = "video_frames=0" not in line["pyav"] and "audio_samples=0" not in line["pyav"]
        if name in VIDEO_EXCEPTIONS:
            assert state == VIDEO_EXCEPTIONS[name], name
        elif line["pyav"].startswith("ERR"):
            assert state == "broken", name
        elif not pair or name in SILENT:
            missing = "no video" if "video_frames=0" in line["pyav"] else "audio: missing"
            assert (state, reason) == ("dropped", missing if not pair else "audio: silent"), name
        else:
            assert state == "kept" or reason == "duplicate", (name, reason)


def test_every_bad_picture_is_survived_beside_a_sound(tmp_path):
    known = {line["file"]: line for line in json.loads((DATA / "badinput" / "index.json").read_text())}
    pictures = [name for name, line in known.items() if "pillow" in line]
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(np.arange(1000, dtype="<i2").tobytes())
    given = [{"sound": str(tmp_path / "a.wav"), "image": name, "id": name} for name in pictures]
    (tmp_path / "all.jsonl").write_text("".join(json.dumps(line) + "\n" for line in given))
    commands.sounds(
        str(tmp_path / "all.jsonl"), str(DATA / "badinput"), str(tmp_path / "set"), validation_fraction=0, workers=2
    )
    found = {line["file"]: line for line in lines(tmp_path / "set" / "files.jsonl")}
    assert set(found) == set(pictures)
    other = {n for n in pictures if (found[n]["state"] == "kept") != known[n]["pillow"].startswith("ok")}
    assert not other, [(n, known[n]["pillow"], found[n]) for n in sorted(other)]
    quarantined = {line["file"] for line in lines(tmp_path / "set" / "quarantine.jsonl")}
    assert quarantined == {name for name in pictures if found[name]["state"] == "broken"}
    source = Clips(str(tmp_path / "set"), image_size=16)
    assert all(record.audio.any() for record in source.read(range(len(source), 2 * len(source))))


def test_sounds_of_stamps(tmp_path):
    root = DATA / "stamps"
    commands.stamps(str(tmp_path / "set"), root=str(root), workers=2)
    known = [line for line in lines(root / "stamps.jsonl") if line.get("sound")]
    found = {line["file"]: line for line in lines(tmp_path / "set" / "files.jsonl")}
    assert set(found) == {line["id"] for line in known}
    states = Counter((line["state"], line.get("reason")) for line in found.values())
    assert states == {("kept", None): len(known) - 4, ("dropped", "audio: silent"): 4}
    train = Clips(str(tmp_path / "set"), captions=True, languages=("ko",))
    assert len(train) > 50 and train.read([len(train)])[0].captions[0].language == "ko"
