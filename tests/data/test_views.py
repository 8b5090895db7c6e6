"""Views: each is a window of the padded image, chance is fair, and a name always gives the same."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kdsearch.data.views import Views, draws

PIXELS = torch.randint(1, 256, (200, 3, 8, 6), generator=torch.Generator().manual_seed(0)).byte()
ROWS = torch.arange(200)


def _splitmix64(state: int) -> int:
    """The reference in Python's own integers: state + golden gamma, then the finaliser."""
    mask = 2**64 - 1
    z = (state + 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def test_draws_are_splitmix64_of_the_name() -> None:
    assert _splitmix64(0) == 0xE220A8397B1DCDAF  # the published first output for seed 0
    for seed, view, row in [(0, 0, 0), (3, 7, 12345), (2**31, 239, 49_999)]:
        name = _splitmix64(seed * 1_000_003 + view)
        expected = _splitmix64((name + row) % 2**64) & (2**62 - 1)
        assert draws(seed, view, torch.tensor([row])).item() == expected


@pytest.mark.parametrize("view", [0, 5])
def test_a_view_is_a_window_of_the_padded_image_or_of_its_mirror(view: int) -> None:
    seen = Views(crop=2, flip=True)(PIXELS, ROWS, view)
    places = set()
    for image, source in zip(seen, PIXELS, strict=True):
        found = [
            (flipped, y, x)
            for flipped, side in ((False, source), (True, source.flip(2)))
            for y in range(5)
            for x in range(5)
            if torch.equal(F.pad(side, (2,) * 4)[:, y : y + 8, x : x + 6], image)
        ]
        assert len(found) == 1
        places.add(found[0])
    assert len(places) > 45  # of the 50 there are


def test_chance_is_fair_over_rows_and_over_views() -> None:
    """Chi-squared over 18 offsets and mirrors; the bound is its 99.99 % quantile at 17 degrees."""
    many = torch.arange(18_000)
    for bits in (draws(0, 3, many), torch.cat([draws(0, v, many[:100]) for v in range(180)])):
        cells = (bits & 1) + 2 * ((bits >> 1) % 9)
        counts = torch.bincount(cells, minlength=18).double()
        assert ((counts - 1000).square() / 1000).sum() < 49.7


def test_a_view_does_not_depend_on_the_batch() -> None:
    views, order = Views(crop=4, flip=True), torch.randperm(200)
    whole = views(PIXELS, ROWS, 3)
    assert torch.equal(views(PIXELS[order], ROWS[order], 3), whole[order])
    assert torch.equal(views(PIXELS[7:8], ROWS[7:8], 3), whole[7:8])


def test_other_names_give_other_views() -> None:
    views = Views(crop=4, flip=True)
    first = views(PIXELS, ROWS, 0)
    for other in (views(PIXELS, ROWS, 1), Views(crop=4, flip=True, seed=1)(PIXELS, ROWS, 0)):
        assert (first != other).flatten(1).any(dim=1).double().mean() > 0.95


def test_the_same_name_gives_the_same_view_on_any_day() -> None:
    """Golden numbers: they must outlive upgrades of torch and numpy."""
    assert draws(1, 2, torch.tensor([0, 1, 49_999])).tolist() == GOLDEN


GOLDEN = [3745224404758284061, 3917627665209841026, 2677387338119565884]


def test_without_crop_and_flip_the_images_are_themselves() -> None:
    views = Views()
    assert views.identity
    assert views(PIXELS, ROWS, 5) is PIXELS
    assert views.needed(240) == 0


def test_views_are_numbered_by_epoch_and_repeat_after_their_count() -> None:
    few = Views(crop=1, count=3)
    assert [few.of_epoch(epoch) for epoch in range(1, 8)] == [0, 1, 2, 0, 1, 2, 0]
    assert (few.needed(7), few.needed(2)) == (3, 2)
    assert (few.unlimited.of_epoch(7), few.unlimited.needed(240)) == (6, 240)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_sees_the_same_views() -> None:
    views = Views(crop=4, flip=True)
    there = views(PIXELS.cuda(), ROWS.cuda(), 3).cpu()
    assert np.array_equal(there.numpy(), views(PIXELS, ROWS, 3).numpy())
