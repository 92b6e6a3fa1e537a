"""Names and glosses of the kinds, colours, sizes and relations in each language."""

LANGUAGES = ("en", "ko")

NAMES: dict[str, dict[str, str]] = {
    "en": {
        "bat_animal": "bat",
        "bat_club": "bat",
        "crane_bird": "crane",
        "crane_machine": "crane",
        "bow_ribbon": "bow",
        "bow_archery": "bow",
        "pear": "pear",
        "boat": "boat",
        "eye": "eye",
        "snow": "snowflake",
        "star": "star",
        "house": "house",
        "tree": "tree",
        "cup": "cup",
        "fish": "fish",
        "key": "key",
        "hat": "hat",
        "heart": "heart",
        "moon": "moon",
        "car": "car",
    },
    "ko": {
        "bat_animal": "박쥐",
        "bat_club": "방망이",
        "crane_bird": "두루미",
        "crane_machine": "기중기",
        "bow_ribbon": "리본",
        "bow_archery": "활",
        "pear": "배",
        "boat": "배",
        "eye": "눈",
        "snow": "눈",
        "star": "별",
        "house": "집",
        "tree": "나무",
        "cup": "컵",
        "fish": "물고기",
        "key": "열쇠",
        "hat": "모자",
        "heart": "하트",
        "moon": "달",
        "car": "차",
    },
}

GLOSSES: dict[str, dict[str, str]] = {
    "en": {
        "bat_animal": "a small furry animal with wings that flies at night",
        "bat_club": "a wooden club for hitting the ball in baseball",
        "crane_bird": "a tall bird with long legs and a long neck",
        "crane_machine": "a tall machine with a long arm for lifting heavy loads",
        "bow_ribbon": "a ribbon tied with two loops, worn in the hair",
        "bow_archery": "a bent weapon with a string for shooting arrows",
        "pear": "a sweet juicy fruit, narrow at the top and round below",
        "boat": "a small vessel with sails that floats on water",
        "eye": "the part of the face that sees",
        "snow": "a six-armed crystal of ice that falls in winter",
        "star": "a point of light in the night sky, drawn with five tips",
        "house": "a building with a roof and a door where people live",
        "tree": "a tall plant with a trunk and branches",
        "cup": "a small vessel with a handle for drinking",
        "fish": "an animal with fins and a tail that swims in water",
        "key": "a small metal tool that opens a lock",
        "hat": "a covering for the head with a brim",
        "heart": "the organ that pumps blood, a sign of love",
        "moon": "the bright body that circles the earth, seen as a crescent",
        "car": "a road vehicle with four wheels and an engine",
    },
    "ko": {
        "bat_animal": "밤에 날아다니며 날개가 달린 작은 젖먹이 짐승",
        "bat_club": "야구에서 공을 치는 데 쓰는 나무 막대",
        "crane_bird": "다리와 목이 긴 큰 새",
        "crane_machine": "무거운 물건을 들어 올리는 긴 팔이 달린 기계",
        "bow_ribbon": "머리에 다는, 고리 모양으로 묶은 끈 장식",
        "bow_archery": "줄을 당겨 화살을 쏘는 굽은 무기",
        "pear": "위가 좁고 아래가 둥근, 달고 물이 많은 과일",
        "boat": "돛을 달고 물 위를 떠다니는 탈것",
        "eye": "얼굴에서 앞을 보는 기관",
        "snow": "겨울에 하늘에서 내리는 하얀 얼음 결정",
        "star": "밤하늘에 반짝이는, 끝이 다섯 갈래인 빛",
        "house": "지붕과 문이 있고 사람이 사는 건물",
        "tree": "줄기와 가지가 있는 키 큰 식물",
        "cup": "손잡이가 달린, 물을 마시는 작은 그릇",
        "fish": "지느러미와 꼬리로 물속을 헤엄치는 동물",
        "key": "자물쇠를 여는 작은 쇠붙이",
        "hat": "챙이 있고 머리에 쓰는 물건",
        "heart": "사랑을 나타내는, 심장 모양의 무늬",
        "moon": "밤에 떠서 지구를 도는 밝은 천체",
        "car": "바퀴 네 개로 길을 달리는 탈것",
    },
}

COLORS: dict[str, dict[str, str]] = {
    "en": {color: color for color in ("red", "green", "blue", "yellow", "purple", "white")},
    "ko": {"red": "빨간", "green": "초록", "blue": "파란", "yellow": "노란", "purple": "보라", "white": "하얀"},
}

SIZES: dict[str, dict[str, str]] = {
    "en": {size: size for size in ("small", "medium", "big")},
    "ko": {"small": "작은", "medium": "중간", "big": "큰"},
}

RELATIONS: dict[str, dict[str, str]] = {
    "en": {name: name for name in ("left of", "right of", "above", "below", "in front of", "holding")},
    "ko": {
        "left of": "왼쪽에",
        "right of": "오른쪽에",
        "above": "위에",
        "below": "아래에",
        "in front of": "앞에",
        "holding": "들고",
    },
}

KINDS_OF: dict[str, dict[str, tuple[str, ...]]] = {
    language: {word: tuple(kind for kind in names if names[kind] == word) for word in dict.fromkeys(names.values())}
    for language, names in NAMES.items()
}
"""The kinds that a word of a language names, words in a fixed order."""

HOMOGRAPHS: dict[tuple[str, str], tuple[str, ...]] = {
    (language, word): kinds for language, words in KINDS_OF.items() for word, kinds in words.items() if len(kinds) > 1
}
"""Words that name visually different kinds."""
