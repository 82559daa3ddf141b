"""Pages in Debian's chromium: they open without an error or a request, figures are drawn and can be used."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from comparison_files import EFFECTS, made_of, results, write
from handmade import make_network
from placed_network import placed

from v1builder.report import write_report
from v1builder.report.column import ShownColumn, save_column
from v1builder.report.network_page import write_network_page

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")
#: Software draws what a graphics card would.
FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
TIMEOUT_MS = 300_000
HOSTILE = "e<img src=x onerror=window.hacked=1></script><script>window.hacked=1</script>"
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}

#: Where on the page a cell is drawn, from the matrices of the camera.
PLACE = """([trace, point]) => {
  const node = document.getElementById("column"), scene = node._fullLayout.scene._scene;
  const { model, view, projection } = scene.glplot.cameraParams, data = node._fullData[trace];
  const scaled = ["x", "y", "z"].map((axis, i) => data[axis][point] * scene.dataScale[i]);
  const apply = (m, v) =>
    [0, 1, 2, 3].map((row) => v.reduce((sum, one, col) => sum + m[4 * col + row] * one, 0));
  const [x, y, , w] = [model, view, projection].reduce((v, m) => apply(m, v), [...scaled, 1]);
  const box = scene.container.getBoundingClientRect();
  return [box.x + (box.width * (1 + x / w)) / 2, box.y + (box.height * (1 - y / w)) / 2];
}"""


def wait_for(page, expression):
    """Until it is true; the page forbids what playwright's own waiting is made of."""
    for _ in range(TIMEOUT_MS // 100):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(100)
    raise TimeoutError(expression)


def small_column():
    """Six cells in a row below another; every cell hears the one above it."""
    n = 6
    every = np.arange(n, dtype=np.int32)
    return ShownColumn(
        x=np.zeros(n, np.float32),
        y=np.linspace(-600, -100, n, dtype=np.float32),
        z=np.zeros(n, np.float32),
        population=np.array([HOSTILE] * 3 + ["i4Pvalb"] * 3),
        excitatory=every < 3,
        node_id=100 + every.astype(np.int64),
        drawn=every,
        chosen=every,
        source=every[1:],
        target=every[:-1],
        weight=np.array([4, 1, -4, -1, -4], np.float32),
        n_edges=n - 1,
    )


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def opened(browser, tmp_path_factory):
    """The page of a comparison."""
    cells = [
        {**cell, "confusion": [[9, 1], [2 if cell["ablation"] == "intact" else 8, 8]]}
        for cell in results(EFFECTS, seeds=3)
    ]
    run = write(tmp_path_factory.mktemp("browser") / "run", made_of(cells))
    save_column(small_column(), run / "column.npz")
    yield from shown(browser, write_report(run))


def shown(browser, path):
    """The page, drawn, and what the browser said and asked for meanwhile."""
    page = browser.new_page(viewport=WIDE)
    page.set_default_timeout(TIMEOUT_MS)
    said, asked = [], []
    page.on("console", lambda one: said.append(one.text) if one.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda one: asked.append(one.url))
    page.goto(path.as_uri(), wait_until="commit")
    page.wait_for_selector("body[data-drawn]", state="attached")
    yield SimpleNamespace(page=page, said=said, asked=asked)
    page.close()


def test_it_opens_without_an_error_or_a_request(opened):
    assert opened.said == []
    elsewhere = [url for url in opened.asked if not url.startswith(("data:", "blob:"))]
    assert [url.rpartition("/")[2] for url in elsewhere] == ["index.html"]
    assert opened.page.evaluate("window.hacked") is None
    offered = opened.page.evaluate(
        "[...document.querySelectorAll('.modebar-btn')].map((one) => one.dataset.title)"
    )
    assert "Zoom" in offered
    assert not [title for title in offered if "Share" in title or "Cloud" in title]


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["1280", "390"])
def test_figures_are_drawn_and_all_fits_the_width(opened, size):
    page = opened.page
    page.set_viewport_size(size)
    wait_for(
        page,
        "[...document.querySelectorAll('.canvas .main-svg')].every(e => e.clientWidth <= innerWidth)",
    )
    assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
    undrawn = page.evaluate(
        """[...document.querySelectorAll(".canvas")].filter((one) => one.offsetParent &&
        !one.querySelector(".scatterlayer path, .heatmaplayer image, .gl-container canvas"))
        .map((one) => one.id)"""
    )
    assert undrawn == []
    assert page.locator(".no-webgl").count() == 0
    beyond = page.evaluate(
        """[...document.querySelectorAll("main *")].filter((one) => !one.closest(".scroll, .canvas, pre") &&
        one.getBoundingClientRect().right > innerWidth + 1).map((one) => one.outerHTML.slice(0, 80))"""
    )
    assert beyond == []
    page.set_viewport_size(WIDE)


