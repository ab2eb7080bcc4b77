"""Forms of values beside the tree."""

import base64
import io
import json
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from PIL import Image

from berrymq.bridge import Opaque
from berrymq_jupyter.widgets.kinds import form_of, kind_of_form, picture_of


class Hostile(list):
    """Raises when it is looked at."""

    def __getattribute__(self, name):
        raise RuntimeError(name)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ([{"a": 1}, {"b": 2}], "table"),
        (({"a": 1},), "table"),
        ([], ""),
        ([{}], ""),
        ([{"a": 1}, 2], ""),
        ([{1: 1}], ""),
        ("text", ""),
        (b"", ""),
        (b"x", "hex"),
        (bytearray(5), "hex"),
        (memoryview(b"xy")[::-1], "hex"),
    ],
)
def test_a_value_has_the_form_that_fits(value, kind):
    assert kind_of_form(value) == kind
    assert form_of(value)["as"] == kind


def test_a_value_that_cannot_be_looked_at_has_none():
    assert kind_of_form(Hostile()) == ""


def test_a_table_has_each_key_once_and_says_what_it_leaves_out():
    form = form_of([{"a": 1, "b": "x\u202e"}, {"c": [1, 2]}] * 400 + [7])
    assert form["columns"] == ["a", "b", "c"]
    assert form["rows"][:2] == [["1", "x\\u202e", None], [None, None, "[1, 2]"]]
    assert (len(form["rows"]), form["moreRows"], form["moreColumns"]) == (500, 301, 0)
    assert form_of([{f"key {n}": n for n in range(100)}])["moreColumns"] == 60


MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (MOMENT, "2026-01-02 03:04:05+00:00"),
        (date(2026, 1, 2), "2026-01-02"),
        (timedelta(hours=1), "1:00:00"),
        (Decimal("1.50"), "1.50"),
        (pd.Timestamp(MOMENT), "2026-01-02 03:04:05+00:00"),
        (pd.Timedelta("1h"), "0 days 01:00:00"),
        (pd.Period("2026-01"), "2026-01"),
        (np.datetime64("2026-01-02"), "2026-01-02"),
        (np.float64(0.5), "0.5"),
        ("text", "text"),
        ([1, "a"], "[1, 'a']"),
    ],
    ids=repr,
)
def test_a_cell_reads_as_its_value_does(value, text):
    assert form_of([{"a": value}])["rows"] == [[text]]
    assert form_of(pd.DataFrame({"a": pd.Series([value], dtype=object)}))["rows"] == [[text]]


def test_moments_of_a_table_are_readable():
    frames = pd.DataFrame({"when": pd.date_range("2026-01-02", periods=2, freq="h")})
    assert form_of(frames)["rows"] == [["2026-01-02 00:00:00"], ["2026-01-02 01:00:00"]]


def test_bytes_are_digits_and_text():
    form = form_of(b"berry\x00MQ\xff-2009 and on" + bytes(5000))
    assert form["lines"][0] == "0000  62 65 72 72 79 00 4d 51 ff 2d 32 30 30 39 20 61  berry.MQ.-2009 a"
    assert (len(form["lines"]), form["more"]) == (256, 21 + 5000 - 4096)
    assert form_of(memoryview(b"ab")[::-1])["lines"] == [f"0000  62 61{' ' * 44}ba"]


def test_an_array_is_shown_by_facts_range_and_pictures():
    form = form_of(np.arange(12.0).reshape(3, 4))
    assert form["facts"] == ["float64 · 3 x 4 · 96 bytes", "0 to 11"]
    assert [picture[3] for picture in form["pictures"]] == ["heat map"]
    form = form_of(np.array([1.0, np.nan, 3.0]))
    assert form["facts"][1] == "1 to 3, 1 not finite"
    assert [picture[3] for picture in form["pictures"]] == ["line"]


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((20, 30, 3), "u1"), "image"),
        (np.ones((4, 20, 30), "f4"), "image"),
        (np.array([[[0, 1, np.inf]], [[0.5, np.nan, 1]]]), "image"),
        (np.full((2, 2, 3), np.nan), "heat map of [0]"),
        (np.full((20, 30, 3), -1.0), "heat map of [0]"),
        (np.zeros((2, 5, 20, 30)), "heat map of [0, 0]"),
        (np.arange(1000) % 7, "line through every 11th number"),
        (np.arange(5, dtype=">i2"), "line"),
        (np.array([1 + 2j, 3]), "line"),
        (np.array([True, False]), "line"),
        (np.array([np.inf, -np.inf, np.nan]), "line"),
        (np.array([[1e308, -1e308]]), "heat map"),
        (np.zeros((1, 1)), "heat map"),
        (np.asfortranarray(np.zeros((500, 4)))[::-1], "heat map"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_the_picture_is_the_one_that_fits_the_axes(array, words):
    form = form_of(array)
    assert form["as"] == "array"
    assert form["pictures"][0][3] == words
    for source, width, height, _ in form["pictures"]:
        assert_draws(source, width, height)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(0),
        np.zeros((0, 3)),
        np.zeros((3, 0, 3)),
        np.array(["a", "b"]),
        np.array([object(), 1]),
        np.zeros(3, [("a", "i4"), ("b", "f8")]),
        np.array(["2020-01-01"], "M8[D]"),
    ],
)
def test_what_holds_no_numbers_is_shown_by_its_facts(array):
    form = form_of(array)
    assert (form["as"], form["pictures"], len(form["facts"])) == ("array", [], 1)


class Huge:
    """An array of nine thousand million items, which counts those that are read."""

    shape = (10**7, 900)
    dtype = np.dtype("f8")
    nbytes = 8 * 9 * 10**9
    read = 0

    def __getitem__(self, key):
        stride = np.lib.stride_tricks.as_strided
        part = stride(np.arange(1000.0), self.shape, (0, 8))[key]
        self.read += part.size
        return part

    def __array__(self, *_, **__):
        raise AssertionError("read as a whole")


