"""Decodes one file after another in a process of its own: python -m xmjax.media.decode

Each line of the standard input is a job, each line of the standard output what came of it, both in JSON; pictures and
sound go to a file. Decoders are C code that reads what strangers made: one that hangs or crashes takes this process
with it, and nothing else (see `children`).
"""

import dataclasses
import hashlib
import json
import os
import resource
import signal
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import av
import numpy as np
import simplejpeg
import soxr
from av import logging
from av.stream import Disposition

from xmjax.data import images
from xmjax.data.arrays import window
from xmjax.data.source import RATE

_LEAP = 3600
"""Seconds between two frames above which the file's clock is taken to be broken."""

_BACK = 1
"""Seconds that it may go back, which is then taken for standing still."""

_SLACK = Fraction(1, 20)
"""Seconds that sound may lie beside its time stamp, which containers round, before it is moved there."""

_MEMORY = 16 << 30
"""Bytes of addresses that this process may use: what asks for more is a broken file."""

_LENIENT: dict[str, Any] = {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "replace"}
"""How titles that are not UTF-8 are no errors: from version 19 on PyAV has no other way."""


class Unpaired(ValueError):
    """A file that is whole but no pair of picture and sound."""


@dataclasses.dataclass
class Media:
    """What is kept of a file.

    Attributes:
      frames: JPEG files.
      times: seconds on the picture's clock at which they are shown, float64 [F]; NaN where a picture has no time.
      audio: int16 [T] at 16 kHz, mono.
      start: when the first sample is heard on the same clock, in samples.
      seconds: length of the picture; of a still picture that of the sound.
      still: whether there are several frames and all are equal.
    """

    frames: list[bytes]
    times: np.ndarray
    audio: np.ndarray
    start: int
    seconds: float
    still: bool = False

    def save(self, path: Path) -> None:
        """Writes it to a file that is there whole or not at all."""
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            np.savez(
                file,
                jpeg=np.frombuffer(b"".join(self.frames), np.uint8),
                sizes=np.array([len(frame) for frame in self.frames], np.int64),
                times=self.times,
                audio=self.audio,
                start=np.int64(self.start),
                seconds=np.float64(self.seconds),
                still=np.bool_(self.still),
            )
        os.replace(temporary, path)


class Picker:
    """Takes the frames that are shown at 0.5, 1.5, 2.5, ... seconds after the first one begins.

    A frame is shown from its time stamp to the next frame's, whatever the rate, and the last one for as long as it
    says or as the one before it, up to a second: some containers do not say. A video of half a second or less gives
    its last frame, at the time at which that begins.

    Attributes:
      frames: those taken, as JPEG files.
      times: when they are shown.
      first: time stamp of the first frame in seconds, where the clock begins; None before there is one.
      end: when the last frame ends.
      still: whether all frames taken are equal.
    """

    def __init__(self, size: int, rate: Fraction, aspect: Fraction):
        """Args:
        size: most pixels of the shorter side.
        rate: frames a second, for frames that do not say how long they are shown.
        aspect: width over height of a pixel.
        """
        self.frames: list[bytes] = []
        self.times: list[Fraction] = []
        self.first: Fraction | None = None
        self.end = Fraction(0)
        self.still = True
        self._size, self._rate, self._aspect = size, rate, aspect
        self._shown: av.VideoFrame | None = None
        self._start = Fraction(0)
        self._taken: av.VideoFrame | None = None
        self._pixels = np.zeros((0, 0, 3), np.uint8)

    def add(self, frame: av.VideoFrame) -> None:
        """Takes the next frame of the track, in the order in which they are shown.

        Raises:
          ValueError: the clock leaps.
        """
        base = frame.time_base or Fraction(0)
        if self.first is None:
            self.first = (frame.pts or 0) * base
        start = self.end if frame.pts is None else frame.pts * base - self.first
        _check_clock("picture", self._start, start)
        start = max(start, self._start)
        self._until(start)
        before = min(start - self._start, Fraction(1))
        self._shown, self._start = frame, start
        self.end = start + max(min((frame.duration or 0) * base, Fraction(_LEAP)) or 1 / self._rate, before)

    def finish(self) -> None:
        """Takes what is shown from the last frame on."""
        self._until(self.end)
        if not self.times and self._shown is not None:
            self._take(self._shown, self._start)

    def _until(self, time: Fraction) -> None:
        while self._shown is not None and (wanted := len(self.times) + Fraction(1, 2)) < time:
            self._take(self._shown, wanted)

    def _take(self, frame: av.VideoFrame, time: Fraction) -> None:
        if frame is self._taken:  # It is shown for more than a second.
            self.frames.append(self.frames[-1])
        else:
            pixels, aspect = _upright(frame, self._aspect)
            pixels = images.reduced(pixels, self._size, aspect)
            if not self.frames:
                self._pixels = pixels
            self.still = self.still and _equal(pixels, self._pixels)
            self._taken = frame
            self.frames.append(_jpeg(pixels))
        self.times.append(time)


