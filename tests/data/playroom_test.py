"""Tests of the playroom: determinism, splits, language, truth, and that nothing can be had without looking."""

import dataclasses
import itertools
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from xmjax.data import playroom
from xmjax.data.playroom import language, lexicon, shapes, world
from xmjax.data.source import Unreadable

LANGUAGES = ("en", "ko")


def _everything(meaning_style: str, tongue: str) -> list[playroom.PlayCaption]:
    """Captions of a style with every word in every place: one phrase varies, the other is the longest there is."""
    words = list(lexicon.KINDS_OF[tongue])
    colors = playroom.COLORS if meaning_style != "plain" else (None,)
    sizes = playroom.SIZES if meaning_style in ("size", "one") else (None,)
    phrases = [playroom.Phrase(*parts) for parts in itertools.product(words, colors, sizes)]
    if meaning_style == "one":
        meanings = [playroom.Meaning((phrase,), alone=alone) for phrase in phrases for alone in (False, True)]
    elif meaning_style == "place":
        meanings = [playroom.Meaning((phrase,), place) for phrase in phrases for place in playroom.PLACES]
    else:
        longest = max(phrases, key=lambda phrase: len(_text(phrase, tongue, meaning_style).encode()))
        relations = playroom.RELATIONS if meaning_style in ("pair", "size") else (None,)
        pairs = [(phrase, longest) for phrase in phrases] + [(longest, phrase) for phrase in phrases]
        meanings = [playroom.Meaning(pair, relation) for pair in pairs for relation in relations]
    return [playroom.compose(meaning, tongue, meaning_style) for meaning in meanings]


def _text(phrase: playroom.Phrase, tongue: str, style: str) -> str:
    relation = "left of" if style in ("pair", "size") else None
    return playroom.compose(playroom.Meaning((phrase, phrase), relation), tongue, style).text


def _biggest(record) -> str:
    return max(record.truth.toys, key=lambda toy: (toy.box[2] - toy.box[0]) * (toy.box[3] - toy.box[1])).kind


@pytest.mark.parametrize("grade", world.GRADES)
@pytest.mark.parametrize("image_size", [32, 48, 64])
def test_a_record_is_a_function_of_its_index(grade, image_size):
    source = playroom.Playroom(grade=grade, image_size=image_size)
    together = source.read([7, 2**31 - 1, 3, 7])
    alone = [playroom.Playroom(grade=grade, image_size=image_size).read([index])[0] for index in (7, 2**31 - 1, 3, 7)]
    for first, second in zip(together, alone, strict=True):
        assert (first.id, first.captions, first.truth) == (second.id, second.captions, second.truth)
        np.testing.assert_array_equal(first.image, second.image)
        assert first.image.shape == (image_size, image_size, 3)
        assert first.image.dtype == np.uint8
    assert together[0].id == "train/7"
    assert together[0].truth != together[2].truth


def test_known_record():
    record = playroom.Playroom().read([0])[0]
    assert [caption.text for caption in record.captions] == [
        "a green crane left of the middle",
        "초록 기중기가 하얀 눈 왼쪽에 있다",
    ], "the world changed: raise world.VERSION, and re-run every table"


def test_scene_does_not_depend_on_what_is_said_of_it():
    plain = playroom.Playroom(languages=("ko",), styles=("plain",), captions_per_record=3).read(range(20))
    for first, second in zip(plain, playroom.Playroom().read(range(20)), strict=True):
        assert first.truth == second.truth
        assert [caption.language for caption in first.captions] == ["ko"] * 3


def test_splits_do_not_meet():
    seen = [
        {(record.truth.toys, record.truth.texture) for record in playroom.Playroom(split, grade).read(range(1000))}
        for split in world.SPLITS
        for grade in world.GRADES
    ]
    assert len(set.union(*seen)) == sum(len(part) for part in seen) == 1000 * len(seen)


