"""Where a shot begins: by the colours of pictures, judged against those around."""

from __future__ import annotations

import numpy as np
import pytest

from mmsearch.film.cuts import HEIGHT, WIDTH, WINDOW, CutFinder, colours_of
from tests.films import photograph


def small(name):
    pixels = photograph(name, WIDTH, HEIGHT)[..., ::-1]
    return np.concatenate([pixels, np.zeros((HEIGHT, WIDTH, 1), np.uint8)], axis=2)


def cuts(pictures, rate=25):
    finder, decided = CutFinder(), []
    for number, picture in enumerate(pictures):
        finder.look(number / rate, colours_of(picture))
        decided += finder.decided()
    decided += finder.decided(is_end=True)
    assert len(decided) == len(pictures)
    return [number for number, (_, is_cut) in enumerate(decided) if is_cut]


def moving(name, n, step=1):
    return [np.roll(small(name), step * number, axis=1) for number in range(n)]


def test_likeness_is_one_with_itself_and_nothing_without_a_common_colour():
    red, blue = np.zeros((2, HEIGHT, WIDTH, 4), np.uint8)
    red[..., 2], blue[..., 0] = 255, 255
    assert colours_of(red) @ colours_of(red) == pytest.approx(1)
    assert colours_of(red) @ colours_of(blue) == 0


def test_the_same_colours_in_other_quarters_are_another_picture():
    left = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    left[:, : WIDTH // 2] = 255
    assert colours_of(left) @ colours_of(left[:, ::-1].copy()) == pytest.approx(0)


def test_a_shot_begins_with_its_first_picture():
    assert cuts(moving("cat", 40) + moving("panda", 40) + moving("drum", 40)) == [40, 80]


@pytest.mark.parametrize("n_after", [1, 2, WINDOW])
def test_a_shot_begins_at_the_end_of_a_film_too(n_after):
    assert cuts(moving("cat", 40) + moving("panda", n_after)) == [40]


def test_what_fades_or_moves_fast_begins_no_shot():
    first, second = small("cat").astype(float), small("panda").astype(float)
    fade = [(first + (second - first) * share).astype(np.uint8) for share in np.linspace(0, 1, 30)]
    assert cuts([small("cat")] * 20 + fade + [small("panda")] * 20) == []
    assert cuts(moving("cat", 60, step=9)) == []


def test_a_small_change_in_what_stands_still_begins_no_shot():
    changed = small("cat").copy()
    changed[4:16, 4:24] = 0
    assert cuts([small("cat")] * 30 + [changed] * 30) == []


def test_no_shot_begins_within_half_a_second_of_another():
    assert cuts(moving("cat", 40) + moving("panda", 5) + moving("drum", 40)) == [40]


def test_what_may_be_a_cut_is_known_at_once_and_is_little_else():
    pictures = moving("cat", 40) + moving("panda", 40)
    finder = CutFinder()
    may_be = [number for number, each in enumerate(pictures) if finder.look(number / 25, colours_of(each))[1]]
    assert may_be == [40]
