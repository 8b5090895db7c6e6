"""Pictures: decoded exactly, of one size, one mode, and no more than memory holds."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from kdsearch.data import pictures
from kdsearch.data.pictures import Pictures
from kdsearch.errors import DataError
from tests.data.small import encoded, image

COLOUR, GREY = image(0, 1), image(1, 1, channels=1)


def decoded(*contents, **law):
    named = [(f"picture {number}", content) for number, content in enumerate(contents)]
    source = Pictures([len(c) for c in contents], lambda rows: (named[r] for r in rows), **law)
    return source.decoded(np.arange(len(named)))


def in_mode(mode, pixels=COLOUR):
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze()).convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


def test_pixels_and_order_are_kept(monkeypatch):
    monkeypatch.setattr(pictures, "_BATCH", 4)
    images = [image(number, 0) for number in range(11)]
    expected = np.stack(images).transpose(0, 3, 1, 2)
    assert np.array_equal(decoded(*map(encoded, images)), expected)


def test_the_first_picture_decides_between_grey_and_colour():
    assert decoded(encoded(GREY), in_mode("1")).shape == (2, 1, 8, 8)
    mixed = decoded(encoded(COLOUR), encoded(GREY), in_mode("RGBA"), in_mode("P"))
    assert mixed.shape == (4, 3, 8, 8)
    assert np.array_equal(mixed[1], GREY.transpose(2, 0, 1).repeat(3, axis=0))
    assert np.array_equal(mixed[2], mixed[0])


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_converts_all(channels):
    images = decoded(encoded(GREY), encoded(COLOUR), channels=channels)
    assert images.shape == (2, channels, 8, 8)
    assert np.array_equal(images[0][0], GREY[..., 0])


def test_size_resizes_the_shorter_side_and_keeps_the_centre():
    wide = np.zeros((8, 32, 3), dtype=np.uint8)
    wide[:, 12:20] = 200  # the centre square
    images = decoded(encoded(wide), encoded(COLOUR), size=4)
    assert images.shape == (2, 3, 4, 4)
    assert np.all(images[0][:, :, 1:3] == 200)
    assert np.array_equal(decoded(encoded(COLOUR), size=8)[0], COLOUR.transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (
            [encoded(image(0, 0)), encoded(image(0, 0, side=9))],
            "pictures must be of one size, but picture 0 is 8x8 and picture 1 is 9x9."
            " Say `size: 8`, which resizes the shorter side and keeps the centre.",
        ),
        (
            [encoded(GREY), encoded(COLOUR)],
            "pictures must be all grey or all in colour, but picture 0 is grey and picture 1 is"
            " not. Say `channels: 3` or `channels: 1`.",
        ),
        ([in_mode("I;16", GREY)], "8 bits per channel, but picture 0 has the mode I;16. Convert"),
        ([encoded(GREY), b"nonsense"], "picture 1 is not: it is of no format that Pillow knows"),
        ([encoded(image(0, 0, side=64))[:-3000]], "every picture must be decodable, but picture 0"),
    ],
)
def test_a_picture_that_does_not_fit_is_named(contents, message):
    with pytest.raises(DataError, match=re.escape(message)):
        decoded(*contents)


def test_more_than_memory_is_refused_with_the_arithmetic(monkeypatch):
    monkeypatch.setattr(pictures, "available_memory", lambda: 2**30)
    source = Pictures([], lambda rows: iter([("a", encoded(image(0, 0, side=256)))]))
    law = "10,000 x 3 x 256 x 256 bytes are 1.8 GiB and 1.0 GiB are available"
    with pytest.raises(DataError, match=rf"{law}.*`size`.*`per_class`"):
        source.decoded(np.arange(10_000))


def test_the_available_memory_is_some_but_not_endless():
    assert 2**20 < pictures.available_memory() < 2**50
