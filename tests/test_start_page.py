"""The start page: who may begin a run of `tune`, where, and what becomes of it. In this process, and as a server."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from helpers_study import make_survey
from helpers_tune import prepared
from helpers_web import TOKEN, rules, serving
from skythaw.web.tune_desk import TuneDesk
from skythaw.web.web_app import make_app, open_service

GOOD = {"images": "survey.parquet", "budget": "10m", "out": "out"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("start") / "inside"
    folder.mkdir()
    make_survey(folder / "survey.parquet", objects=120)
    (folder.parent / "outside").mkdir()
    (folder / "link").symlink_to(folder.parent / "outside")
    return folder


def post(desk, form=None, path="/tune", headers=None, client=("127.0.0.1", 1), **changes):
    """The answer to a form that is sent to a service in this process."""

    async def go():
        app = make_app(open_service([], [], rules(**changes), desk=desk))
        transport = httpx.ASGITransport(app, client=client)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as asked:
            if form is None:
                return await asked.get(path, headers=headers)
            return await asked.post(path, data=form, headers=headers)

    return asyncio.run(go())


def said(answer):
    """The sentence of a page that refuses."""
    return re.search(r'role="alert">(.*?)</p>', answer.text).group(1)


@pytest.fixture
def desk(folder, cache, monkeypatch):
    """A desk that may not begin anything: a test that gets so far fails."""
    monkeypatch.setattr("skythaw.web.started_tune.subprocess.Popen", lambda *_, **__: pytest.fail("it was begun"))
    return TuneDesk(folder, cache)


REFUSED = {
    "no secret": {"form": GOOD},
    "a wrong secret": {"form": GOOD | {"secret": "guessed"}},
    "another site": {"headers": {"origin": "http://evil.example"}},
    "a site that says so": {"headers": {"sec-fetch-site": "cross-site"}},
    "another machine": {"client": ("192.0.2.7", 1)},
    "a proxy": {"headers": {"x-forwarded-for": "192.0.2.7"}},
}


@pytest.mark.parametrize("how", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("path", ["/tune", "/tune/stop"])
def test_nobody_else_starts_or_stops_a_run(desk, how, path):
    answer = post(desk, **({"form": GOOD | {"secret": desk.secret}} | how), path=path)
    assert answer.status_code == 403
    assert desk.now is None


def test_a_token_is_needed_where_there_is_one(desk):
    form = GOOD | {"secret": desk.secret}
    assert post(desk, form, token=TOKEN).status_code == 401
    assert post(desk, form, token=TOKEN, path="/tune/stop").status_code == 401
    assert post(desk, None, token=TOKEN).status_code == 401


def test_a_service_without_a_folder_starts_nothing():
    for path in ("/tune", "/tune/progress", "/tune/report", "/tune/classifier"):
        assert post(None, path=path).status_code == 404
    assert post(None, GOOD).status_code == 404
    assert "/tune" not in post(None, path="/").text


def test_what_was_not_begun_can_not_be_seen(desk):
    for path in ("/tune/progress", "/tune/report", "/tune/classifier"):
        assert post(desk, path=path).status_code == 404
    assert post(desk, {"secret": desk.secret}, path="/tune/stop").status_code == 404


OUTSIDE = ["/etc", "..", "a/../../outside", "link", "link/deeper", "~", "x" * 2000]


@pytest.mark.parametrize("path", OUTSIDE)
@pytest.mark.parametrize("field", ["images", "labels", "table", "out"])
def test_no_path_leads_out_of_the_folder(desk, folder, field, path):
    answer = post(desk, GOOD | {"secret": desk.secret, field: path})
    assert answer.status_code == 422
    assert "is not inside" in said(answer)
    assert str(folder) in said(answer)


BAD = {
    "no images": ({"images": ""}, "Say which folder of images"),
    "nowhere": ({"images": "nowhere"}, "There is no "),
    "no labels": ({"labels": "nowhere.csv"}, "There is no "),
    "no time": ({"budget": "soon"}, "Budget &#39;soon&#39; is no time: write for example 90s"),
    "no path": ({"out": "a\0b"}, "is no path"),
    "a long name": ({"out": "a" * 300}, "is no path"),
    "long images": ({"images": "a" * 300}, "is no path"),
    "a folder of something else": ({"out": "thesis"}, "not made by skythaw tune: choose another folder under “What"),
}


@pytest.mark.parametrize(("changes", "sentence"), BAD.values(), ids=BAD)
def test_bad_input_is_one_sentence_and_what_was_typed_stays(desk, folder, changes, sentence):
    (folder / "thesis").mkdir(exist_ok=True)
    (folder / "thesis" / "words.txt").write_text("words")
    answer = post(desk, GOOD | {"secret": desk.secret, "table": "survey.parquet"} | changes)
    assert answer.status_code == 422
    assert sentence in said(answer)
    assert 'value="survey.parquet"' in answer.text


def test_a_machine_without_room_for_another_process_says_so(desk, monkeypatch):
    def none_left(*_, **__):
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr("skythaw.web.started_tune.subprocess.Popen", none_left)
    answer = post(desk, GOOD | {"secret": desk.secret})
    assert answer.status_code == 422
    assert "The run can&#39;t be begun: Cannot allocate memory" in said(answer)
    assert desk.now is None


def test_one_run_at_a_time(desk):
    desk.now = SimpleNamespace(running=True)
    answer = post(desk, GOOD | {"secret": desk.secret})
    assert answer.status_code == 409
    assert "wait for its end, or stop it" in answer.text


@pytest.fixture
def failed_desk(folder, cache, monkeypatch):
    """A desk whose runs end at once, with what a log says."""
    ended = SimpleNamespace(poll=lambda: 2, stdin=None, wait=lambda _: 2, pid=0)
    monkeypatch.setattr("skythaw.web.started_tune.subprocess.Popen", lambda *_, **__: ended)
    desk = TuneDesk(folder, cache)
    yield desk
    desk.close()


def test_the_run_that_is_shown_keeps_its_own_names(failed_desk, folder):
    (folder / "b" / "two").mkdir(parents=True, exist_ok=True)
    form = GOOD | {"secret": failed_desk.secret}
    assert post(failed_desk, form | {"images": "b/two", "out": "first"}).status_code == 303
    answer = post(failed_desk, form | {"images": "nope", "out": "second"})
    assert answer.status_code == 422
    assert "<code>b/two</code> becomes <code>first</code>" in answer.text
    assert 'value="nope"' in answer.text
    assert 'value="second"' in answer.text
    assert "There is no" in said(answer)
    assert post(failed_desk, form | {"out": "third"}).status_code == 303
    assert "<code>survey.parquet</code> becomes <code>third</code>" in post(failed_desk).text


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (
            "2 images can't be read: a (torn), b (torn); leave them out with --skip-broken",
            "with the box “Leave out images",
        ),
        ("A/2.jpg is broken; to leave out such images: --skip-broken", "such images: the box “Leave out images"),
        ("a budget of 3 s is too small, so say --budget 2m", "so say 2m as the time"),
        (
            "what was done is kept, and the same command with twice the --budget goes on",
            "same form with twice the time",
        ),
        (
            "the classifier takes images alone; the same command with a larger --budget goes on",
            "with a larger time goes",
        ),
        ("skythaw is at work there already: choose another --out", "choose another folder under “What comes out”"),
        ("give a table of labels (--labels CSV)", "give a table of labels (under “Labels”)"),
    ],
)
def test_advice_is_in_the_words_of_the_form(failed_desk, line, shown):
    post(failed_desk, GOOD | {"secret": failed_desk.secret, "out": "words"})
    failed_desk.now._log("said").write_text(f"warning: first\nerror: {line}\n")
    state = failed_desk.now.state()
    assert shown in state.why
    assert "--" not in state.why
    assert state.said[0] == "warning: first"
    assert shown in state.said[1]


class Page:
    """The start page of a service that runs."""

    def __init__(self, service):
        self.service = service
        self.client = httpx.Client(base_url=service.address, timeout=60)
        self.secret = re.search(r'name="secret" value="([^"]+)"', self.client.get("/tune").text).group(1)

    def send(self, path="/tune", **form):
        answer = self.client.post(path, data=form | {"secret": self.secret})
        assert answer.status_code == 303, answer.text
        return answer

    def until(self, what, seconds=240):
        end = time.monotonic() + seconds
        while what not in (text := self.client.get("/tune/progress").text):
            assert time.monotonic() < end, text
            time.sleep(0.2)
        return text

    def ended(self):
        return self.until("data-ended")

    def child(self):
        """The process of the run."""
        threads = Path(f"/proc/{self.service.process.pid}/task").glob("*/children")
        return int("".join(each.read_text() for each in threads).split()[0])


@pytest.fixture
def begun(folder, cache):
    """A page of a server of its own."""
    with serving(folder, "--folder", folder, environment={"SKYTHAW_CACHE": str(cache)}) as service:
        page = Page(service)
        yield page
        page.client.close()


@pytest.mark.soak
def test_a_run_from_the_form_to_the_classifier(begun, folder, cache):
    """Also: bad images are one line, and a run that is killed takes nothing down with it."""
    (folder / "two").mkdir()
    begun.send(images="two", budget="10m", out="none")
    assert re.search(r'role="alert">[^<]*two[^<]*</p>', begun.ended())
    assert not (folder / "none").exists()

    prepared(folder / "out", folder / "survey.parquet", cache, seed=[0])
    begun.send(**GOOD)
    assert begun.client.post("/tune", data=GOOD | {"secret": begun.secret}).status_code == 409
    begun.until("searching for the best depth")
    os.kill(begun.child(), signal.SIGKILL)
    assert "Its process was killed by SIGKILL" in begun.ended()

    begun.send(**GOOD)  # the same form goes on
    begun.until("Time left: at most")
    answer = json.loads(wait_for(folder / "out" / "answer.json"))["answer"]
    assert answer in begun.ended()
    page = begun.client.get("/tune").text
    assert "Done" in page
    for link in re.findall(r'href="(/tune/[^"]+|/runs/[^"]+)"', page):
        assert begun.client.get(link, follow_redirects=True).status_code == 200, link
    assert begun.client.get("/tune/classifier").headers["location"] == "/bundles/~out"
    report = begun.client.get("/tune/report")
    assert "sha256-" in report.headers["content-security-policy"]
    assert begun.client.get("/health").text == "ok"


def wait_for(file, seconds=240):
    end = time.monotonic() + seconds
    while not file.exists():
        assert time.monotonic() < end
        time.sleep(0.1)
    return file.read_text()


@pytest.mark.soak
def test_a_run_that_is_stopped_leaves_the_best_so_far(begun, folder, cache):
    prepared(folder / "stopped", folder / "survey.parquet", cache, depth=["0%", "100%"], seed=list(range(9)))
    begun.send(images="survey.parquet", budget="1h", out="stopped")
    begun.until("of 18 trainings of this step have ended")
    begun.send("/tune/stop")
    assert "skythaw.load" in begun.ended()
    assert not json.loads((folder / "stopped" / "answer.json").read_text())["complete"]
    assert "Stopped" in begun.client.get("/tune").text


@pytest.mark.soak
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_does_not_outlive_its_service(begun, folder, cache, how):
    prepared(folder / how.name, folder / "survey.parquet", cache, depth=["0%", "100%"], seed=list(range(9)))
    begun.send(images="survey.parquet", budget="1h", out=how.name)
    begun.until("of 18 trainings of this step have ended")
    child = begun.child()
    begun.service.process.send_signal(how)
    begun.service.process.wait(60)
    end = time.monotonic() + 60
    while alive(child):
        assert time.monotonic() < end
        time.sleep(0.1)
    assert not json.loads((folder / how.name / "answer.json").read_text())["complete"]


def alive(pid):
    try:
        os.kill(pid, 0)
        return True
    except ProcessLookupError:
        return False