class Track:
    """Mixes a track of sound to mono and brings it to 16 kHz.

    Sound lies where its time stamps say: a hole is filled with zeros, and what overlaps is left out.

    Attributes:
      first: time stamp of the first sample in seconds; None before there is one.
    """

    def __init__(self):
        self.first: Fraction | None = None
        self._rate = 0
        self._count = 0
        self._resampler: soxr.ResampleStream | None = None
        self._parts: list[np.ndarray] = []

    def add(self, frame: av.AudioFrame) -> None:
        """Takes the next frame of the track.

        Raises:
          ValueError: the clock leaps, the rate changes, or samples are in an unknown format.
        """
        base = frame.time_base or Fraction(0)
        if self.first is None:
            self.first, self._rate = (frame.pts or 0) * base, frame.sample_rate
            if self._rate != RATE:
                self._resampler = soxr.ResampleStream(self._rate, RATE, 1, dtype="float32")
        if frame.sample_rate != self._rate:
            raise ValueError(f"the sound's rate changes from {self._rate} to {frame.sample_rate} Hz")
        mono = _mono(frame)
        expected = self.first + Fraction(self._count, self._rate)
        start = expected if frame.pts is None else frame.pts * base
        _check_clock("sound", expected, start)
        if start > expected + _SLACK:
            mono = np.concatenate([np.zeros(round((start - expected) * self._rate), np.float32), mono])
        elif start < expected - _SLACK:
            mono = mono[round((expected - start) * self._rate) :]
        self._count += len(mono)
        self._keep(mono, last=False)

    def finish(self) -> np.ndarray:
        """The whole track, int16 [T]."""
        self._keep(np.zeros(0, np.float32), last=True)
        return np.concatenate(self._parts)

    def _keep(self, mono: np.ndarray, last: bool) -> None:
        if self._resampler is not None:
            mono = self._resampler.resample_chunk(mono, last=last)
        self._parts.append(np.clip(np.rint(mono * 32768), -32768, 32767).astype(np.int16))


def video(path: str, size: int, keep_silent: bool = False) -> Media:
    """Frames of the first video track, one a second, and the first track of sound.

    Args:
      path: of the file.
      size: most pixels of the shorter side of a frame.
      keep_silent: whether one without sound is a video all the same.

    Raises:
      Unpaired: it has no picture, or no sound.
      Exception: whatever the decoders raise at what is broken.
    """
    with _opened(path) as container:
        pictures = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        # What has no pair is decoded all the same, to tell it from what is broken.
        streams = _checked([*pictures[:1], *container.streams.audio[:1]])
        picker, track = None, Track()
        if pictures:
            aspect = pictures[0].sample_aspect_ratio or Fraction(1)
            picker = Picker(
                size, pictures[0].average_rate or Fraction(25), aspect if 0.1 < aspect < 10 else Fraction(1)
            )
        for packet in container.demux(streams) if streams else ():
            for frame in packet.decode():
                if isinstance(frame, av.AudioFrame):
                    track.add(frame)
                elif isinstance(frame, av.VideoFrame) and picker is not None:
                    picker.add(frame)
    if picker is None or picker.first is None:
        raise Unpaired("no video")
    picker.finish()
    audio = track.finish()
    if not keep_silent and track.first is None:
        raise Unpaired("audio: missing")
    if not keep_silent and not audio.any():
        raise Unpaired("audio: silent")
    times = np.array([float(time) for time in picker.times])
    start = 0 if track.first is None else round((track.first - picker.first) * RATE)
    return Media(picker.frames, times, audio, start, float(picker.end), picker.still and len(times) > 1)


def sound(path: str, picture: str, size: int) -> Media:
    """A still picture with the first track of a sound file.

    Raises:
      Unpaired: there is no sound.
      Exception: whatever the decoders raise at what is broken.
    """
    audio = heard(path)
    if not audio.any():
        raise Unpaired("audio: silent")
    try:
        pixels = images.whole(Path(picture).read_bytes(), size)
    except ValueError as error:
        raise ValueError(f"the picture cannot be decoded: {error}") from error
    return Media([_jpeg(pixels)], np.array([np.nan]), audio, 0, len(audio) / RATE)


def heard(file: str | IO[bytes]) -> np.ndarray:
    """The first track of a sound file, int16 [T] at 16 kHz, mono.

    Raises:
      Unpaired: there is no sound.
      Exception: whatever the decoders raise at what is broken.
    """
    with _opened(file) as container:
        track = Track()
        streams = _checked(container.streams.audio[:1])
        for frame in container.decode(streams) if streams else ():
            if isinstance(frame, av.AudioFrame):
                track.add(frame)
    audio = track.finish()
    if track.first is None:
        raise Unpaired("audio: missing")
    return audio


def _opened(file: str | IO[bytes]) -> Any:
    # A playlist may name what lies elsewhere: nothing but files is opened.
    return av.open(file, options={"protocol_whitelist": "file"}, **_LENIENT)