@pytest.mark.parametrize("grade", world.GRADES)
def test_held_out_combinations(grade):
    assert len(playroom.HELDOUT) == 8
    for split in ("train", "val", "test"):
        for record in playroom.Playroom(split, grade).read(range(2000)):
            assert not any((toy.kind, toy.color) in playroom.HELDOUT for toy in record.truth.toys)
    shown = set()
    for record in playroom.Playroom("heldout", grade).read(range(1000)):
        here = {(toy.kind, toy.color) for toy in record.truth.toys} & playroom.HELDOUT
        assert here
        shown |= here
    assert shown == playroom.HELDOUT


def test_easy_scenes_keep_their_promises():
    shares, untold = [], 0
    for record in playroom.Playroom().read(range(3000)):
        scene = record.truth
        toys = scene.toys
        assert 1 <= len(toys) <= 4
        assert len({toy.kind for toy in toys}) == len({toy.color for toy in toys}) == len(toys)
        for toy in toys:
            y0, x0, y1, x1 = toy.box
            assert 0 <= y0 < y1 <= 32 and 0 <= x0 < x1 <= 32
            assert (y1 - y0, x1 - x0) == world.extent(toy.kind, toy.size, 32)
        true = playroom.relations(scene)
        overlaps = 0
        for a, b in itertools.combinations(range(len(toys)), 2):
            (t, s, d, r), (v, u, n, w) = toys[a].box, toys[b].box
            rows, columns = slice(max(t, v), min(d, n)), slice(max(s, u), min(r, w))
            if rows.start >= rows.stop or columns.start >= columns.stop:
                continue
            overlaps += 1
            untold += (b, "in front of", a) not in true  # where slender toys share too little of their boxes
            covers, covered = (
                shapes.silhouette(toys[k].kind, world.length(toys[k].size, 32)).astype(float) / 256 for k in (b, a)
            )
            part = covered[rows.start - t : rows.stop - t, columns.start - s : columns.stop - s]
            hidden = part * covers[rows.start - v : rows.stop - v, columns.start - u : columns.stop - u]
            shares.append(hidden.sum() / covered.sum())
        assert overlaps <= 1
    assert untold < 0.01 * len(shares)
    # Slender toys meet in whole pixels only, so the share has tails.
    assert 0.2 < np.median(shares) < 0.3
    assert np.quantile(shares, 0.05) > 0.1
    assert np.quantile(shares, 0.98) < 0.4


def test_relations_are_what_the_boxes_say():
    box = {"a": (4, 2, 14, 12), "right": (6, 16, 16, 26), "below": (18, 3, 28, 13), "over": (6, 9, 16, 19)}

    def between(other: str, holding=None) -> set:
        toys = (playroom.Toy("cup", "red", "small", box["a"]), playroom.Toy("hat", "blue", "small", box[other]))
        return set(playroom.relations(playroom.Scene(toys, holding, "easy", 32, (99, 99, 99), 0)))

    assert between("right") == {(0, "left of", 1), (1, "right of", 0)}
    assert between("below") == {(0, "above", 1), (1, "below", 0)}
    assert between("over") == {(1, "in front of", 0)}
    assert between("right", (1, 0)) == {(1, "holding", 0)}


def test_relations_of_two_toys_are_balanced():
    scenes = [record.truth for record in playroom.Playroom().read(range(4000)) if len(record.truth.toys) == 2]
    first = [playroom.relations(scene)[:1] for scene in scenes]
    assert np.mean([not found for found in first]) < 0.005
    counts = {name: sum(found[0][1] == name for found in first if found) for name in ("in front of", "holding")}
    assert all(0.13 < count / len(scenes) < 0.2 for count in counts.values())


