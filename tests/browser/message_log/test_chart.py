"""What a chart shows is what there is: zoomed in, read by keyboard, in forced colours, reloaded, saved."""

import io
import re
from itertools import pairwise
from time import monotonic

import pytest
from playwright.sync_api import expect

from tests.browser.message_log.page import Log
from tests.browser.notebook import SCREENSHOTS, box_of

SPIKE = """
for step in range(60_000):
    twitter("sim:step", step, loss=50.0 if step == 30_000 else step % 2)
"""
UNEVEN = """
for step in range(0, 101):
    twitter("run:a", step, loss=step / 100)
    if step % 10 == 0 and step <= 60:
        twitter("run:b", step, loss=2 - step / 100)
log.chart("run:a", "loss", x=0)
log.chart("run:b", "loss")
"""
COLORS = """
(chart) => [...chart.querySelectorAll('.bmq-key-of')].map((key) => getComputedStyle(key).borderTopColor)
"""
DRAWN = """
(canvas) => {
    const [{ width, height }, found] = [canvas, {}];
    const data = canvas.getContext('2d').getImageData(0, 0, width, height).data;
    for (let at = 0; at < data.length; at += 4) {
        if (data[at + 3] < 255) continue;
        const color = `rgb(${data[at]}, ${data[at + 1]}, ${data[at + 2]})`;
        found[color] = (found[color] ?? 0) + 1;
    }
    return found;
}
"""


# Whatever waits for the next frame is drawn in it.
DRAWN_ANEW = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
RECORD = """
() => {
    const draw = CanvasRenderingContext2D.prototype.fillText;
    window.drawn = [];
    CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
        const place = this.getTransform().transformPoint({ x, y });
        window.drawn.push([text, place.x, place.y]);
        return draw.apply(this, arguments);
    };
}
"""
MARKS = """
() => {
    const lowest = Math.max(...window.drawn.map(([, , y]) => y));
    const last = window.drawn.findLastIndex(([, , y]) => y === lowest);
    const before = window.drawn.slice(0, last).findLastIndex(([, , y]) => y !== lowest);
    return window.drawn.slice(before + 1, last + 1).map(([text, x]) => [text, x / devicePixelRatio]);
}
"""


class Chart:
    """The chart of a log, by its parts."""

    def __init__(self, log):
        self.log = log
        self.element = log.view.get_by_role("group", name="Chart")
        self.plot = self.element.get_by_role("img")
        self.lines = self.element.get_by_role("list", name="Lines").get_by_role("button")
        self.axis = self.element.get_by_role("combobox", name="Horizontal axis")
        self.canvas = self.element.locator("canvas")
        self.place = self.element.locator(".bmq-chart-place")

    def press(self, *keys):
        self.plot.focus()
        self.log.press(*keys)

    def read(self, key):
        """Move the cursor of a chart with one line, and return what is said of it."""
        self.press(key)
        expect(self.log.said).to_contain_text(self.place.text_content())
        place, value = re.fullmatch(r"(\d+), loss ([\d.]+)", self.log.said.text_content()).groups()
        return int(place), float(value)

    def colors(self):
        return self.element.evaluate(COLORS)

    def save(self, kind):
        with self.log.notebook.page.expect_download() as download:
            self.element.get_by_role("button", name=kind).click()
        return download.value.path().read_bytes()


@pytest.fixture
def chart(log):
    return Chart(log)


def test_its_marks_are_those_of_its_width_after_a_resize(log, chart):
    log.notebook.execute(
        "for step in range(101): twitter('run:a', step, loss=step)\nlog.chart('run:a', 'loss', x=0)"
    )
    expect(chart.plot).to_have_attribute("aria-label", re.compile("101 points"))
    page = log.notebook.page
    page.evaluate(RECORD)
    for width, least in ((400, 3), (1280, 8), (500, 3)):
        before = chart.canvas.get_attribute("width")
        page.evaluate("window.drawn = []")
        page.set_viewport_size({"width": width, "height": 900})
        expect(chart.canvas).not_to_have_attribute("width", before)
        page.wait_for_function("window.drawn.length > 0")
        marks = page.evaluate(MARKS)
        assert len(marks) >= least, (width, marks)
        assert all(other - one >= 35 for (_, one), (_, other) in pairwise(marks)), (width, marks)


