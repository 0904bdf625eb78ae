"""Captions of many kinds, made from fixed lists of words: the text queries an index is fitted to and measured with."""

from __future__ import annotations

from itertools import product
from zlib import crc32

_WHO = (
    "a dog", "two children", "a woman", "an old man", "a cat", "a group of people", "a bird", "a horse",
    "a red car", "a wooden boat", "a plate of food", "a bicycle", "a yellow flower", "a church", "a laptop",
    "a guitar player",
)  # fmt: skip
_DOING = (
    "", "on the beach", "in the snow", "at night", "in front of a mountain", "on a busy street",
    "next to a window", "in a green field", "under a blue sky", "at a birthday party", "in black and white",
    "seen from above", "in the rain", "on a table", "by the water", "in the desert",
)  # fmt: skip
_THINGS = (
    "tree", "house", "mountain", "river", "airplane", "train", "bridge", "tower", "castle", "garden", "kitchen",
    "bedroom", "office", "classroom", "stadium", "market", "harbour", "lighthouse", "waterfall", "forest",
    "lake", "sunset", "rainbow", "cloud", "moon", "fireworks", "candle", "lamp", "clock", "mirror", "painting",
    "statue", "book", "newspaper", "map", "poster", "receipt", "screenshot", "diagram", "whiteboard", "menu",
    "street sign", "shoe", "hat", "dress", "suit", "umbrella", "backpack", "ring", "sunglasses", "toy",
    "teddy bear", "doll", "balloon", "kite", "ball", "skateboard", "surfboard", "skis", "tent", "fire", "knife",
    "bottle", "wine glass", "coffee cup", "pizza", "cake", "bread", "cheese", "apple", "banana", "orange",
    "salad", "soup", "fish", "crab", "butterfly", "bee", "spider", "snake", "frog", "turtle", "elephant",
    "lion", "bear", "deer", "rabbit", "sheep", "cow", "pig", "chicken", "duck", "owl", "eagle", "dolphin",
    "shark", "penguin", "monkey", "camel", "giraffe", "baby", "bride", "soldier", "doctor", "nurse", "chef",
    "farmer", "dancer", "singer", "drummer", "violin", "piano", "telephone", "keyboard", "camera", "television",
    "robot", "truck", "bus", "motorcycle", "tractor", "ship", "helicopter", "rocket",
)  # fmt: skip
_DEEDS = (
    "jumping over a fence", "riding a wave", "climbing a rock", "running after a ball", "playing in the mud",
    "cooking dinner", "reading a newspaper on a bench", "waiting for the bus", "crossing the road",
    "fixing a car", "blowing out candles", "taking a photograph", "kicking a football", "swimming under water",
    "throwing a stick", "painting a wall", "shaking hands", "sleeping on a sofa", "sitting around a campfire",
    "looking at the camera", "holding hands", "wearing a helmet", "carrying a heavy box",
    "drinking from a fountain", "walking the dog", "dancing at a wedding", "skating down a ramp",
    "sledding down a hill", "building a sandcastle", "fishing",
)  # fmt: skip
_SOMEBODY = (
    "a boy in a striped shirt", "a girl with long hair", "three men", "a little dog", "a man with a beard",
    "two women", "a crowd", "a person", "a young couple", "the team in white", "several tourists", "a toddler",
)  # fmt: skip
_FORMS = (
    "{}", "a photo of a {}", "a drawing of a {}", "close-up of a {}", "many {}s", "a {} in the background",
    "an old {}", "a blurry picture of a {}", "my {}", "where is the {}?", "{} at night",
    "small {}, white background",
)  # fmt: skip
_MOODS = (
    "happiness", "loneliness", "a storm is coming", "summer holidays", "Christmas morning", "the good old days",
    "something dangerous", "a quiet place", "celebration", "danger, keep out", "speed",
    "winter in the mountains", "city lights", "a family dinner", "the first day of school", "graduation",
    "moving house", "spring", "autumn leaves", "an accident", "rush hour", "a long journey", "victory",
    "a funny face", "love", "old age", "friendship", "home", "work", "abstract shapes", "red and blue stripes",
    "a lot of green", "dark", "bright and colourful", "sepia", "symmetry", "reflection in the water",
    "shadow on the wall", "out of focus", "seen through a window", "panorama",
)  # fmt: skip
N_PROBES = 1024
"""Captions that an exported encoder keeps the vectors of."""


def probe_texts(n: int = 256) -> list[str]:
    """Return n distinct captions, at most 1,024, the same every time.

    The first 256 are short and alike. Those that follow are single words, questions, what somebody does, moods and
    colours in no order, so that every other one is a fair sample of all.
    """
    alike = [f"{who} {where}".strip() for where, who in product(_DOING, _WHO)]
    named = [
        _FORMS[(i + shift) % len(_FORMS)].format(thing) for shift in (0, 5, 8) for i, thing in enumerate(_THINGS)
    ]
    done = [f"{who} {what}" for what, who in product(_DEEDS, _SOMEBODY)]
    varied = sorted([*named, *done, *_MOODS], key=lambda text: crc32(text.encode()))
    return list(dict.fromkeys([*alike, *varied]))[: min(n, N_PROBES)]