def test_holding_shows_which_toy_holds():
    corners = {"cup": (8, 4), "hat": (9, 14)}
    toys = tuple(
        playroom.Toy(kind, "red", "small", (y, x, y + height, x + width))
        for kind, (y, x) in corners.items()
        for height, width in [world.extent(kind, "small", 32)]
    )
    images = [
        playroom.render(playroom.Scene(toys, holding, "easy", 32, (99, 99, 99), 0)).astype(int)
        for holding in (None, (0, 1), (1, 0))
    ]
    for first, second in itertools.combinations(images, 2):
        assert (np.abs(first - second).max(axis=-1) > 50).sum() >= 4


@pytest.mark.parametrize("tongue", LANGUAGES)
@pytest.mark.parametrize("style", playroom.ALL_STYLES)
def test_captions_fit_and_words_lie_on_character_boundaries(tongue, style):
    for caption in _everything(style, tongue):
        raw = caption.text.encode()
        assert len(raw) <= language.MAX_BYTES, caption.text
        end = 0
        for word in caption.words:
            assert end <= word.start < word.end <= len(raw)
            assert raw[word.start : word.end].decode().strip()
            assert word.kind in ("kind", "color", "size", "relation", "place")
            assert word.start == 0 or raw[word.start - 1 : word.start] == b" "
            assert word.end == len(raw) or raw[word.end : word.end + 1] == b" "
            end = word.end


@pytest.mark.parametrize("grade", world.GRADES)
def test_every_caption_is_true_and_listed(grade):
    source = playroom.Playroom("val", grade, captions_per_record=4, styles=playroom.ALL_STYLES)
    for record in source.read(range(400)):
        for caption in record.captions:
            assert playroom.describes(caption, record.truth)
            assert caption in playroom.captions(record.truth, caption.language, caption.style)
    for record in source.read(range(100)):
        for tongue, style in itertools.product(LANGUAGES, playroom.ALL_STYLES):
            found = playroom.captions(record.truth, tongue, style)
            assert len({caption.text for caption in found}) == len(found)
            assert all(playroom.describes(caption, record.truth) for caption in found)


def test_untrue_captions_are_told_apart():
    toys = (
        playroom.Toy("bat_club", "red", "small", (4, 2, 14, 12)),
        playroom.Toy("pear", "blue", "big", (6, 16, 16, 26)),
    )
    scene = playroom.Scene(toys, None, "easy", 32, (99, 99, 99), 0)

    def says(tongue, first, relation=None, second=None, alone=False):
        phrases = (playroom.Phrase(*first),) + (() if second is None else (playroom.Phrase(*second),))
        style = ("place" if relation else "one") if second is None else "pair" if relation else "list"
        caption = playroom.compose(playroom.Meaning(phrases, relation, alone), tongue, style)
        return playroom.describes(caption, scene)

    assert says("en", ("bat", "red"), "left of", ("pear", "blue"))
    assert not says("en", ("bat", "red"), "right of", ("pear", "blue"))
    assert not says("en", ("bat", "blue"), "left of", ("pear", "blue"))
    assert not says("en", ("boat", "blue"), "right of", ("bat", "red"))
    assert says("ko", ("배", "blue"), "right of", ("방망이", "red"))
    assert not says("ko", ("박쥐", "red"), None, ("배", "blue"))
    assert not says("en", ("bat", "red"), None, ("bat", "red"))
    assert says("en", ("pear", "blue", "big"))
    assert not says("en", ("pear", "blue", "big"), alone=True)
    # Places, relative to the middle of the picture; here both toys lie towards a corner, and none is told.
    assert not any(says("en", ("bat", "red"), place) for place in playroom.PLACES)
    scene = dataclasses.replace(scene, toys=(dataclasses.replace(toys[0], box=(10, 2, 20, 12)), toys[1]))
    assert says("en", ("bat", "red"), "left of") and says("ko", ("방망이", "red"), "left of")
    assert not says("en", ("bat", "red"), "right of") and not says("en", ("bat", "red"), "above")
    assert not says("en", ("bat", "blue"), "left of") and not says("ko", ("박쥐", "red"), "left of")


