"""The viewer in a headless browser: what a reader sees, and that nothing is asked of another machine."""

import importlib.util
import io
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from viewer_slides import CLASSES, HOT, SIDE, SIZE

pytestmark = pytest.mark.extras
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-first-run",
]  # fmt: skip
GLASS_AT = (690, 300)
YELLOW = (253, 231, 36)  # of probability 1


def find_browser(playwright) -> str | None:
    """A Chromium: the one named by PLAYWRIGHT_CHROMIUM, playwright's own, or the system's."""
    found = [os.environ.get("PLAYWRIGHT_CHROMIUM"), playwright.chromium.executable_path]
    found += [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
    return next((path for path in found if path and Path(path).is_file()), None)


@pytest.fixture(scope="module")
def browser():
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("playwright is not installed (extra dev)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = find_browser(playwright)
        if path is None:
            pytest.skip("no Chromium found (set PLAYWRIGHT_CHROMIUM)")
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def tab(browser, server):
    """The page, with lists of what went wrong and what was asked for."""
    tab = browser.new_page(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
    tab.wrong, tab.asked = [], []
    tab.on("console", lambda message: tab.wrong.append(message.text))
    tab.on("pageerror", lambda error: tab.wrong.append(str(error)))
    tab.on("requestfailed", lambda request: tab.wrong.append(request.url))
    tab.on("response", lambda reply: tab.wrong.append(f"{reply.status} {reply.url}") if reply.status != 200 else None)
    tab.on("request", lambda request: tab.asked.append(request.url))
    tab.goto(server.url)
    tab.wait_for_selector("#typical button")
    settled(tab)
    yield tab
    tab.close()


@pytest.fixture
def page(tab):
    """The page as it is when it opens."""
    tab.keyboard.press("Escape")
    tab.select_option("#class", "0")
    tab.fill("#opacity", "40")
    tab.uncheck("#stretch")
    tab.evaluate("() => document.activeElement.blur()")
    tab.keyboard.press("0")
    settled(tab)
    return tab


def until(true, what):
    """Wait for something; the page's policy forbids the browser to wait by itself."""
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def settled(tab):
    """Wait until nothing moves and every tile is there."""
    state = (
        "() => slideViewer.world.getItemAt(0).getFullyLoaded() && document.querySelector('.heat').complete && "
        "JSON.stringify(slideViewer.viewport.getBounds(true)) == JSON.stringify(slideViewer.viewport.getBounds())"
    )
    until(lambda: tab.evaluate(state), "the slide is loaded")
    time.sleep(0.2)  # for the frame that draws it


def on_screen(tab, x, y):
    """Where a level-0 pixel of the slide is on the screen."""
    code = (
        "([x, y]) => { const e = document.getElementById('slide').getBoundingClientRect();"
        " const p = slideViewer.viewport.imageToViewerElementCoordinates(new OpenSeadragon.Point(x, y));"
        " return [p.x + e.left, p.y + e.top]; }"
    )
    return tab.evaluate(code, [x, y])


def box(tab, selector):
    """Left, top, right, bottom of an element."""
    code = (
        "(s) => { const b = document.querySelector(s).getBoundingClientRect();"
        " return [b.left, b.top, b.right, b.bottom]; }"
    )
    return tab.evaluate(code, selector)


def picture(tab):
    from PIL import Image

    with Image.open(io.BytesIO(tab.screenshot())) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def click(tab, place, shown):
    """Click until something shows: a busy machine may lose a press, and a reader would press again."""
    from playwright.sync_api import TimeoutError as Late

    for _ in range(3):
        tab.mouse.click(*place)
        try:
            return tab.wait_for_selector(shown, timeout=15_000)
        except Late:
            continue
    raise AssertionError(f"three clicks at {place} did not show {shown}")


def click_tile(tab, x, y):
    click(tab, on_screen(tab, x, y), "#tile:not([hidden])")


def test_it_opens_without_a_complaint_and_asks_nobody_else(page, server) -> None:
    assert page.wrong == []
    origin = server.url.rsplit("/1/", 1)[0] + "/"
    assert [url for url in page.asked if not url.startswith((origin, "data:"))] == []
    assert any("/slide_files/" in url for url in page.asked)
    assert page.title() == "Slide 1"
    assert page.inner_text(".verdict") == CLASSES[0]
    x, y = on_screen(page, *GLASS_AT)
    assert picture(page)[round(y), round(x)].tolist() == [243, 243, 243]  # glass, from a tile


@pytest.mark.parametrize("zoom", [0, 2, 5])
def test_the_heat_map_lies_on_its_tiles(page, zoom) -> None:
    for _ in range(zoom):
        page.keyboard.press("+")
    settled(page)
    corners = [*on_screen(page, 128, 64), *on_screen(page, 640, 448)]
    np.testing.assert_allclose(box(page, ".heat"), corners, atol=0.05)


def test_the_hot_tile_is_bright_exactly_where_it_is(page) -> None:
    page.fill("#opacity", "100")
    settled(page)
    seen = picture(page)[:, : int(box(page, "#slide")[2])]
    bright = np.argwhere(np.abs(seen - YELLOW).sum(2) < 12)
    left, top = on_screen(page, *HOT)
    right, bottom = on_screen(page, HOT[0] + SIDE, HOT[1] + SIDE)
    np.testing.assert_allclose(bright.min(0), (top, left), atol=1)
    np.testing.assert_allclose(bright.max(0) + 1, (bottom, right), atol=1)
    assert len(bright) >= 0.97 * (right - left - 1) * (bottom - top - 1)


def test_opacity_changes_what_is_seen(page) -> None:
    x, y = (round(value) for value in on_screen(page, HOT[0] + 32, HOT[1] + 32))
    purple = np.array((120, 60, 150))
    for percent in (0, 40, 100):
        page.fill("#opacity", str(percent))
        settled(page)
        expected = (1 - percent / 100) * purple + percent / 100 * np.array(YELLOW)
        assert np.abs(picture(page)[y, x] - expected).max() <= 4, percent
        assert page.inner_text("#opacity-text") == f"{percent}%"
    page.keyboard.press("h")
    settled(page)
    assert np.abs(picture(page)[y, x] - purple).max() <= 4
    assert page.inner_text("#opacity-text") == "off (h)"
    page.keyboard.press("h")
    settled(page)
    assert np.abs(picture(page)[y, x] - YELLOW).max() <= 4


def test_another_class_has_another_map(page) -> None:
    page.fill("#opacity", "100")
    page.select_option("#class", "1")
    settled(page)
    seen = picture(page)
    for place, colour in ((HOT, (68, 1, 84)), ((HOT[0] + SIDE, HOT[1]), YELLOW)):
        x, y = (round(value) for value in on_screen(page, place[0] + 32, place[1] + 32))
        assert np.abs(seen[y, x] - colour).max() <= 2
    page.check("#stretch")
    assert page.inner_text("#high") == "1.000"


def test_a_click_shows_the_scores_and_the_nearest_texts(page) -> None:
    click_tile(page, HOT[0] + 50, HOT[1] + 10)
    names = page.locator(".score .name").all_inner_texts()
    values = [float(text) for text in page.locator(".score .value").all_inner_texts()]
    assert names == CLASSES
    assert values == [1.0, 0.0]
    texts = page.locator(".score").nth(0).locator("li").all_inner_texts()
    assert len(texts) == 3
    assert all("carcinoma <b>" in text for text in texts)  # as text
    assert page.inner_text("#where").startswith("Top left corner at x 256, y 192; 64 pixels wide (32 µm)")
    np.testing.assert_allclose(
        box(page, ".outline"), [*on_screen(page, *HOT), *on_screen(page, HOT[0] + SIDE, HOT[1] + SIDE)], atol=0.05
    )
    _, top, _, bottom = box(page, "#scores")
    assert 0 <= top < bottom <= 800  # in view without scrolling
    click_tile(page, HOT[0] - 5, HOT[1] + 10)
    until(lambda: page.locator(".score .value").all_inner_texts() == ["0.000", "1.000"], "the tile beside it")
    page.mouse.click(*on_screen(page, *GLASS_AT))
    until(lambda: page.locator("#tile").is_hidden(), "glass has no tile")
    assert "No tile was scored here" in page.inner_text("#hint")
    assert page.locator(".outline").count() == 0


def test_the_most_typical_tile_is_shown(page) -> None:
    page.click("#typical button:first-child")
    page.wait_for_selector("#tile:not([hidden])")
    settled(page)
    left, top, right, bottom = box(page, ".outline")
    assert 0 < left < right < box(page, "#slide")[2]
    assert 0 < top < bottom < 800
    assert right - left > 200
    assert page.locator("#typical button[aria-pressed=true]").all_inner_texts() == ["1"]
    assert page.inner_text("#where").startswith("Top left corner at x 256, y 192;")


def test_keys_move_and_the_library_adds_none(page) -> None:
    def bounds():
        settled(page)
        return page.evaluate("() => { const b = slideViewer.viewport.getBounds(); return [b.x, b.y, b.width]; }")

    home = bounds()
    page.keyboard.press("+")
    near = bounds()
    assert near[2] == pytest.approx(home[2] / 1.5)
    page.keyboard.press("ArrowRight")
    assert bounds()[0] > near[0]
    page.keyboard.press("ArrowDown")
    assert bounds()[1] > near[1]
    page.keyboard.press("-")
    assert bounds()[2] == pytest.approx(home[2])
    page.keyboard.press("0")
    assert bounds() == pytest.approx(home)
    page.focus(".openseadragon-canvas")
    page.keyboard.press("+")
    assert bounds()[2] == pytest.approx(home[2] / 1.5)  # once, not twice
    for key in ("r", "f", "R"):
        page.keyboard.press(key)
    assert page.evaluate("() => [slideViewer.viewport.getRotation(), slideViewer.viewport.getFlip()]") == [0, False]
    page.focus("#opacity")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#opacity-text") == "41%"


def test_the_scale_bar_is_as_long_as_it_says(page) -> None:
    for _ in range(3):
        length, unit = page.inner_text("#bar-text").split()
        um = float(length) * {"µm": 1, "mm": 1000}[unit]
        left, _, right, _ = box(page, "#bar")
        (x0, _), (x1, _) = on_screen(page, 0, 0), on_screen(page, um / 0.5, 0)
        assert right - left == pytest.approx(x1 - x0, abs=0.5)
        assert 60 < right - left <= 160
        page.keyboard.press("+")
        settled(page)


def test_a_narrow_window_shows_everything_below_each_other(page) -> None:
    page.set_viewport_size({"width": 400, "height": 800})
    try:
        until(lambda: page.evaluate("() => slideViewer.viewport.getContainerSize().x") == 400, "the viewer is narrow")
        page.keyboard.press("0")
        settled(page)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 400
        assert box(page, "#slide")[3] <= box(page, "aside")[1] + 1
        assert on_screen(page, SIZE[0], 0)[0] <= 401
        click_tile(page, *HOT)
        settled(page)
        _, top, _, bottom = box(page, "#slide")
        assert (top, bottom) == (0, pytest.approx(400, abs=1))  # the slide stays
        assert 400 <= box(page, "#scores")[1] < 600
    finally:
        page.set_viewport_size({"width": 1280, "height": 800})


def test_a_server_that_is_gone_is_said(browser, answer, run_viewer) -> None:
    tab = browser.new_page(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
    with run_viewer(answer) as server:
        tab.goto(server.url)
        tab.wait_for_selector("#typical button")
        settled(tab)
        place = on_screen(tab, *HOT)
        tab.route("**/*", lambda route: route.abort())
        click(tab, place, "#trouble:not([hidden])")
        assert "Is medvlp serve still running?" in tab.inner_text("#trouble")
    tab.close()