def test_zoomed_in_by_a_field_it_has_the_points_that_are_there(log, chart):
    log.notebook.execute("log.chart('sim:step', 'loss', x=0)")
    log.notebook.execute(SPIKE)
    expect(chart.plot).to_have_attribute("aria-label", re.compile("60,000 points"), timeout=30_000)
    expect(chart.axis).to_have_value('["0"]')
    chart.press("Home", *["ArrowRight"] * 30)
    expect(log.said).to_contain_text(re.compile(r"\d+, loss"))
    for _ in range(9):
        chart.press("+")
    expect(log.button("Whole")).to_be_enabled()
    begin, steps = monotonic(), {0}
    while steps != {1} and monotonic() < begin + 10:  # until what is between has come
        chart.press("Home")
        said = [chart.read("ArrowRight") for _ in range(20)]
        steps = {after - before for (before, _), (after, _) in pairwise(said)}
    assert steps == {1}
    assert all(value == place % 2 for place, value in said)


def test_zoomed_in_its_end_is_the_end_of_what_is_seen(log, chart):
    log.notebook.execute(UNEVEN)
    expect(chart.lines).to_have_text(["run:a1", "run:b1.4at 60"])
    chart.press("Home", "+")
    expect(chart.place).to_have_text("0")
    box = box_of(chart.element.locator(".u-over"))
    log.notebook.page.mouse.move(box["x"] + 5, box["y"] + 20)
    log.notebook.page.mouse.move(0, 0)
    expect(chart.place).to_have_text("At the right end")
    expect(chart.plot).to_have_attribute(
        "aria-label", re.compile(r"At the right end: run:a 0\.5, run:b 1\.5\. ")
    )
    expect(chart.lines).to_have_text(["run:a0.5", "run:b1.5"])
    chart.press("0")
    expect(chart.lines).to_have_text(["run:a1", "run:b1.4at 60"])


def test_the_table_at_the_cursor_says_where_its_values_are_from(log, chart):
    log.notebook.execute(UNEVEN)
    expect(chart.lines).to_have_count(2)
    chart.press("Home", *["ArrowRight"] * 6)
    expect(chart.place).to_have_text("6")
    expect(chart.lines).to_have_text(["run:a0.06", "run:b1.9at 10"])
    expect(log.said).to_have_text("6, run:a 0.06, run:b 1.9 at 10")
    width = box_of(chart.plot)["width"]
    chart.press("ArrowRight")
    expect(chart.place).to_have_text("7")
    assert box_of(chart.plot)["width"] == width
    log.notebook.screenshot("log-chart-cursor", of=log.view)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_lines_differ_where_colours_are_forced(log, chart, scheme):
    log.notebook.execute(UNEVEN)
    page = log.notebook.page
    page.emulate_media(forced_colors="active", color_scheme=scheme)
    try:
        expect(chart.lines).to_have_count(2)
        colors = chart.colors()
        assert len(set(colors)) == 2
        page.evaluate(DRAWN_ANEW)
        drawn = chart.canvas.evaluate(DRAWN)
        assert all(drawn.get(color, 0) > 50 for color in colors)
        log.notebook.screenshot(f"log-chart-forced-{scheme}", of=log.view)
    finally:
        page.emulate_media(forced_colors="none", color_scheme="light")