@pytest.mark.parametrize("tongue", LANGUAGES)
def test_candidates_wear_the_right_article_and_particle(tongue):
    particles = {"가": "이", "는": "은", "와": "과", "를": "을"}
    final = {"리본", "활", "눈", "별", "집", "컵", "달"}  # the names that end in a consonant
    for style in playroom.ALL_STYLES:
        for caption in {caption.text: caption for caption in _everything(style, tongue)[::37]}.values():
            scene = playroom.Playroom().read([1])[0].truth
            raw = caption.text.encode()
            for index, word in enumerate(caption.words):
                strings, truths = playroom.candidates(caption, index, scene)
                assert len(strings) == len(truths) == len(set(strings))
                assert raw[word.start : word.end].decode() in strings
                vocabulary = {
                    "kind": set(lexicon.KINDS_OF[tongue]),
                    "color": set(lexicon.COLORS[tongue].values()),
                    "size": set(lexicon.SIZES[tongue].values()),
                    "relation": set(lexicon.RELATIONS[tongue].values()),
                    "place": {lexicon.RELATIONS[tongue][name] for name in playroom.PLACES},
                }[word.kind]
                assert len(strings) == len(vocabulary)
                if tongue == "en":
                    starts = word.kind not in ("relation", "place") and strings[0].split()[0] in ("a", "an")
                    for string in strings:
                        bare = string.split(" ", 1)[1] if starts else string
                        assert bare in vocabulary
                        assert not starts or string.split()[0] == ("an" if bare[0] in "aeiou" else "a")
                elif word.kind == "kind":
                    bare = [next(name for name in vocabulary if string.startswith(name)) for string in strings]
                    ends = [string[len(name) :] for string, name in zip(strings, bare, strict=True)]
                    for name, end in zip(bare, ends, strict=True):
                        assert end in ("", "만", *(particles.values() if name in final else particles))
                    assert len({particles.get(end, end) for end in ends}) == 1
                else:
                    assert set(strings) == vocabulary


def test_a_masked_word_leaves_no_article_behind():
    for tongue, style in itertools.product(LANGUAGES, playroom.ALL_STYLES):
        rests: dict[tuple, set] = {}
        for caption in _everything(style, tongue):
            for index, word in enumerate(caption.words):
                raw = caption.text.encode()
                meaning = caption.meaning
                kept = [(p.word, p.color, p.size) for p in meaning.phrases]
                place = sum(other.kind == word.kind for other in caption.words[:index])
                relation = meaning.relation
                if word.kind in ("relation", "place"):
                    relation = None
                else:
                    field = ("kind", "color", "size").index(word.kind)
                    kept[place] = tuple(None if k == field else part for k, part in enumerate(kept[place]))
                key = (index, meaning.alone, relation, *kept)
                rests.setdefault(key, set()).add(raw[: word.start] + b"?" + raw[word.end :])
        assert all(len(rest) == 1 for rest in rests.values())


def test_toys_alike_are_of_one_kind_in_different_colours():
    for record in playroom.Playroom("val", "alike").read(range(50)):
        toys = record.truth.toys
        assert len(toys) > 1 and len({toy.kind for toy in toys}) == 1
        assert len({toy.color for toy in toys}) == len(toys)


@pytest.mark.parametrize("grade", world.GRADES)
def test_fills_have_one_answer(grade):
    asked = answered = 0
    for record in playroom.Playroom("val", grade, styles=playroom.ALL_STYLES).read(range(300)):
        for caption in record.captions:
            indices = playroom.fills(record.truth, caption)
            asked += len(caption.words)
            answered += len(indices)
            for index in indices:
                strings, truths = playroom.candidates(caption, index, record.truth)
                word = caption.words[index]
                assert sum(truths) == 1
                assert strings[truths.index(True)] == caption.text.encode()[word.start : word.end].decode()
    assert answered > (0.92 if grade == "easy" else 0.8) * asked


