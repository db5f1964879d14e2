"""The service, asked in this process: what it says, what it refuses, and how."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import httpx
import numpy as np
import pytest

import corpus_images
from helpers_bundle import make_bundle
from helpers_soak import SIZES, few
from helpers_web import LARGEST, TOKEN, make_client, rules
from skythaw import load
from skythaw.data.cutouts import read_cutouts
from skythaw.errors import SpecError
from skythaw.report.figures.figure_style import DARK
from skythaw.web.inference import InferenceQueue
from skythaw.web.request_guard import Rules
from skythaw.web.web_app import Service, make_app, named, open_service

ID = "object"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, cache):
    folder = tmp_path_factory.mktemp("web")
    make_bundle(folder, cache)
    return folder


@pytest.fixture(scope="module")
def images(folder):
    """Image files by object."""
    return {name: data for name, data, _ in read_cutouts(folder / "survey.parquet").images()}


def ask(folder, *requests, **changes):
    """Answers to some requests (method, path, further arguments), one after the other."""

    async def go():
        async with make_client(folder, **changes) as client:
            return [await client.request(method, path, **more) for method, path, more in map(filled, requests)]

    return asyncio.run(go())


def filled(request):
    method, path, *more = request
    return method, path, more[0] if more else {}


def get(folder, path, **more):
    return ask(folder, ("GET", path, more))[0]


def upload(folder, *contents, path="/api/v1/bundles/bundle/predict", **changes):
    files = [("files", (f"{i}.jpg", data)) for i, data in enumerate(contents)]
    return ask(folder, ("POST", path, {"files": files}), **changes)[0]


def test_every_page_is_there(folder):
    key = get(folder, "/api/v1/runs/run/cells").json()[0]["key"]
    run = "/runs/run"
    pages = [
        "/",
        "/api",
        run,
        f"{run}/progress",
        f"{run}/answer",
        f"{run}/report",
        f"{run}/cells",
        f"{run}/cells/{key}",
    ]
    for path in [*pages, f"{run}/objects", "/bundles/bundle", "/login"]:
        answer = get(folder, path)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8"), path
        assert "Traceback" not in answer.text


def test_the_curves_of_a_cell_are_pictures_for_a_light_and_a_dark_page(folder):
    """They need no script: the page names both, and the browser takes that of its theme."""
    key = get(folder, "/api/v1/runs/run/cells").json()[0]["key"]
    page = get(folder, f"/runs/run/cells/{key}").text
    sources = re.findall(r'(?:src|srcset)="(/runs/run/cells/[^"]*svg[^"]*)"', page)
    curves = f"/runs/run/cells/{key}/curves"
    assert sources == [f"{curves}/{name}.svg{theme}" for name in ("scores", "losses") for theme in ("?dark=true", "")]
    drawn = [get(folder, source) for source in sources]
    assert {each.headers["content-type"] for each in drawn} == {"image/svg+xml"}
    assert all("</svg>" in each.text and "<script" not in each.text for each in drawn)
    dark, light = drawn[:2]
    assert DARK["panel"] in dark.text
    assert DARK["panel"] not in light.text


def test_many_pictures_at_once_are_each_that_of_their_theme(folder):
    """The settings of what draws them are of the whole process."""
    key = get(folder, "/api/v1/runs/run/cells").json()[0]["key"]
    paths = [f"/runs/run/cells/{key}/curves/scores.svg{theme}" for theme in ("", "?dark=true")]

    async def go():
        async with make_client(folder) as client:
            alone = [await client.get(path) for path in paths]
            return alone, await asyncio.gather(*(client.get(path) for path in paths * 6))

    alone, together = asyncio.run(go())
    assert [each.content for each in together] == [each.content for each in alone * 6]


def test_a_prediction_is_that_of_the_bundle(folder, images):
    some = list(images.values())[:5]
    answer = upload(folder, *some)
    assert answer.status_code == 200
    said = answer.json()["predictions"]
    classifier = load(folder / "bundle", device="cpu")
    p = classifier.predict(some)
    for row, each in zip(p, said, strict=True):
        assert each["status"] == "ok"
        assert np.abs(row - list(each["probabilities"].values())).max() < 1e-5
        assert each["label"] == classifier.classes[row.argmax()]


def test_one_bad_image_of_several_has_its_reason_and_the_others_go_on(folder, images):
    good = next(iter(images.values()))
    said = upload(folder, good, b"<html>", good[: len(good) // 2], good).json()["predictions"]
    assert [each["status"] == "ok" for each in said] == [True, False, False, True]
    assert "not a JPEG" in said[1]["status"]
    assert "truncated" in said[2]["status"].lower()
    assert said[0]["probabilities"] == said[3]["probabilities"]


@pytest.mark.parametrize("size", SIZES)
def test_hundreds_of_bad_images_have_their_reasons(folder, size):
    """T14, through the service: nothing but an answer, 64 files a time; none that must not be read is."""
    corpus = {name: each for name, each in corpus_images.images().items() if len(each[0]) < LARGEST // 64}
    assert len(corpus) > 500
    corpus = corpus if size == "whole" else corpus_images.some_of(corpus)
    names = list(corpus)
    for start in range(0, len(names), 64):
        some = names[start : start + 64]
        said = upload(folder, *(corpus[name][0] for name in some)).json()["predictions"]
        for name, each in zip(some, said, strict=True):
            assert each["status"], name
            assert each["status"].isprintable(), name
            assert (each["probabilities"] is None) == (each["status"] != "ok"), name
            assert each["status"] != "ok" or corpus[name][1], name


@pytest.mark.parametrize("size", SIZES)
def test_bad_fits_files_have_their_reasons(tmp_path, cache, size):
    """T15, through the service."""
    make_bundle(tmp_path, cache, floats=True)
    corpus = {name: each for name, each in corpus_images.floats().items() if len(each[0]) < LARGEST}
    assert len(corpus) > 100
    corpus = corpus if size == "whole" else corpus_images.some_of(corpus)
    requests = [
        ("POST", "/api/v1/bundles/bundle/predict", {"files": [("files", ("a.fits", data))]})
        for data, _ in corpus.values()
    ]
    for (name, (_, readable)), answer in zip(corpus.items(), ask(tmp_path, *requests), strict=True):
        (said,) = answer.json()["predictions"]
        assert said["status"] == "ok" or (said["status"].isprintable() and said["probabilities"] is None), name
        assert said["status"] != "ok" or (readable and np.isfinite(list(said["probabilities"].values())).all()), name


def test_answers_do_not_depend_on_who_else_asks(folder, images):
    """T21: 64 at once, each equal, to the bit, to the answer it gets alone."""
    some = [list(images.values())[i % len(images)] for i in range(64)]

    async def go():
        async with make_client(folder) as client:

            async def one(data):
                return await client.post("/api/v1/bundles/bundle/predict", files=[("files", ("a.jpg", data))])

            return [await one(data) for data in some], await asyncio.gather(*(one(data) for data in some))

    alone, together = asyncio.run(go())
    assert {each.status_code for each in (*alone, *together)} == {200}
    assert [each.json() for each in together] == [each.json() for each in alone]


def test_more_than_can_wait_is_told_to_come_again(folder, images, monkeypatch):
    monkeypatch.setattr("skythaw.web.inference.WAITING", 2)
    data = next(iter(images.values()))

    async def go():
        async with make_client(folder) as client:
            post = client.post
            many = [post("/api/v1/bundles/bundle/predict", files=[("files", ("a.jpg", data))]) for _ in range(8)]
            return await asyncio.gather(*many)

    answers = asyncio.run(go())
    codes = [each.status_code for each in answers]
    assert 200 in codes
    assert 503 in codes
    assert set(codes) == {200, 503}
    assert all(each.headers["retry-after"] for each in answers if each.status_code == 503)


class TestManyImages:
    """A queue whose work is a count: what of many requests is admitted, and whose turn it is."""

    @pytest.fixture
    def client(self, monkeypatch):
        order: list[bytes] = []

        def work(queue, question, data):
            order.append(data)
            return {"label": "A", "probabilities": {"A": 1.0}, "entropy": 0.0, "inputs": None} | dict.fromkeys(
                ("distance", "percentile")
            )

        monkeypatch.setattr(InferenceQueue, "_work", work)
        monkeypatch.setattr(InferenceQueue, "__init__", lambda self: None)
        monkeypatch.setattr(InferenceQueue, "wants", None)
        queue = InferenceQueue()
        queue.about = SimpleNamespace(sha256="x", numbers=None)
        queue._asked, queue._crowd, queue._turns = 0, 0, None
        with ThreadPoolExecutor(1) as queue._pool:
            app = make_app(Service({}, {"b": queue}, Rules(None, 10_000_000, None), {}, queue._pool))
            yield httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://localhost"), order

    @staticmethod
    def post(client, name, count):
        files = [("files", (f"{i}", name)) for i in range(count)]
        return client.post("/api/v1/bundles/b/predict", files=files)

    def test_images_are_counted_and_not_requests(self, client):
        client, order = client

        async def go():
            async with client:
                return await asyncio.gather(*(self.post(client, b"x", 64) for _ in range(10)))

        codes = [each.status_code for each in asyncio.run(go())]
        assert len(order) == 64 * codes.count(200)
        assert codes.count(503) >= 8

    def test_where_one_fails_the_others_of_its_request_are_let_go(self, client, monkeypatch):
        client, order = client

        def full(queue, question, data):
            order.append(data)
            raise SpecError("the memory of this machine is full")

        monkeypatch.setattr(InferenceQueue, "_work", full)

        async def go():
            async with client:
                answer = await self.post(client, b"x", 60)
                await asyncio.sleep(0.1)
                return answer.status_code

        assert asyncio.run(go()) >= 400
        assert len(order) < 10

    def test_the_images_of_a_request_have_their_turn_together(self, client):
        client, order = client

        async def go():
            async with client:
                many = asyncio.create_task(self.post(client, b"many", 60))
                while not order:
                    await asyncio.sleep(0)
                ones = [asyncio.create_task(self.post(client, b"one", 1)) for _ in range(4)]
                return [each.status_code for each in await asyncio.gather(many, *ones)]

        assert asyncio.run(go()) == [200] * 5
        assert order[:60] == [b"many"] * 60


def objects(folder, key, **asked):
    """All pages of the objects of a cell that are asked for."""
    path, found, number = f"/api/v1/runs/run/cells/{key}/objects", [], 1
    while True:
        page = get(folder, path, params={**asked, "page": number}).json()
        found += page["objects"]
        number += 1
        if not page["objects"]:
            assert page["total"] == len(found)
            return found


def test_objects_are_those_that_were_asked_for(folder):
    key = max(get(folder, "/api/v1/runs/run/cells").json(), key=lambda row: row["depth"])["key"]
    every = objects(folder, key)
    sure = [max(each["probabilities"].values()) for each in every]
    assert len(every) > 40  # more than a page
    assert len({each["object_id"] for each in every}) == len(every)
    assert sure == sorted(sure, reverse=True)
    one = next(each for each in every[len(every) // 2 :] if each["label"] != each["predicted"])
    asked = {"label": one["label"], "predicted": one["predicted"], "least": max(one["probabilities"].values())}
    wanted = [
        each
        for each in every
        if all(each[name] == one[name] for name in ("label", "predicted"))
        and max(each["probabilities"].values()) >= asked["least"]
    ]
    assert objects(folder, key, **asked) == wanted
    wrong = [each for each in every if each["label"] != each["predicted"]]
    assert objects(folder, key, wrong=True) == wrong
    assert 0 < len(wrong) < len(every)


def test_an_object_of_the_data_can_be_asked_about(folder, images):
    name = next(iter(images))
    answer = get(folder, "/bundles/bundle", params={"run": "run", ID: name})
    assert answer.status_code == 200
    assert name in answer.text
    assert answer.text.count("data:image/png;base64,") >= 3  # as seen, Grad-CAM, occlusion
    assert "Looks like these training images" in answer.text
    side = re.search(r"\(Grad-CAM, (\d+) x \1\)", answer.text)
    assert side is not None
    assert int(side[1]) >= 7, "no smear of a map of one or two cells"
    assert re.search(r"Its label in the data is <b>(GALAXY|QSO|STAR)</b>", answer.text)
    picture = get(folder, "/runs/run/image", params={ID: name})
    assert picture.headers["content-type"] == "image/png"
    assert get(folder, "/runs/run/image", params={ID: "nobody"}).status_code == 404
    assert get(folder, "/bundles/bundle", params={"run": "run", ID: "nobody"}).status_code == 404


def test_what_it_gets_wrong_is_of_the_recommended_depth(folder):
    (found,) = [each for each in get(folder, "/api/v1/runs/run/recommended").json() if each["main"]]
    text = get(folder, "/runs/run/objects", params={"wrong": "true"}).text
    assert re.search(rf"selected>[^<]*, depth {found['depth']}, ", text)


def test_the_filter_of_cells_finds_what_it_says(folder):
    rows = get(folder, "/api/v1/runs/run/cells").json()
    deepest = max(row["depth"] for row in rows)
    for text, wanted in {
        "": rows,
        "efficientnet done": rows,
        f"depth {deepest}": [row for row in rows if row["depth"] == deepest],
        f"depth={deepest}, seed 0": [row for row in rows if row["depth"] == deepest],
        "seed 7": [],
        "7": [row for row in rows if 7 in (row["depth"], row["seed"], row["train_size"])],
        rows[0]["key"][:8]: rows[:1],
        "nothing": [],
    }.items():
        page = get(folder, "/runs/run/cells", params={"text": text}).text
        assert {row["key"] for row in wanted} == set(re.findall(r"/cells/([0-9a-f]{64})", page)), text


def test_an_upload_through_the_form_shows_the_answer_and_the_reasons(folder, images):
    answer = upload(folder, next(iter(images.values())), b"", b"<svg/>", path="/bundles/bundle")
    assert answer.status_code == 200
    assert "Probability of each class" in answer.text
    assert answer.text.count('role="alert"') == 2
    assert upload(folder, b"<svg/>", path="/bundles/bundle").status_code == 422


@pytest.mark.parametrize(
    "path",
    [
        "/runs/no",
        "/runs/no/report",
        "/bundles/no",
        "/api/v1/bundles/no",
        "/runs/run/cells/no",
        "/runs/run/cells/no/curves/scores.svg",
        "/nothing",
        "/static/no",
    ],
)
def test_what_is_not_there_is_404(folder, path):
    answer = get(folder, path)
    assert answer.status_code == 404
    if path.startswith("/api"):
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json() == {"status": 404, "detail": "there is no bundle of that name here"}


@pytest.mark.parametrize(
    "host",
    ["evil.example", "test.evil.example", "", "127.0.0.1.evil.example", "[", "169.254.169.254", "evil.example@test"],
)
def test_another_name_is_refused(folder, host):
    """DNS rebinding: a page of another site whose name resolves to us."""
    for path in ("/", "/health", "/api/v1/bundles"):
        assert get(folder, path, headers={"host": host}).status_code == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://["},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "http://test.evil.example"},
    ],
)
def test_a_page_of_another_site_can_not_post(folder, images, headers):
    files = [("files", ("a.jpg", next(iter(images.values()))))]
    for path in ("/api/v1/bundles/bundle/predict", "/bundles/bundle", "/login"):
        assert ask(folder, ("POST", path, {"files": files, "headers": headers}))[0].status_code == 403
    ours = {"origin": "http://test", "sec-fetch-site": "same-origin"}
    assert ask(folder, ("POST", "/bundles/bundle", {"files": files, "headers": ours}))[0].status_code == 200


def test_without_the_token_nothing_but_health_is_to_be_had(folder):
    """T20"""
    with_token = {"headers": {"authorization": f"Bearer {TOKEN}"}}
    paths = ["/", "/api", "/api/openapi.json", "/api/v1/bundles", "/api/v1/runs", "/runs/run", "/runs/run/report"]
    post = ("POST", "/api/v1/bundles/bundle/predict", {"files": [("files", ("a", b"a"))]})
    for bad in ({}, {"headers": {"authorization": "Bearer wrong"}}, {"headers": {"authorization": f"Basic {TOKEN}"}},
                {"headers": {"cookie": f"skythaw={TOKEN}"}}, {"params": {"token": TOKEN}}):  # fmt: skip
        answers = ask(folder, *(("GET", path, bad) for path in paths), ("POST", post[1], post[2] | bad), token=TOKEN)
        assert {each.status_code for each in answers} == {401}
        assert all(TOKEN not in each.text for each in answers)
    assert {each.status_code for each in ask(folder, *(("GET", p, with_token) for p in paths), token=TOKEN)} == {200}
    assert [a.status_code for a in ask(folder, ("GET", "/health"), ("GET", "/login"), token=TOKEN)] == [200, 200]


def test_a_browser_brings_the_token_once(folder):
    async def go():
        async with make_client(folder, token=TOKEN) as client:
            wrong = await client.post("/login", data={"token": "wrong"})
            right = await client.post("/login", data={"token": TOKEN})
            return wrong, right, await client.get("/runs/run")

    wrong, right, page = asyncio.run(go())
    assert wrong.status_code == 401
    assert "set-cookie" not in wrong.headers
    cookie = right.headers["set-cookie"]
    assert right.status_code == 303
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie
    assert page.status_code == 200


def test_the_guess_of_a_token_takes_as_long_whatever_it_is():
    """Not measured: the comparison is the one that the standard library makes for this."""
    import inspect

    from skythaw.web import request_guard

    source = inspect.getsource(request_guard)
    assert source.count("compare_digest") == 2
    assert not re.search(r"(==|!=|\bin)\s*(self|rules)\.(token|pass_)", source)


def test_too_much_is_refused_before_it_is_read(folder):
    """T18, in one process: with a length that says so, and in pieces that say nothing."""
    read = 0

    async def pieces():
        nonlocal read
        yield b'--x\r\ncontent-disposition: form-data; name="files"; filename="a"\r\n\r\n'
        for _ in range(1000):
            read += 10_000
            yield b"0" * 10_000
        yield b"\r\n--x--\r\n"

    kind = {"content-type": "multipart/form-data; boundary=x"}
    for path in ("/api/v1/bundles/bundle/predict", "/bundles/bundle"):
        read = 0
        answer = ask(folder, ("POST", path, {"content": pieces(), "headers": kind}))[0]
        assert answer.status_code == 413
        assert read <= 1.1 * LARGEST
        assert upload(folder, b"0" * (LARGEST + 1), path=path).status_code == 413
        zipped = {**kind, "content-encoding": "gzip"}
        assert ask(folder, ("POST", path, {"content": b"x", "headers": zipped}))[0].status_code == 415


def test_every_answer_says_what_a_browser_may_do_with_it(folder):
    for path in ("/", "/api/v1/bundles", "/nothing", "/static/style.css", "/static/page.js", "/runs/run/report"):
        headers = get(folder, path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "'unsafe-eval'" not in policy
        assert "'unsafe-inline'" not in policy or path.endswith("report")
        assert "script-src 'unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"


def test_no_page_reaches_for_another_host(folder):
    key = get(folder, "/api/v1/runs/run/cells").json()[0]["key"]
    for path in (
        "/",
        "/api",
        "/runs/run",
        "/runs/run/cells",
        f"/runs/run/cells/{key}",
        "/runs/run/objects",
        "/bundles/bundle",
    ):
        text = get(folder, path).text
        assert not re.search(r'(?:src|href|action)="(?:https?:)?//', text)
        assert not re.search(r"<script(?! src=)|<style|\son\w+=|\sstyle=", text), path


def test_words_of_users_are_text(folder):
    nasty = '"><script>alert(1)</script>'
    for path in ("/runs/run/cells?text=", "/runs/run/objects?label=", "/bundles/bundle?run=run&object=", "/"):
        assert "<script>alert" not in get(folder, path + nasty).text


TAILS = ("etc/passwd", "bundle.json", "run/ledger.sqlite", "survey.parquet")
NAMES = [
    *("../" * n + tail for n in range(1, 9) for tail in TAILS),
    *("..%2f" * n + "etc/passwd" for n in range(1, 9)),
    *("%2e%2e/" * n + "etc/passwd" for n in range(1, 9)),
    *("%252e%252e%252f" * n + "etc/passwd" for n in range(1, 5)),
    *("..\\" * n + "windows\\win.ini" for n in range(1, 5)),
    "/etc/passwd", "//etc/passwd", "\\\\host\\share\\file", "C:\\boot.ini", "file:///etc/passwd", "%00", "a%00.png",
    "a" * 300, "a" * 5000, "....//....//etc/passwd", "..;/etc/passwd", "%c0%ae%c0%ae/etc/passwd",
    "\u202e..\u2044etc", "\uff0e\uff0e/etc/passwd", "~root/.ssh/id_rsa", ".", "..", "...", " ", "%20",
    "bundle/../../etc/passwd", "con", "nul.txt",
]  # fmt: skip
PLACES = (
    "/{}", "/static/{}", "/runs/{}", "/runs/{}/report", "/runs/run/cells/{}", "/runs/run/{}", "/bundles/{}",
    "/api/v1/bundles/{}", "/api/v1/runs/{}/cells", "/api/v1/runs/run/cells/{}/objects", "/runs/run/image?object={}",
    "/runs/run/objects?cell={}", "/bundles/bundle?run=run&object={}", "/bundles/bundle?run={}&object=a",
)  # fmt: skip


def test_no_name_leads_out_of_the_folders(folder):
    """T19: more than 1,000 names in places where a name is taken."""
    requests = [("GET", place.format(name)) for place in PLACES for name in NAMES]
    assert len(requests) >= 1000
    answers = ask(folder, *[(method, path) for method, path in requests if _asked(path)])
    assert len(answers) > 900  # the rest the client itself refuses
    for answer in answers:
        assert answer.status_code in (200, 303, 404, 405, 422), (answer.url, answer.status_code)
        assert "root:" not in answer.text
        assert str(folder) not in answer.text
        assert "SQLite format" not in answer.text


def _asked(path):
    """Whether the client can be made to ask for it; test_web_server asks for some that it can't."""
    try:
        httpx.URL("http://test" + path)
    except (httpx.InvalidURL, UnicodeError):
        return False
    return True