def test_a_click_on_a_cell_shows_its_inputs_and_outputs(opened):
    page = opened.page
    page.locator("#column").scroll_into_view_if_needed()
    wait_for(page, "document.getElementById('column')._fullLayout.width > 1000")
    for attempt in range(
        TIMEOUT_MS // 200
    ):  # what is under the pointer is known once it was drawn there
        page.locator("#column").scroll_into_view_if_needed()  # figures above it may still grow
        x, y = page.evaluate(PLACE, [0, 1])
        page.mouse.move(x + attempt % 2, y)
        page.wait_for_timeout(200)
        if page.locator("#column .hovertext").count():
            break
    page.mouse.down()
    page.mouse.up()
    line = page.locator("#column ~ .said")
    wait_for(page, "document.querySelector('#column ~ .said').textContent")
    assert line.text_content() == f"{HOSTILE}, cell 101: 1 inputs, 1 outputs within the network."
    y_of = page.evaluate(
        "document.getElementById('column').data.slice(-3).map((one) => [...one.z])"
    )
    assert [[round(one) for one in of] for of in y_of] == [[-400], [-600], [-500]]


def test_a_cell_is_chosen_from_the_list_with_the_keyboard(opened):
    page = opened.page
    page.select_option("#cells", label="i4Pvalb, cell 103")
    said = page.locator("#column ~ .said").text_content()
    assert said == "i4Pvalb, cell 103: 1 inputs, 1 outputs within the network."
    table = page.locator("#column ~ div td").all_text_contents()
    assert table == ["i4Pvalb", "1", "-1.0", HOSTILE, "1", "-4.0"]  # inputs, then outputs
    assert page.evaluate("window.hacked") is None


def test_dragging_and_keys_zoom_a_raster(opened):
    page = opened.page
    width = "document.getElementById('trial')._fullLayout.xaxis.range.reduceRight((b, a) => b - a)"
    page.locator("#trial").scroll_into_view_if_needed()
    whole = page.evaluate(width)
    box = page.locator("#trial .nsewdrag").nth(0).bounding_box()
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.5 * box["height"], steps=4)
    page.mouse.up()
    wait_for(page, f"{width} < {0.5 * whole}")
    assert page.evaluate(width) == pytest.approx(0.4 * whole, rel=0.02)
    page.locator("#trial").focus()
    page.keyboard.press("+")
    wait_for(page, f"{width} < {0.35 * whole}")
    assert page.evaluate(width) == pytest.approx(0.4 * 0.8 * whole, rel=0.02)
    page.keyboard.press("0")
    wait_for(page, f"{width} > {0.99 * whole}")


def test_the_reader_chooses_which_confusions_are_shown(opened):
    page = opened.page
    shown = "document.getElementById('confusion-retrain').data.map((one) => one.visible)"
    assert page.evaluate(shown) == [True, False, False, False]
    page.locator("figure:has(#confusion-retrain) select").select_option(label="mean(ei)")
    wait_for(page, f"{shown}[2]")
    assert page.evaluate(shown) == [False, False, True, False]


def test_paper_gets_pictures_and_no_controls(opened):
    page = opened.page
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    assert page.locator("#column > img").is_visible()
    assert not page.locator("#column .gl-container").is_visible()
    page.emulate_media(media="screen")


def test_the_page_of_a_network_shows_what_a_cell_sees(browser, tmp_path):
    network = placed(make_network())
    heard = network.edges["lgn_to_v1"]
    cell = int(heard.target_index[0])
    sees = network.nodes["lgn"].attributes["pop_name"][
        heard.source_index[heard.target_index == cell]
    ]
    for opened in shown(browser, write_network_page(network, tmp_path / "page.html")):
        page = opened.page
        assert opened.said == []
        assert page.locator(".no-webgl").count() == 0
        page.select_option("#cells", value=str(cell))
        words = f"{(sees == 'sON').sum()} ON inputs, {(sees != 'sON').sum()} others."
        wait_for(page, f"document.querySelector('#fields ~ .said').textContent.endsWith('{words}')")
        assert (
            page.evaluate("document.getElementById('fields').data[1].x.length")
            == (sees == "sON").sum()
        )