def _checked(streams: Sequence[Any]) -> Sequence[Any]:
    """The streams, each decoded in one thread: files are decoded in parallel, not their parts."""
    for stream in streams:
        if stream.codec_context is None:
            raise ValueError(f"there is no decoder for its {stream.type}")
        stream.codec_context.thread_count = 1
    return streams


def _check_clock(what: str, before: Fraction, now: Fraction) -> None:
    if not -_BACK <= now - before <= _LEAP:
        raise ValueError(f"the clock of the {what} leaps from {float(before):.3f} to {float(now):.3f} s")


def _mono(frame: av.AudioFrame) -> np.ndarray:
    """The mean of the channels, float32 [T], from -1 to 1."""
    samples = frame.to_ndarray()
    channels = max(1, len(frame.layout.channels))
    samples = samples if frame.format.is_planar else samples.reshape(-1, channels).T
    if samples.dtype.kind == "f":
        values = samples.astype(np.float32)
    elif samples.dtype == np.uint8:
        values = (samples.astype(np.float32) - 128) / 128
    elif samples.dtype.kind == "i":
        values = samples.astype(np.float32) / 2 ** (8 * samples.itemsize - 1)
    else:
        raise ValueError(f"samples are of the unknown format {frame.format.name}")
    return np.nan_to_num(values.mean(0), nan=0.0, posinf=1.0, neginf=-1.0)


def _upright(frame: av.VideoFrame, aspect: Fraction) -> tuple[np.ndarray, float]:
    """A frame turned and mirrored as its file says, uint8 [H, W, 3], and width over height of its pixels."""
    pixels = frame.to_ndarray(format="rgb24")
    try:
        matrix = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # Of a frame with side data of kinds that PyAV does not know it tells the turn alone.
        turns = round(frame.rotation / 90) % 4
        pixels = np.ascontiguousarray(np.rot90(pixels, turns))
        return pixels, float(1 / aspect if turns % 2 else aspect)
    if matrix is None:
        return pixels, float(aspect)
    # x' = a x + c y and y' = b x + d y, in turns of 90 degrees; the last column and row do not matter here.
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    swapped = abs(b) > abs(a)
    if swapped:
        pixels = pixels.transpose(1, 0, 2)
    if (c if swapped else a) < 0:
        pixels = pixels[:, ::-1]
    if (b if swapped else d) < 0:
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels), float(1 / aspect if swapped else aspect)


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two pictures differ by less than coding makes them differ, one grey level in the mean."""
    return one.shape == other.shape and bool(np.abs(one.astype(np.int16) - other).mean() < 1)


def _jpeg(pixels: np.ndarray) -> bytes:
    return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=90, colorspace="RGB", colorsubsampling="420")


def digest(path: str) -> str:
    """The SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def outcome(job: dict[str, Any]) -> dict[str, Any]:
    """Does one job: decodes ``path``, with ``picture`` if it names one, to the file ``part``.

    With ``samples`` it is the middle of a sound by itself, of so many.

    Returns:
      "state", "kept", "dropped" or "broken", with a "reason" of one line where it is not kept, and what is known of the
      file: "sha256", "seconds", "frames", "still". "failed" if it is not the file's fault: the disk is full.
    """
    found: dict[str, Any] = {}
    try:
        for path in filter(None, (job["path"], job.get("picture"))):
            if not os.path.isfile(path):  # Opening a named pipe would wait forever.
                raise ValueError(f"{os.path.basename(path)} is missing or not a regular file")
        found["sha256"] = digest(job["path"])
        if job.get("picture"):
            found["picture_sha256"] = digest(job["picture"])
            media = sound(job["path"], job["picture"], job["size"])
        elif job.get("samples"):
            audio, count = heard(job["path"]), job["samples"]
            audio = window(audio, (len(audio) - count) // 2, count)
            media = Media([], np.zeros(0), audio, 0, count / RATE)
        else:
            media = video(job["path"], job["size"], job.get("keep_silent", False))
    except Unpaired as error:
        return found | {"state": "dropped", "reason": str(error)}
    except MemoryError:
        return found | {"state": "broken", "reason": "it needs too much memory"}
    except Exception as error:  # Decoders raise whatever their parsers meet.
        said = str(getattr(error, "strerror", "") or error)  # of an OSError without the path
        named = said if type(error) is ValueError else f"{type(error).__name__}: {said}"
        return found | {"state": "broken", "reason": " ".join(named.split())[:200]}
    try:
        media.save(Path(job["part"]))
    except OSError as error:
        return {"state": "failed", "reason": f"{job['part']} cannot be written ({error.strerror})"}
    return found | {
        "state": "kept",
        "seconds": round(media.seconds, 3),
        "frames": len(media.frames),
        "still": media.still,
    }


def main() -> None:
    """Answers jobs until the input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    logging.set_level(logging.PANIC)
    print("ready", flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        # Should whoever started this be gone, nobody else ends a decoder that hangs.
        signal.alarm(int(job["timeout"]) + 10)
        print(json.dumps(outcome(job)), flush=True)
        signal.alarm(0)


if __name__ == "__main__":
    main()