def test_the_name_of_a_file_is_shown_as_text_and_no_file_gets_it(folder, images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = next(iter(images.values()))
    names = {
        "m 31, r.jpg": "m 31, r.jpg",
        "../../evil.jpg": "evil.jpg",
        "/etc/cron.d/evil": "evil",
        "..\\evil": "evil",
        "a" * 300: "a" * 80,
        "<script>": "&lt;script&gt;",
        "..": "..",
    }
    for name, shown in names.items():
        answer = ask(folder, ("POST", "/bundles/bundle", {"files": [("files", (name, data))]}))[0]
        assert answer.status_code == 200
        assert f"<h2>{shown}: " in answer.text
        assert "<script>" not in answer.text
        assert "etc" not in answer.text
    assert not list(tmp_path.iterdir())


def test_what_breaks_later_names_no_folder(folder, tmp_path):
    """T19: a run that is removed while it is shown, and predictions that are damaged."""
    shutil.copytree(folder / "run", tmp_path / "run")
    cells = get(folder, "/api/v1/runs/run/cells").json()

    async def go():
        app = make_app(open_service([tmp_path / "run"], [], rules()))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            for each in (tmp_path / "run" / "predictions").iterdir():
                each.write_bytes(b"PAR1")
            damaged = [await client.get(f"/api/v1/runs/run/cells/{each['key']}/objects") for each in cells]
            shutil.rmtree(tmp_path / "run")
            gone = [await client.get(path) for path in ("/", "/runs/run", "/runs/run/cells", "/api/v1/runs/run")]
        return damaged, gone

    damaged, (home, *gone) = asyncio.run(go())
    assert {each.status_code for each in (*damaged, *gone)} == {500}
    assert home.status_code == 200
    assert "can&#39;t be read any more" in home.text or "can't be read any more" in home.text
    assert all(str(tmp_path) not in each.text for each in (*damaged, *gone, home))


def test_two_folders_of_one_name_have_two_names(tmp_path):
    found = named([tmp_path / "a" / "run", tmp_path / "b" / "run", tmp_path / "böse <name>"])
    assert list(found) == ["run", "run-2", "b-se--name-"]


@few(5000)
def test_the_interface_is_what_it_says_it_is(folder, examples):
    """T17: requests made up from the description, odd ones too; no 5xx, nothing that is not described."""
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, seed, settings
    from hypothesis import strategies as st

    keys = [row["key"] for row in get(folder, "/api/v1/runs/run/cells").json()]

    ours = rules(hosts=frozenset({"testserver"}))
    app = make_app(open_service([folder / "run"], [folder / "bundle"], ours))
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", app)
    codes = Counter()

    @seed(0)
    @settings(max_examples=examples, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(case=schema.as_strategy(), real=st.booleans(), key=st.sampled_from(keys))
    def check(case, real, key):
        if real:  # random names are names of nothing
            there = {"name": "bundle" if "bundles" in case.path else "run", "key": key}
            case.path_parameters = {name: there[name] for name in case.path_parameters or {}}
        codes[case.call_and_validate().status_code] += 1

    check()
    assert codes.total() >= examples
    assert codes[200] > examples / 10
    assert not any(code >= 500 and code != 503 for code in codes)


def test_versions_are_those_without_known_holes():
    from importlib.metadata import version

    def number(text):
        return tuple(int(part) for part in re.findall(r"\d+", text)[:3])

    for name, least in (("starlette", "1.3.1"), ("python-multipart", "0.0.31"), ("pillow", "12.2.0")):
        assert number(version(name)) >= number(least), name


def test_problems_are_told_in_one_sentence(folder):
    answer = ask(folder, ("POST", "/api/v1/bundles/bundle/predict", {}))[0]
    assert answer.status_code == 422
    assert json.loads(answer.text)["detail"] == "files: field required"
