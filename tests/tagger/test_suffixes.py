"""What is taken for a picture is what the decoder can read."""

from PIL import Image

from autotagger.tagger.suffixes import PICTURES, VIDEOS


def test_pillow_knows_every_suffix_that_is_taken_for_a_picture() -> None:
    Image.init()
    assert Image.EXTENSION.keys() >= PICTURES - {
        ".avif"
    }  # not in every build of Pillow: a file then fails, and says so
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in PICTURES | VIDEOS)
    assert not PICTURES & VIDEOS
