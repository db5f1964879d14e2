"""The pages of `skythaw serve` in a real browser: an upload and its answer, the keyboard, a run while it runs."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import time

import pytest
from selenium.webdriver.common.keys import Keys

import skythaw
from conftest import SKYTHAW
from helpers_axe import findings
from helpers_bundle import make_bundle
from helpers_run import World, make_run
from helpers_soak import soak
from helpers_study import make_survey, write_study
from helpers_tune import prepared
from helpers_web import serving
from skythaw.data.cutouts import read_cutouts
from skythaw.study.ledger import Ledger
from test_page_browser import CONTRAST, FLAGS, PHONE, WIDE, Window, missing

PAGES = ("/", "/api", "/runs/run", "/runs/run/cells", "/runs/run/objects", "/bundles/bundle", "/nothing")
SETS = ("/sets/alike.parquet", "/sets/alike.parquet?object=0")


class Browser(Window):
    """A browser that looks at a service; what an earlier page still asks of a service that has ended is left behind."""

    def __init__(self, driver, folder):
        super().__init__(driver, folder)
        driver.get("about:blank")
        self.errors()

    def at(self, path, size=WIDE, dark=False):
        mobile = size == PHONE
        self.tell(
            "Emulation.setDeviceMetricsOverride", width=size[0], height=size[1], deviceScaleFactor=1, mobile=mobile
        )
        self.scheme("dark" if dark else "light")
        self.driver.get(self.folder + path)

    def errors(self):
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]

    def text(self):
        return self("return document.body.innerText")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, cache):
    folder = tmp_path_factory.mktemp("shown")
    make_bundle(folder, cache)
    for number, (_, data, _) in zip(range(2), read_cutouts(folder / "survey.parquet").images(), strict=False):
        (folder / f"{number}.jpg").write_bytes(data)
    (folder / "bad.jpg").write_bytes(b"<html>")
    images = dict(zip(map(str, range(60)), read_cutouts(folder / "survey.parquet").images(), strict=False))
    for name, (_, data, _) in images.items():
        (folder / "night").mkdir(exist_ok=True)
        (folder / "night" / f"{name}.jpg").write_bytes(data)
    skythaw.predict(folder / "bundle", folder / "night", folder / "alike.parquet", features=True, progress=False)
    return folder


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """A study that has not begun to run."""
    folder = tmp_path_factory.mktemp("live")
    make_survey(folder / "survey.parquet")
    write_study(folder)
    return folder


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    binary, service = missing()
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(service))
    driver.set_script_timeout(60)
    driver.get("about:blank")
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def service(folder, driver):
    alike = ("--features", folder / "alike.parquet", "--images", folder / "night")
    with serving(folder, "--run", folder / "run", "--bundle", folder / "bundle", *alike) as found:
        yield found


@pytest.fixture
def browser(service, driver):
    window = Browser(driver, service.address)
    driver.get("about:blank")
    driver.get_log("browser")
    window.fetched()
    yield window
    assert all(each.startswith((service.address, "data:", "about:")) for each in window.fetched())


@pytest.mark.parametrize(("size", "dark"), soak([(PHONE, False), (WIDE, False), (WIDE, True)]))
def test_pages_can_be_read(browser, size, dark):
    for path in (*SETS, *PAGES):
        browser.at(path, size, dark)
        assert browser("return document.documentElement.scrollWidth <= innerWidth"), path
        low = [what for ratio, what in browser(CONTRAST) if ratio < 4.5]
        assert not low, (path, low)
        assert browser("return document.querySelectorAll('h1').length") == 1
        assert browser("return document.title.includes('skythaw')")
        assert path == "/nothing" or not browser.errors(), path
    browser.errors()


def test_an_upload_and_its_answer(browser, folder):
    browser.at("/bundles/bundle")
    (field,) = browser.find("input[type=file]")
    field.send_keys("\n".join(str(folder / name) for name in ("0.jpg", "bad.jpg", "1.jpg")))
    browser.click("form[data-drop] button")
    browser.wait("document.querySelectorAll('article').length === 3")
    good, bad, _ = browser.find("article")
    assert len(good.find_elements("css selector", "meter")) == 3
    shown = "return [...document.querySelectorAll('article img')].every((i) => i.complete && i.naturalWidth > 0)"
    assert browser(shown)
    assert "not a JPEG" in bad.text
    assert "Looks like these training images" in good.text
    assert not browser.errors()


def test_an_image_that_is_dropped_is_classified(browser, folder):
    browser.at("/bundles/bundle")
    script = """
    const bytes = Uint8Array.from(atob(arguments[0]), (c) => c.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], "dropped.jpg", { type: "image/jpeg" }));
    const event = new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
    document.querySelector("[data-drop]").dispatchEvent(event);
    """
    browser(script, base64.b64encode((folder / "0.jpg").read_bytes()).decode())
    browser.wait("document.querySelectorAll('article meter').length === 3")
    assert not browser.errors()


def test_from_the_start_to_an_answer_by_keyboard_alone(browser):
    """A link, a form, an answer: Tab, letters and Enter."""
    browser.at("/")
    reach(browser, "a.card[href='/bundles/bundle']")
    browser.press(Keys.ENTER)
    browser.wait("location.pathname === '/bundles/bundle'")
    name = browser.driver.execute_async_script(
        "const done = arguments[0]; fetch('/runs/run/objects').then((a) => a.text())"
        ".then((t) => done(new DOMParser().parseFromString(t, 'text/html').querySelector('.sheet .id').textContent));"
    )
    reach(browser, "input[name=object]")
    browser.press(*name, Keys.ENTER)
    browser.wait("document.querySelectorAll('article meter').length === 3")
    assert browser("return document.activeElement.id") == "results"
    assert not browser.errors()


def reach(browser, selector):
    """Press Tab until the element has the focus, which must be seen."""
    for _ in range(40):
        browser.press(Keys.TAB)
        if browser("return document.activeElement.matches(arguments[0])", selector):
            style = browser("return getComputedStyle(document.activeElement).outlineStyle")
            assert style != "none"
            return
    raise AssertionError(f"{selector} can't be reached by Tab")


def test_from_an_object_to_what_looks_like_it_by_keyboard_alone(browser):
    """An id and Enter, then Tab to a neighbour and Enter; the next page of objects is not the answer."""
    browser.at("/sets/alike.parquet")
    reach(browser, "input[name=object]")
    browser.press("7", Keys.ENTER)
    browser.wait("document.querySelector('h2').textContent === 'Looks like 7'")
    assert browser("return document.activeElement.id") == "results"
    assert browser("return document.querySelectorAll('#results .sheet li').length") == 24
    browser.wait("[...document.querySelectorAll('#results img')].some((i) => i.complete && i.naturalWidth > 0)")
    first = browser("return document.querySelector('#results .sheet b').textContent")
    reach(browser, "#results a.pick")
    browser.press(Keys.ENTER)
    browser.wait(f"document.querySelector('h2').textContent === 'Looks like {first}'")
    browser.follow(".pages a")
    browser.wait("location.hash === '#objects' && document.querySelector('[role=status]').innerText.includes('page 2')")
    assert browser("return document.activeElement.id") != "results"
    assert not browser.errors()


def test_from_a_run_to_an_object_and_why(browser):
    browser.at("/runs/run")
    browser.wait("document.querySelector('.answers li')", 60)
    browser.follow("a[href$='/cells']")
    browser.wait("location.pathname.endsWith('/cells')")
    browser.follow("th a[href*='sort=depth']")
    browser.wait("document.querySelector('th[aria-sort=ascending]')")
    browser.follow("tbody tr:last-child a")
    browser.wait(
        "[...document.querySelectorAll('.charts img')].filter((i) => i.complete && i.naturalWidth > 0).length === 2"
    )
    browser.follow("td a[href*='predicted=']")
    browser.wait("location.pathname.endsWith('/objects')")
    browser("document.querySelector('select[name=label]').value = ''")
    browser("document.querySelector('select[name=predicted]').value = ''")
    browser.follow("form .main")
    browser.wait("[...document.querySelectorAll('.sheet img')].some((i) => i.complete && i.naturalWidth > 0)")
    browser.follow(".sheet a")
    browser.wait("document.querySelectorAll('article meter').length === 3")
    assert not browser.errors()


def test_the_report_is_drawn(browser):
    browser.at("/runs/run/report")
    browser.wait("document.body.dataset.drawn === document.body.dataset.figures", 60)
    assert not browser.errors()


@pytest.mark.soak
def test_the_page_of_a_study_moves_while_cells_are_done(driver, tmp_path):
    """Its bar moves without a reload, and in the end it says so. The cells are done already, and told one by one."""
    whole = make_run(tmp_path / "whole", World({"resnet50": {0: 1.0, 3: 1.5}}, objects=60, groups=20, seeds=(0,)))
    run = shutil.copytree(whole, tmp_path / "run", ignore=shutil.ignore_patterns("ledger.*"))
    with Ledger.read(whole) as done:
        study, entries = done.study, done.entries()
        notes = {name: done.remark(name) for name in ("name", "classes", "objects", "balance")}
    with Ledger.create(run, study, [(entry.cell, 1.0) for entry in entries]) as ledger, ledger.runner() as runner:
        for name, value in notes.items():
            ledger.note(name, value)
        with serving(tmp_path, "--run", run) as service:
            window = Browser(driver, service.address)
            window.at("/runs/run")
            for number, entry in enumerate(entries):
                window.wait(f"document.querySelector('progress').value === {number}", 30)
                ledger.claim(entry.key, runner)
                ledger.add(entry.key, entry.result)
            window.wait("document.querySelector('.state').textContent.includes('cells are done.')", 30)
            assert not window("return document.querySelector('[data-more]').hidden")
            assert not window.errors()


@pytest.mark.soak
def test_a_study_that_runs(driver, live, cache):
    """The same of a study that a process really runs, until its answer is there."""
    study_file = write_study(live, replace={"seed = [0, 1]": "seed = [0, 1, 2, 3, 4, 5]"})  # so that it takes a while
    command = [*SKYTHAW, "study", "run", study_file, "--out", live / "run", "--workers", "1"]
    environment = {**os.environ, "SKYTHAW_CACHE": str(cache)}
    with (live / "log").open("wb") as log, subprocess.Popen(command, env=environment, stdout=log, stderr=log) as study:
        watch(study, driver, live)


def watch(study, driver, live):
    """See the page of a study move until its answer is there."""
    end = time.monotonic() + 120
    while not (live / "run" / "ledger.sqlite").exists():
        assert study.poll() is None, (live / "log").read_text()
        assert time.monotonic() < end
        time.sleep(0.1)
    with serving(live, "--run", live / "run") as service:
        window = Browser(driver, service.address)
        window.at("/runs/run")
        window.wait("document.querySelector('progress')", 30)
        seen, text = set(), ""
        end = time.monotonic() + 300
        while "All " not in text and time.monotonic() < end:
            seen.add(window("return document.querySelector('progress').value"))
            text = window("return document.querySelector('.state').textContent")
            time.sleep(0.3)
        assert "cells are done." in text
        assert len(seen) > 2
        assert study.wait(60) == 0
        assert not window("return document.querySelector('[data-more]').hidden")
        window.click("[data-more] a")
        window.wait("document.querySelector('.answers li')", 60)
        assert not window.errors()


@pytest.mark.soak
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_axe_finds_nothing_on_any_page(browser, folder, size):
    found = {}
    for dark in (False, True):
        for path in (*SETS, *PAGES):
            browser.at(path, size, dark)
            found[path, dark] = findings(browser)
        for link in ("/runs/run/cells", "/runs/run/objects"):
            browser.at(link, size, dark)
            browser.follow("tbody a, .sheet a")
            found[link + " ...", dark] = findings(browser)
    browser.errors()  # of the page that is not there
    assert {place: each for place, each in found.items() if each} == {}


@pytest.mark.soak
def test_a_run_is_started_watched_and_stopped_by_keyboard_alone(driver, tmp_path, cache):
    """Its page moves without a reload, and axe-core finds nothing in any of its states."""
    survey = make_survey(tmp_path / "survey.parquet", objects=120)
    prepared(tmp_path / "skythaw-tune", survey, cache, depth=["0%", "100%"], seed=list(range(9)))
    with serving(tmp_path, "--folder", tmp_path, environment={"SKYTHAW_CACHE": str(cache)}) as service:
        window = Browser(driver, service.address)
        window.at("/")
        assert window("return location.pathname") == "/tune"  # there is nothing else to see
        sound(window)
        reach(window, "#images")
        window.press(*"survey.parquet", Keys.ENTER)
        window.wait("document.body.innerText.includes('Time left: at most')", 60)
        window("window.stays = true")
        window.wait("document.querySelector('#tune-training').textContent.includes('of 18 trainings')", 240)
        assert window("return window.stays")
        sound(window)
        window.at("/tune")
        reach(window, "form[action='/tune/stop'] button")
        window.press(Keys.ENTER)
        window.wait("document.querySelector('h1').textContent === 'Stopped'", 120)  # by itself
        sound(window)
        window.follow("a[href='/tune/report']")
        window.wait("document.body.dataset.drawn === document.body.dataset.figures", 60)
        window.at("/tune")
        window.follow("a[href='/tune/classifier']")
        assert window("return location.pathname") == "/bundles/~skythaw-tune"
        assert not window.errors()


def sound(window):
    """See the start page on a dark phone and on a light, wide screen."""
    for size, dark in ((PHONE, True), (WIDE, False)):
        window.at("/tune", size, dark)
        assert window("return document.documentElement.scrollWidth <= innerWidth")
        assert [what for ratio, what in window(CONTRAST) if ratio < 4.5] == []
        assert findings(window) == []
