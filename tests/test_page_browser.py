"""The page of a report in a real browser: drawn, readable, within the first screen, alone on its own."""

from __future__ import annotations

import base64
import json
import os
import shutil
import time
from dataclasses import replace
from functools import cache

import pytest

from helpers_axe import findings
from helpers_page import HOSTILE, NASTY, confusion, depth_chart, rich, small
from helpers_run import study_page
from helpers_soak import soak
from skythaw.report.figures.elements import Gallery, Section, figures_of
from skythaw.report.page.html_page import save_page

WIDE, PHONE = (1280, 800), (390, 844)
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars")
NEEDED = "needs chromium and chromedriver: apt-get install chromium chromium-driver"
CONTRAST = """
const part = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
const rgb = (colour) => colour.match(/[\\d.]+/g).map(Number);
function ground(element) {
  for (let e = element; e; e = e.parentElement) {
    const c = rgb(getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] === 1) return c;
  }
  return [255, 255, 255];
}
const all = [...document.querySelectorAll("h1,h2,h3,p,li,a,button,figcaption,summary,td,th,b,span,footer")];
const seen = all.filter((e) => e.textContent.trim() && e.checkVisibility() && !e.closest(".skip,.said,.modebar"));
return seen.map((e) => {
  const [a, b] = [light(rgb(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
  return [(a + 0.05) / (b + 0.05), e.tagName + ": " + e.textContent.trim().slice(0, 40)];
});
"""