@pytest.mark.own_notebook
def test_lines_keep_their_colours_over_a_reload(log):
    log.notebook.execute(
        "for step in range(5): twitter('run:b', step, loss=step); twitter('run:a', step, loss=1)"
    )
    chart = Chart(log)
    log.notebook.execute("log.chart('run:a', 'loss')")
    expect(chart.lines).to_have_count(1)
    log.notebook.execute("log.chart('run:b', 'loss')")  # whose messages came first
    expect(chart.lines).to_have_count(2)
    log.notebook.execute("twitter('run:a', 5, loss=2)")
    names, colors = chart.lines.locator(".bmq-legend-name").all_text_contents(), chart.colors()
    log.notebook.save()
    log.notebook.page.reload()
    log.notebook.wait_for_kernel()
    again = Chart(Log(log.notebook))
    expect(again.lines).to_have_count(2)
    assert again.lines.locator(".bmq-legend-name").all_text_contents() == names
    assert again.colors() == colors


def test_its_images_have_what_the_page_has(log, chart):
    image = pytest.importorskip("PIL.Image")
    log.notebook.execute(UNEVEN)
    expect(chart.lines).to_have_count(2)
    colors = chart.colors()
    log.button("Logarithmic").click()
    chart.element.get_by_role("slider", name="Smoothing").fill("0.5")
    svg = chart.save("SVG").decode()
    texts = re.findall(r"<text[^>]*>([^<]*)<", svg)
    for text in (
        "run:a",
        "run:b",
        "0.1",
        "20",
        "by [0], logarithmic, smoothing 0.5",
        "run:a loss; run:b loss",
    ):
        assert text in texts
    assert svg.count('class="raw"') == 2
    png = image.open(io.BytesIO(chart.save("PNG"))).convert("RGB")
    canvas = box_of(chart.canvas)
    ratio = png.width / canvas["width"]
    assert png.height >= (canvas["height"] + 40) * ratio
    legend = png.crop((0, int((canvas["height"] + 28) * ratio), png.width, png.height))
    seen = {f"rgb({r}, {g}, {b})" for _, (r, g, b) in legend.getcolors(1 << 20)}
    assert set(colors) <= seen
    title = png.crop((0, 0, png.width, int(24 * ratio)))
    assert len(title.getcolors(1 << 20)) > 2
    (SCREENSHOTS / "log-chart-saved.svg").write_text(svg)
    png.save(SCREENSHOTS / "log-chart-saved.png")


def test_what_was_smoothed_stays_faint(log, chart):
    log.notebook.execute(UNEVEN)
    expect(chart.lines).to_have_count(2)
    chart.lines.nth(1).click()
    chart.element.get_by_role("slider", name="Smoothing").fill("0.9")
    color = chart.colors()[0]
    log.notebook.page.evaluate(DRAWN_ANEW)
    before = chart.canvas.evaluate(DRAWN)[color]
    box = box_of(chart.element.locator(".u-over"))
    for place in (0.2, 0.5, 0.7):
        log.notebook.page.mouse.move(box["x"] + box["width"] * place, box["y"] + box["height"] * (1 - place))
        log.notebook.page.evaluate(DRAWN_ANEW)
    log.notebook.page.mouse.move(0, 0)
    log.notebook.page.evaluate(DRAWN_ANEW)
    assert chart.canvas.evaluate(DRAWN)[color] == before


def test_the_time_axis_has_room_and_24_hours(log, chart):
    log.notebook.execute(
        "from berrymq import Message\n"
        "for step in range(100):\n"
        "    made = Message.make('run:a', (step,), {}, sent_at=1_800_000_000 + step * 0.03)\n"
        "    log.state.rows.collect(made)\n"
        "log.chart('run:a', 0)"
    )
    expect(chart.lines).to_have_count(1)
    chart.axis.select_option("Time")
    svg = chart.save("SVG").decode()
    texts = re.findall(r"<text[^>]*>([^<]*)<", svg)
    assert any(re.fullmatch(r"\d\d:\d\d:\d\d(\.\d+)?", text) for text in texts)
    assert any(re.fullmatch(r"\d{4}-\d\d-\d\d", text) for text in texts)
    assert not any(re.search("[ap]m", text) for text in texts)
    log.notebook.screenshot("log-chart-time", of=log.view)
    chart.axis.select_option("Order")
    log.notebook.screenshot("log-chart-order", of=log.view)