def test_places_are_those_of_the_boxes():
    for record in playroom.Playroom("val").read(range(200)):
        told = dict(playroom.places(record.truth))
        for i, toy in enumerate(record.truth.toys):
            y, x = (toy.box[0] + toy.box[2]) / 2 - 16, (toy.box[1] + toy.box[3]) / 2 - 16
            far = {"left of": -x, "right of": x, "above": -y, "below": y}
            if i in told:
                assert far[told[i]] == max(far.values()) >= 4
            else:
                assert max(far.values()) < 4 or max(abs(x), abs(y)) < 1.3 * min(abs(x), abs(y))


def test_homographs():
    assert {word for _, word in playroom.HOMOGRAPHS} == {"bat", "crane", "bow", "배", "눈"}
    for tongue in LANGUAGES:
        assert set(lexicon.NAMES[tongue]) == set(lexicon.GLOSSES[tongue]) == set(playroom.KINDS)
        for kind, gloss in lexicon.GLOSSES[tongue].items():
            assert lexicon.NAMES[tongue][kind] not in gloss.split()
            assert "\n" not in gloss
    toys = [toy for record in playroom.Playroom().read(range(6000)) for toy in record.truth.toys]
    for kinds in playroom.HOMOGRAPHS.values():
        counts = [sum(toy.kind == kind for toy in toys) for kind in kinds]
        total = sum(counts)
        for count in counts:
            assert abs(count - total / 2) < 4 * np.sqrt(total) / 2


@pytest.mark.parametrize("grade", world.GRADES)
def test_nearest_neighbour_on_pixels_stays_under_half(grade):
    train = playroom.Playroom("train", grade, captions_per_record=0).read(range(2000))
    test = playroom.Playroom("val", grade, captions_per_record=0).read(range(500))
    known = np.stack([record.image for record in train]).reshape(2000, -1).astype(np.float32)
    asked = np.stack([record.image for record in test]).reshape(500, -1).astype(np.float32)
    nearest = ((known**2).sum(1) - 2 * asked @ known.T).argmin(1)
    score = np.mean([_biggest(train[near]) == _biggest(record) for near, record in zip(nearest, test, strict=True)])
    assert score < 0.5


@pytest.mark.parametrize("tongue", LANGUAGES)
@pytest.mark.parametrize("kind", ["kind", "color", "size", "relation", "place"])
def test_text_alone_stays_at_chance(tongue, kind):
    vocabulary = {
        "kind": list(lexicon.KINDS_OF[tongue]),
        "color": list(playroom.COLORS),
        "size": list(playroom.SIZES),
        "relation": list(playroom.RELATIONS),
        "place": list(playroom.PLACES),
    }[kind]
    source = playroom.Playroom(languages=(tongue,), captions_per_record=1, styles=playroom.ALL_STYLES)
    bags, answers = [], []
    for record in source.read(range(9000)):
        caption = record.captions[0]
        raw = caption.text.encode()
        places = [word for word in caption.words if word.kind == kind]
        for place, word in enumerate(places):
            rest = np.frombuffer(raw[: word.start] + raw[word.end :], np.uint8)
            bags.append(np.bincount(rest, minlength=256))
            phrase = caption.meaning.phrases[place]
            answer = {"kind": phrase.word, "color": phrase.color, "size": phrase.size}.get(
                kind, caption.meaning.relation
            )
            answers.append(vocabulary.index(answer))
    counts, labels = np.array(bags, np.float64), np.array(answers)
    half = len(labels) * 2 // 3
    onehot = np.eye(len(vocabulary))[labels[:half]]
    # Naive Bayes on the counts, and a linear readout that can also use that a word is absent.
    rates = onehot.T @ counts[:half] + 1
    bayes = counts[half:] @ np.log(rates / rates.sum(1, keepdims=True)).T + np.log(onehot.mean(0))
    inputs = np.concatenate([counts, np.ones((len(counts), 1))], axis=1)
    gram = inputs[:half].T @ inputs[:half] + 10 * np.eye(257)
    linear = inputs[half:] @ np.linalg.solve(gram, inputs[:half].T @ onehot)
    for scores in (bayes, linear):
        assert (scores.argmax(1) == labels[half:]).mean() <= 1 / len(vocabulary) + 0.05