Huge.__module__ = "numpy"


def test_of_a_large_array_a_sample_is_read_and_a_few_kilobytes_are_sent():
    huge = Huge()
    form = form_of(huge)
    assert form["facts"][0] == "float64 · 10,000,000 x 900 · 72 GB"
    assert re.fullmatch(r"0 to 8\d\d \(of a sample of \d,\d{3} of 9,000,000,000\)", form["facts"][1])
    assert huge.read < 20_000
    assert len(json.dumps(form)) < 8_000
    noise = np.random.default_rng(1).integers(0, 255, (3000, 3000, 3)).astype("u1")
    assert len(json.dumps(form_of(noise))) < 150_000


def test_memory_of_another_device_is_left_alone():
    class Remote(np.ndarray):
        device = "cuda:0"

        def __getitem__(self, key):
            raise AssertionError("fetched")

    Remote.__module__ = "torch"
    form = form_of(np.zeros((4, 4)).view(Remote))
    assert form == {"as": "array", "facts": ["float64 · 4 x 4 · 128 bytes on cuda:0"], "pictures": []}
    assert picture_of(np.zeros((4, 4)).view(Remote)) is None


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame({"name": ["<b>", "x" * 100], "loss": [0.5, None]}),
        pl.DataFrame({"name": ["<b>", "x" * 100], "loss": [0.5, None]}),
        pa.table({"name": ["<b>", "x" * 100], "loss": [0.5, None]}),
    ],
    ids=["pandas", "polars", "pyarrow"],
)
def test_a_table_is_its_first_rows_with_dtypes(table):
    form = form_of(table)
    assert (form["as"], form["columns"]) == ("frame", ["name", "loss"])
    assert "2 x 2" in form["facts"]
    assert [row[0] for row in form["rows"]] == ["<b>", "x" * 31 + "…"]
    assert form["rows"][0][1] == "0.5"
    assert len(form["types"]) == 2
    assert all(form["types"])


@pytest.mark.parametrize("library", [pd, pl])
def test_a_column_and_a_wide_table_say_what_they_leave_out(library):
    assert form_of(library.Series("loss", range(5)) if library is pl else library.Series(range(5)))["rows"][
        4
    ] == ["4"]
    wide = form_of(library.DataFrame({f"c{n}": range(1000) for n in range(100)}))
    assert (len(wide["rows"]), len(wide["columns"])) == (10, 12)
    assert (wide["moreRows"], wide["moreColumns"]) == (990, 88)
    assert len(json.dumps(wide)) < 8_000


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "I;16", "F"])
def test_an_image_is_a_thumbnail_that_is_written_here(mode):
    form = form_of(Image.new(mode, (3000, 100)))
    assert form["facts"] == [f"{mode} · 3,000 x 100 pixels"]
    assert_draws(*form["pictures"][0][:3])
    assert len(json.dumps(form)) < 13_000


@pytest.mark.parametrize(("rows", "columns"), [(480, 640), (1200, 300), (50, 40), (30, 3000), (5000, 3)])
def test_a_matrix_keeps_its_proportions(rows, columns):
    _, width, height, _ = form_of(np.arange(rows * columns * 1.0).reshape(rows, columns))["pictures"][0]
    assert width / height == pytest.approx(min(max(columns / rows, 1 / 16), 8), rel=0.2)


def test_an_image_can_be_looked_at_and_is_small_in_a_row():
    image = Image.effect_noise((1920, 1080), 50)
    ((_, width, height, words),) = form_of(image)["pictures"]
    assert (width, height, words) == (192, 108, "thumbnail")
    assert form_of(image.resize((150, 100)))["pictures"][0][1:] == [150, 100, "image"]
    array = np.asarray(image.convert("RGB"))
    assert form_of(array)["pictures"][0][1:] == [192, 108, "image"]
    for value in (image, array):
        source = base64.b64decode(picture_of(value).source.partition(",")[2])
        assert max(Image.open(io.BytesIO(source)).size) <= 48


def test_a_large_image_that_is_not_decoded_yet_stays_so():
    file = io.BytesIO()
    Image.new("1", (3000, 3000)).save(file, "PNG")
    image = Image.open(file)
    assert form_of(image) == {"as": "image", "facts": ["1 · 3,000 x 3,000 pixels"], "pictures": []}
    assert picture_of(image) is None
    assert image.tile
    image.load()
    assert len(form_of(image)["pictures"]) == 1


def test_an_opaque_value_says_what_it_is():
    form = form_of(Opaque("sklearn.<b>", "Pipeline(\u202e)" + "x" * 5000))
    assert (form["as"], form["type"]) == ("opaque", "sklearn.<b>")
    assert form["text"].startswith("Pipeline(\\u202e)")
    assert len(form["text"]) == 2005  # the mark is written as six characters


def test_a_saved_form_has_the_picture_as_an_image_and_nothing_of_a_message_as_markup():
    html = picture_of(np.eye(3)).html(32)
    assert html.startswith("<img ")
    assert "width:32px;height:32px" in html
    assert picture_of("<img>") is None


def assert_draws(source, width, height):
    """Assert that a picture can be decoded, and is small."""
    kind, _, data = source.partition(";base64,")
    content = base64.b64decode(data)
    assert 0 < width <= 200
    assert 0 < height <= 200
    if kind == "data:image/png":
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            assert max(image.size) <= 192
    else:
        assert kind == "data:image/svg+xml"
        assert "nan" not in content.decode()
        assert ET.fromstring(content).tag.endswith("svg")