class Window:
    """A browser with a page in it."""

    def __init__(self, driver, folder):
        self.driver, self.folder = driver, folder

    def __call__(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def tell(self, command, **arguments):
        return self.driver.execute_cdp_cmd(command, arguments)

    def find(self, selector):
        return self.driver.find_elements("css selector", selector)

    def click(self, selector):
        """Click on an element, once the page has it."""
        self.wait(f"document.querySelector({json.dumps(selector)})")
        self.find(selector)[0].click()

    def follow(self, selector):
        """Click on what leads to another page, and wait until that one is there: the old one is not looked at again."""
        self("window.left = true")
        self.click(selector)
        self.wait("!window.left && document.readyState === 'complete'")

    def wait(self, script, seconds=20.0):
        end = time.monotonic() + seconds
        while not (found := self("return " + script)):
            assert time.monotonic() < end, f"waited {seconds} s for {script}"
            time.sleep(0.05)
        return found

    def show(self, name="rich", size=WIDE, dark=False, drawn=True):
        mobile = size == PHONE
        self.tell(
            "Emulation.setDeviceMetricsOverride", width=size[0], height=size[1], deviceScaleFactor=1, mobile=mobile
        )
        self.tell("Emulation.setTouchEmulationEnabled", enabled=mobile)
        self.scheme("dark" if dark else "light")
        self.driver.get((self.folder / f"{name}.html").as_uri())
        if drawn:
            self.wait("document.body.dataset.drawn === document.body.dataset.figures")

    def scheme(self, name):
        features = [("prefers-color-scheme", name), ("prefers-reduced-motion", "reduce")]
        self.tell("Emulation.setEmulatedMedia", features=[{"name": n, "value": v} for n, v in features])

    def fetched(self):
        """Addresses that were asked for since the last call."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]

    def press(self, *keys):
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()


def missing():
    """A browser and its driver, or the reason not to look at the page."""
    browsers = [found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))]
    driver = shutil.which("chromedriver")
    if browsers and driver:
        return browsers[0], driver
    if os.environ.get("SKYTHAW_NO_SKIP") == "1":
        pytest.fail(NEEDED)
    return pytest.skip(NEEDED)


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    binary, service = missing()
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    folder = tmp_path_factory.mktemp("pages")
    for name, page in pages().items():
        save_page(page, folder / f"{name}.html")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(service))
    driver.set_script_timeout(20)
    driver.get("about:blank")  # away from the browser's own first page, which fetches its own parts
    driver.get_log("performance")
    yield Window(driver, folder)
    driver.quit()


@pytest.fixture
def window(started):
    """The browser; afterwards, nothing was asked of a network and nothing stands in the console."""
    started.fetched()
    yield started
    asked = [url for url in started.fetched() if not url.startswith(("file:", "data:", "blob:"))]
    complaints = started.driver.get_log("browser")
    started("try { localStorage.clear() } catch {}")
    assert not asked
    assert not complaints


@cache
def pages():
    page = rich()
    many = tuple(depth_chart(f"depth-{i}", seed=i) if i % 3 else confusion(f"confusion-{i}", i) for i in range(60))
    return {
        "rich": page,
        "small": small(),
        "study": study_page(),
        "sixty": replace(page, sections=(Section("many", "Sixty figures", many),)),
    }


@pytest.mark.parametrize("name", soak(["rich", "small", "sixty", "study"]))
def test_every_figure_is_drawn(window, name):
    window.show(name)
    for figure in figures_of(pages()[name]):
        box = f'[data-plot="{figure.name}"] '
        assert len(window.find(box + "svg.main-svg")) >= 1
        lines = getattr(figure, "series", None)
        wanted = len(lines) if lines else 1
        assert len(window.find(box + (".scatterlayer .trace" if lines else ".heatmaplayer .hm"))) >= wanted


@pytest.mark.parametrize("name", soak(["rich", "study"]))
def test_the_links_of_the_contents_lead_to_their_targets(window, name):
    window.show(name)
    links = window.find(".contents a")
    page = pages()[name]
    assert len(links) == len(page.sections) + len(figures_of(page)) - 1
    for link in links:
        window("arguments[0].click()", link)
        top, bottom = window(
            "const r = document.querySelector(arguments[0].hash).getBoundingClientRect(); return [r.top, r.bottom]",
            link,
        )
        assert 0 <= top < WIDE[1] or bottom <= WIDE[1]
    window.wait("document.querySelector('.contents a[aria-current]')")


@pytest.mark.parametrize("size", [pytest.param(WIDE, id="wide"), pytest.param(PHONE, id="phone")])
@pytest.mark.parametrize("name", soak(["rich", "small", "study"]))
def test_the_answers_are_on_the_first_screen(window, name, size):
    window.show(name, size)
    seen = window("""
      const part = (s) => [...document.querySelectorAll(s)].map((e) => {
        const r = e.getBoundingClientRect();
        return [r.left, r.top, r.right, r.bottom, parseFloat(getComputedStyle(e).fontSize)];
      });
      return [innerWidth, innerHeight, scrollY, part("h1, .question, .answers > ul > li"), part(".first > .figure")];
    """)
    width, height, scrolled, parts, (figure,) = seen
    assert (width, height, scrolled) == (*size, 0)
    assert len(parts) == 2 + len(pages()[name].answers)
    for left, top, right, bottom, font in parts:
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        assert font >= 13
    if size == WIDE:
        assert figure[3] <= height


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_all_text_is_readable_in_both_themes(window, dark):
    window.show(dark=dark)
    window("document.querySelectorAll('details').forEach((d) => (d.open = true))")
    found = window(CONTRAST)
    assert len(found) > 500
    assert not [pair for pair in found if pair[0] < 4.5]
    paper = window("return getComputedStyle(document.body).backgroundColor")
    assert (max(map(int, paper[4:-1].split(","))) < 60) is dark


def test_the_theme_button_colours_page_and_plots_and_is_remembered(window):
    window.show()
    colours = """const papers = [...document.querySelectorAll('.plot .main-svg')].map((s) => s.style.background);
      return [getComputedStyle(document.body).backgroundColor, ...papers.filter((paper) => paper),
      document.querySelector('#depth .xtick text').style.fill]"""
    light = window(colours)
    (button,) = window.find("#_theme")
    assert (button.text, button.get_attribute("aria-label")) == ("Dark", "Switch to the dark theme")
    button.click()
    window.wait(
        "document.querySelector('#depth .xtick text').style.fill !== arguments[0]".replace(
            "arguments[0]", repr(light[-1])
        )
    )
    dark = window(colours)
    assert not set(light) & set(dark)
    assert button.text == "Light"
    window.show()
    assert window(colours) == dark
    window.find("#_theme")[0].click()
    assert window(colours) == light


def test_the_plots_follow_the_system(window):
    window.show()
    before = window("return document.querySelector('#depth .xtick text').style.fill")
    window.scheme("dark")
    window.wait(f"document.querySelector('#depth .xtick text').style.fill !== {before!r}")


def test_everything_is_reached_by_keyboard(window):
    from selenium.webdriver.common.keys import Keys

    window.show()
    window.press(Keys.TAB)
    skip = "document.activeElement.matches('.skip') && document.activeElement.getBoundingClientRect().top >= 0"
    assert window("return " + skip)
    window.press(Keys.ENTER)
    assert window("return document.activeElement.id") == "_text"
    window.show()
    reached = set()
    for _ in range(60):
        window.press(Keys.TAB)
        what, outline = (
            window("""const e = document.activeElement, { outlineStyle, outlineWidth } = getComputedStyle(e);
          return [e.id || e.tagName + "." + (e.className || e.dataset.series || ""), outlineStyle + outlineWidth]""")
        )
        reached.add(what.split(" ")[0])
        assert outline != "none0px", what
    assert {"_theme", "A.chip", "SUMMARY.", "BUTTON.2", "DIV.scroll"} <= reached


def test_numbers_unfold_and_are_copied_with_all_digits(window):
    window.show()
    window("""Object.defineProperty(navigator, "clipboard",
      { value: { writeText: (text) => { window.copied = text; return Promise.resolve() } }, configurable: true })""")
    summary = window.find("#depth summary")[0]
    summary.click()
    copier = window.find("#depth [data-copy]")[0]
    copier.click()
    window.wait("window.copied")
    rows = [line.split("\t") for line in window("return window.copied").splitlines()]
    series = rich().figure.series[0]
    assert rows[0] == ["", "fine-tuned blocks (%)", "macro-F1 on test", "low", "high"]
    assert rows[3][0] == series.label
    assert float(rows[3][2]) == pytest.approx(series.y[2], rel=1e-8)
    assert copier.text == "Copied"


def test_where_the_clipboard_is_closed_nothing_breaks(window):
    window.show()
    window("""Object.defineProperty(navigator, "clipboard",
      { value: { writeText: () => Promise.reject(new Error("no")) }, configurable: true });
      document.execCommand = () => false""")
    copier = window.find("#how-deep .table [data-copy]")[0]
    copier.click()
    window.wait("document.querySelector('#how-deep .table [data-copy]').textContent === 'Select and copy by hand'")


def test_the_legend_hides_a_series_with_its_ring(window):
    window.show()
    count = "return document.querySelectorAll('#depth .scatterlayer .trace').length"
    before = window(count)
    entry = window.find("#depth [data-series='1']")[0]
    entry.click()
    assert window(count) == before - 2
    assert entry.get_attribute("aria-pressed") == "false"
    entry.click()
    assert window(count) == before


def test_the_phone_page_does_not_move_sideways(window):
    window.show(size=PHONE)
    window("document.querySelectorAll('details').forEach((d) => (d.open = true))")
    assert window("return document.documentElement.scrollWidth") == PHONE[0]
    wide = window("""const out = (e) => e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 1;
      const all = [...document.querySelectorAll("main *")].filter((e) => !e.closest(".scroll, .contents, svg"));
      return all.filter(out).map((e) => e.className || e.tagName)""")
    assert not wide


def test_plots_fit_the_window_after_it_was_turned(window):
    window.show()
    window.tell("Emulation.setDeviceMetricsOverride", width=700, height=900, deviceScaleFactor=1, mobile=False)
    window.wait("""[...document.querySelectorAll('#depth .plot, #sizes .plot')]
      .every((box) => box.querySelector('.main-svg').getBoundingClientRect().width === box.clientWidth)""")


def test_small_matrices_that_share_the_width_need_not_be_scrolled(window):
    window.show("study", size=(1220, 800))
    plots = "[...document.querySelectorAll('.third .plot-scroll')]"
    rooms = window(f"return {plots}.map((e) => [e.scrollWidth, e.clientWidth])")
    assert rooms
    assert all(wide <= room for wide, room in rooms), rooms


def test_hostile_names_are_shown_and_do_nothing(window):
    window.show()
    pictures = sum(len(p.pictures) for s in rich().sections for p in s.parts if isinstance(p, Gallery))
    assert window("return document.images.length") == pictures
    assert window("return [...document.images].every((i) => i.naturalWidth === 32)")
    assert [e.text for e in window.find("#crowd .legend span")][: len(NASTY)] == list(NASTY)
    assert window.find("#all > h2")[0].text.endswith(HOSTILE)
    assert window("return [...document.querySelectorAll('#blocks .ytick text')].at(-1).textContent").startswith(
        "</script><i"
    )
    assert not window.find(".plot a[href], .plot image:not([*|href^='data:'])")


def test_a_plot_says_what_stands_under_the_pointer(window):
    window.show()
    x, y = window("""const r = document.querySelectorAll('#depth .scatterlayer .trace')[0]
      .querySelectorAll('.point')[2].getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]""")
    for step in (3, 0):
        window.tell("Input.dispatchMouseEvent", type="mouseMoved", x=x - step, y=y)
        time.sleep(0.1)
    window.wait("document.querySelector('#depth .hoverlayer .hovertext')")
    said = window("return document.querySelector('#depth .hoverlayer').textContent")
    assert "resnet50" in said
    assert "at 25" in said
    assert "4 of 17 blocks, 3 seeds" in said


@pytest.mark.parametrize(("button", "file", "start"), [(0, "depth.svg", b"<svg"), (1, "depth.png", b"\x89PNG")])
def test_a_plot_is_downloaded(window, tmp_path, button, file, start):
    window.show(dark=True)
    window.tell("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    buttons = window.find("#depth .modebar-btn")
    assert len(buttons) == 2
    window("arguments[0].click()", buttons[button])
    end = time.monotonic() + 15
    while not (tmp_path / file).exists():
        assert time.monotonic() < end, sorted(tmp_path.iterdir())
        time.sleep(0.1)
    saved = (tmp_path / file).read_bytes()
    assert saved.startswith(start)
    if button == 0:
        assert b"chosen on validation" in saved


def test_paper_is_light_and_the_page_prints(window):
    window.show(dark=True)
    window("dispatchEvent(new Event('beforeprint'))")
    fill = "return document.querySelector('#depth .xtick text').style.fill"
    assert window(fill) == "rgb(21, 32, 43)"
    window("dispatchEvent(new Event('afterprint'))")
    assert window(fill) == "rgb(231, 236, 241)"
    printed = base64.b64decode(window.tell("Page.printToPDF", printBackground=True)["data"])
    assert printed.startswith(b"%PDF")
    assert len(printed) > 50_000
    assert window(fill) == "rgb(231, 236, 241)"


def test_without_scripts_all_but_the_plots_is_there(window):
    window.tell("Emulation.setScriptExecutionDisabled", value=True)
    try:
        window.show(drawn=False)
        said = window.find("#depth .note")[0]
        assert said.is_displayed()
        assert "needs JavaScript" in said.text
        assert not window.find("#depth .plot")[0].is_displayed()
        assert not window.find("#_theme")[0].is_displayed()
        window.find("#depth summary")[0].click()
        assert window.find("#depth table")[0].is_displayed()
        assert window.find(".answers li")[0].is_displayed()
        assert all(image.is_displayed() for image in window.find(".gallery img"))
    finally:
        window.tell("Emulation.setScriptExecutionDisabled", value=False)


def test_where_there_is_no_browser_one_line_says_so(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("SKYTHAW_NO_SKIP", "0")
    with pytest.raises(pytest.skip.Exception, match="apt-get install chromium"):
        missing()
    monkeypatch.setenv("SKYTHAW_NO_SKIP", "1")
    with pytest.raises(pytest.fail.Exception, match="apt-get install chromium"):
        missing()


@pytest.mark.soak
@pytest.mark.parametrize(("name", "size"), [("rich", PHONE), ("rich", WIDE), ("study", PHONE), ("study", WIDE)])
def test_axe_finds_nothing_on_the_report(window, name, size):
    window.show(name, size)
    assert findings(window) == []
    window.show(name, size, dark=True)
    assert findings(window) == []