@pytest.mark.parametrize("tongue", LANGUAGES)
def test_retrieval_can_be_solved(tongue):
    for styles, least in ((("pair",), 0.95), (("pair", "list", "size", "one"), 0.88)):
        records = playroom.Playroom("val", languages=(tongue,), captions_per_record=1, styles=styles).read(range(300))
        hits = []
        for start in range(0, 300, 100):
            batch = records[start : start + 100]
            fits = np.array([[playroom.describes(a.captions[0], b.truth) for b in batch] for a in batch])
            hits.append((fits.diagonal() / fits.sum(1)).mean())
        assert np.mean(hits) >= least


def test_kinds_differ_in_coarse_shape():
    def coarse(kind: str) -> np.ndarray:
        alpha = shapes.silhouette(kind, 9)
        square = np.zeros((9, 9))
        y, x = (9 - alpha.shape[0]) // 2, (9 - alpha.shape[1]) // 2
        square[y : y + alpha.shape[0], x : x + alpha.shape[1]] = alpha / 256
        return square

    for first, second in itertools.combinations(playroom.KINDS, 2):
        assert np.abs(coarse(first) - coarse(second)).sum() > 9, (first, second)


def test_arguments_are_checked():
    for bad in (
        {"split": "dev"},
        {"grade": "hard"},
        {"languages": ("fr",)},
        {"styles": ("poem",)},
        {"image_size": 16},
        {"size": 2**40},
        {"captions_per_record": -1},
        {"styles": ()},
    ):
        with pytest.raises(ValueError, match="playroom"):
            playroom.Playroom(**bad)
    source = playroom.Playroom(size=10)
    assert len(source) == 10
    assert isinstance(source.read([10])[0], Unreadable)


def test_manifest_tells_playrooms_apart():
    manifests = [
        playroom.Playroom(**options).manifest()
        for options in ({}, {"split": "val"}, {"grade": "cluttered"}, {"image_size": 40}, {"styles": ("pair",)})
    ]
    assert playroom.Playroom().manifest() == manifests[0]
    assert all(first != second for first, second in itertools.combinations(manifests, 2))


@pytest.mark.parametrize("options", [["--grade", "cluttered", "--image_size", "48", "--count", "7"], ["--kinds"]])
def test_contact_sheet(tmp_path, options):
    path = tmp_path / "sheet.png"
    command = [sys.executable, "-m", "xmjax.data.playroom", "--output", str(path), *options]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    with Image.open(path) as page:
        assert min(page.size) > 200
    bad = subprocess.run([*command[:4], str(tmp_path / "no" / "sheet.png")], capture_output=True, text=True, timeout=60)
    assert bad.returncode == 1
    assert "cannot write" in bad.stderr and "Traceback" not in bad.stderr


def test_every_toy_is_inside_the_picture():
    rare = (296517125, 1710317588, 855468179)  # a small toy in front of a big one, near an edge
    for record in playroom.Playroom("train").read(rare):
        for toy in record.truth.toys:
            assert min(toy.box) >= 0 and max(toy.box) <= record.truth.image_size


def test_large_pictures_are_enlarged_ones():
    large, small = (playroom.Playroom("train", image_size=size).read([5])[0] for size in (224, 56))
    assert large.image.shape == (224, 224, 3)
    assert np.array_equal(large.image[::4, ::4], small.image) and large.truth == small.truth
    with pytest.raises(ValueError, match="image_size"):
        playroom.Playroom("train", image_size=67)
