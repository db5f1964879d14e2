"""A classifier goes to the Hub, whole or not at all, and comes back: by a stand-in that answers as the Hub does."""

from __future__ import annotations

import json
import shutil

import huggingface_hub
import pytest
from huggingface_hub import ModelCard

import skythaw
from helpers_bundle import make_bundle
from hub_server import asked_instead_of_the_hub
from skythaw.bundle import hub_bundle
from skythaw.bundle.bundle_file import read_about
from skythaw.bundle.export import hub_card
from skythaw.cli import main, predict_command
from skythaw.errors import BundleError, RemoteError, SkythawError, SpecError
from skythaw.machine.hub_repository import reason_of

NAME = "sky/galaxies"
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>'")  # the Hub's library uploads as its own warns of


@pytest.fixture(scope="module")
def made(tmp_path_factory, cache):
    return make_bundle(tmp_path_factory.mktemp("pushed"), cache)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with asked_instead_of_the_hub(monkeypatch) as server:
        monkeypatch.setattr(hub_bundle, "user_cache_path", lambda name, **_: tmp_path / "cache")
        yield server


def push(made, **options):
    options.setdefault("licence", "cc-by-4.0")
    return skythaw.push(made, NAME, progress=False, **options)


def run(*arguments):
    """Run a command to its end; its exit status."""
    with pytest.raises(SystemExit) as caught:
        main([str(each) for each in arguments])
    return caught.value.code


def same(made, address):
    """Whether the files at an address are those of the bundle; the card differs, which names its place."""
    folder = hub_bundle.bundle_folder(address)
    files = [each for each in made.iterdir() if each.name != "README.md"]
    return all((folder / each.name).read_bytes() == each.read_bytes() for each in files)


def header(server, name=NAME):
    stored = server.repositories[f"models/{name}"]
    return ModelCard(stored.commits[stored.find("main")]["README.md"].decode()).data


def test_there_and_back(hub, made):
    done = push(made, dataset="sky/survey")
    stored = hub.repositories[f"models/{NAME}"]
    assert stored.private
    assert done.private
    assert len(stored.commits) == 2
    assert stored.commits[done.commit].keys() == done.files.keys() == {each.name for each in made.iterdir()}
    assert done.address == f"hf://{NAME}@{done.commit}"
    about = header(hub)
    assert (about.license, about.datasets, about.library_name) == ("cc-by-4.0", ["sky/survey"], "skythaw")
    assert about.metrics == ["f1", "accuracy"]
    assert f'skythaw.load("hf://{NAME}")' in done.card
    for address in (done.address, f"hf://{NAME}"):
        assert skythaw.load(address).about == skythaw.load(made).about


def test_the_same_again_changes_nothing(hub, made):
    first = push(made)
    sent = hub.asked.count("put")
    assert sent
    again = push(made)
    assert (again.commit, again.changed, first.changed) == (first.commit, False, True)
    assert hub.asked.count("put") == sent
    assert len(hub.repositories[f"models/{NAME}"].commits) == 2


def test_a_dry_run_asks_nothing(hub, made, capsys):
    done = push(made, dry_run=True)
    assert (done.commit, done.removed) == (None, ())
    assert run("push", made, NAME, "--licence", "mit", "--dry-run") == 0
    shown = capsys.readouterr().out
    assert "license: mit" in shown
    assert "model.safetensors" in shown
    assert "would go to sky/galaxies, for its owner alone" in shown
    assert hub.asked == []


def test_only_what_belongs_to_a_bundle_goes(hub, made, tmp_path):
    own = shutil.copytree(made, tmp_path / "own")
    (own / "secret.txt").write_text("mine")
    (own / "notes.json").write_text("{}")
    assert not {"secret.txt", "notes.json"} & push(own).files.keys()


def test_an_older_bundle_is_replaced_and_its_further_files_go(hub, made):
    push(made)
    stored = hub.repositories[f"models/{NAME}"]
    stored.commit({**stored.commits[stored.find("main")], "model2.safetensors": b"old", "figure.png": b"theirs"})
    done = push(made)
    assert done.removed == ("model2.safetensors",)
    assert stored.commits[done.commit].keys() == {*done.files, "figure.png"}


@pytest.mark.parametrize(
    ("licence", "field"),
    [
        ("CC-BY-4.0", {"license": "cc-by-4.0"}),
        ("https://example.org/own", {"license": "other", "license_link": "https://example.org/own"}),
    ],
)
def test_a_licence_is_stated_as_it_was_given(hub, made, licence, field):
    push(made, licence=licence)
    assert {name: header(hub).get(name) for name in field} == field
    assert header(hub).get("license_name") == ("own" if "license_link" in field else None)


def test_a_licence_is_never_invented(hub, made):
    with pytest.raises(SpecError, match=r"the licence of the pretrained weights is .*, which is none .* --licence"):
        push(made, licence=None)
    with pytest.raises(SpecError, match=r"--licence 'apache' is none that the Hub knows; did you mean 'apache-2\.0'"):
        push(made, licence="apache")
    assert hub.asked == []


def test_a_known_licence_of_the_weights_is_taken(hub, made, tmp_path):
    own = shutil.copytree(made, tmp_path / "own")
    card = (own / "README.md").read_text()
    (own / "README.md").write_text(card.replace("license: other", "license: apache-2.0"))
    push(own, licence=None)
    assert header(hub).license == "apache-2.0"


@pytest.mark.parametrize("name", ["galaxies", "a/b/c", "../x", "hf://a/b", "a/"])
def test_names_that_are_none(hub, made, name):
    with pytest.raises(SpecError, match=r"hf://sky/net is on the Hub already; give the folder of a classifier"):
        skythaw.push("hf://sky/net", "sky/other")
    with pytest.raises(SpecError, match="should be OWNER/NAME"):
        skythaw.push(made, name)
    assert hub.asked == []


def test_nothing_of_others_is_overwritten_or_shown(hub, made):
    push(made, public=True)
    with pytest.raises(SpecError, match="is on the Hub already, for everyone to see: say --public"):
        push(made)
    push(made, public=True)
    hub.repositories["models/sky/other"] = stored = type(hub.repositories[f"models/{NAME}"])()
    stored.commit({"README.md": b"x", "pytorch_model.bin": b"theirs"})
    with pytest.raises(SpecError, match=r"holds something else on the Hub \(pytorch_model.bin\)"):
        skythaw.push(made, "sky/other", licence="mit")


def test_what_another_pushes_meanwhile_is_not_overwritten(hub, made, monkeypatch):
    push(made)
    stored, about = hub.repositories[f"models/{NAME}"], hub.about

    def overtaken(name, revision):
        found = about(name, revision)
        stored.commit({"bundle.json": b"theirs"})
        return found

    monkeypatch.setattr(hub, "about", overtaken)
    with pytest.raises(RemoteError, match="was changed by somebody else meanwhile: look at it, then"):
        push(made, licence="mit")
    assert stored.commits[stored.find("main")] == {"bundle.json": b"theirs"}


def test_a_damaged_bundle_stays_here(hub, made, tmp_path):
    own = shutil.copytree(made, tmp_path / "own")
    data = bytearray((own / "references.safetensors").read_bytes())
    data[-1] ^= 1
    (own / "references.safetensors").write_bytes(data)
    with pytest.raises(BundleError, match="references"):
        push(own)
    assert hub.asked == []


FAULTS = [
    ("create", 401, "does not know who asks: run `hf auth login`"),
    ("create", 403, "has no right to do this"),
    ("create", 404, "is the owner right"),
    ("preupload", 429, "asks for fewer requests"),
    ("commit", 429, "asks for fewer requests"),
    ("put", 403, "has no right"),
    ("commit", 500, "trouble of its own"),
    ("create", "cut", "can't push"),
    ("put", "cut", "can't push"),
    ("commit", "cut", "can't push"),
    ("batch", "half", "can't push"),
]


@pytest.mark.soak
@pytest.mark.parametrize(("step", "fault", "words"), FAULTS)
def test_a_push_that_fails_says_why_in_one_line_and_leaves_nothing_by_half(hub, made, capsys, step, fault, words):
    hub.faults[step] = fault
    assert run("push", made, NAME, "--licence", "mit") == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.startswith("error: can't push to sky/galaxies on the Hugging Face Hub: ")
    assert said.count("\n") == 1
    stored = hub.repositories.get(f"models/{NAME}")
    if stored and step != "commit":
        assert all(not files for files in stored.commits.values())
    hub.faults.clear()
    assert same(made, push(made, licence="mit").address)


def test_one_commit_is_read_and_stays_readable_without_the_hub(hub, made):
    done = push(made)
    stored = hub.repositories[f"models/{NAME}"]
    stored.names["v1"] = done.commit
    stored.commit({"bundle.json": b"another"})
    assert same(made, f"hf://{NAME}@v1")
    with pytest.raises(SkythawError):
        skythaw.load(f"hf://{NAME}")
    asked = len(hub.asked)
    assert same(made, done.address)
    assert len(hub.asked) == asked, "a commit that is here needs no network"
    hub.faults["about"] = "cut"
    assert same(made, f"hf://{NAME}@v1")


def test_nothing_but_the_files_of_a_bundle_is_fetched(hub, made, tmp_path):
    done = push(made)
    stored = hub.repositories[f"models/{NAME}"]
    new = stored.commit({**stored.commits[done.commit], "pytorch_model.bin": b"pickle", "code.py": b"import os"})
    skythaw.load(f"hf://{NAME}@{new}")
    there = {each.name for each in (tmp_path / "cache").rglob("*") if ".cache" not in each.parts}
    assert "model.safetensors" in there
    assert not {"pytorch_model.bin", "code.py"} & there


READ = [
    ("about", 401, "does not know who asks"),
    ("about", 403, "has no right"),
    ("about", 404, "is the owner right"),
    ("about", 429, "asks for fewer requests"),
    ("about", "cut", "can't fetch"),
    ("tree", "half", "can't fetch"),
    ("file", 404, "can't fetch"),
    ("file", 403, "has no right"),
    ("file", "cut", "can't fetch"),
    ("file", "half", "can't fetch"),
    ("head", 429, "can't fetch"),
]


@pytest.mark.soak
@pytest.mark.parametrize(("step", "fault", "words"), READ)
def test_a_load_that_fails_says_why_and_the_next_goes_on(hub, made, tmp_path, capsys, step, fault, words):
    push(made)
    hub.faults[step] = fault
    assert run("predict", f"hf://{NAME}", made.parent / "survey.parquet", "-o", tmp_path / "p.parquet") == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not list(tmp_path.glob("p.*"))
    hub.faults.clear()
    assert same(made, f"hf://{NAME}")


def test_every_command_that_takes_a_bundle_takes_its_address(hub, made, tmp_path, capsys):
    address, survey = push(made).address, made.parent / "survey.parquet"
    for bundle, name in ((address, "p.csv"), (made, "q.csv")):
        assert run("predict", bundle, survey, "-o", tmp_path / name) == 0
    assert (tmp_path / "p.csv").read_text() == (tmp_path / "q.csv").read_text()
    assert run("features", address, survey, "-o", tmp_path / "f.parquet") == 0
    capsys.readouterr()
    assert run("evaluate", address, survey, "--json") == 0
    assert json.loads(capsys.readouterr().out)["schema"] == 1


@pytest.mark.parametrize("name", ["../up.json", "/etc/up.json", "a/../../up.json"])
def test_names_that_lead_out_of_the_folder_are_refused(hub, made, tmp_path, name):
    done = push(made)
    stored = hub.repositories[f"models/{NAME}"]
    new = stored.commit({**stored.commits[done.commit], name: b"{}"})
    with pytest.raises(RemoteError, match="leads out of its folder"):
        skythaw.load(f"hf://{NAME}@{new}")
    assert not list(tmp_path.rglob("up.json"))


def test_an_address_that_is_none_and_a_repository_that_is_not_there(hub):
    with pytest.raises(BundleError, match="should be hf://owner/name"):
        skythaw.load("hf://galaxies")
    with pytest.raises(RemoteError, match="the Hub shows no repository sky/none"):
        skythaw.load("hf://sky/none")
    assert huggingface_hub.constants.ENDPOINT.startswith("http://127.")


def test_nothing_private_becomes_public_in_silence(hub, made):
    done = push(made)
    with pytest.raises(
        SpecError, match=r"for its owner alone: leave out --public, .* at https://\S+/sky/galaxies/sett"
    ):
        push(made, public=True)
    stored = hub.repositories[f"models/{NAME}"]
    assert (stored.private, stored.find("main")) == (True, done.commit)


@pytest.mark.parametrize("stated", ["license: other\nlicense_name: mine", "license: mine", "license: [mit, mine]"])
def test_a_licence_that_the_owner_wrote_is_not_replaced(hub, made, tmp_path, stated, monkeypatch):
    own = shutil.copytree(made, tmp_path / "own")
    card = (own / "README.md").read_text()
    before = "license: other\nlicense_name: unknown (weights of the user's own)"
    assert before in card
    (own / "README.md").write_text(card.replace(before, stated))
    monkeypatch.setattr(hub_card, "LICENCES", hub_card.LICENCES | {read_about(made).licence})  # as if it were known
    with pytest.raises(SpecError, match=r"the card states the licence .*mine"):
        push(own, licence=None)
    assert hub.asked == []


def test_a_card_that_is_too_long_is_not_cut(hub, made, tmp_path):
    own = shutil.copytree(made, tmp_path / "own")
    with (own / "README.md").open("a") as file:
        file.write("x" * (1 << 20))
    with pytest.raises(BundleError, match="too many for a card"):
        push(own)


def test_a_token_that_is_none_is_never_shown(hub, made, capsys, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_SECRET€")
    assert run("push", made, NAME, "--licence", "mit") == 2
    said = capsys.readouterr().err
    assert "your token holds a letter that no token has: run `hf auth login` again" in said
    assert "CRET" not in said
    for words in (
        r"Illegal header value b'Bearer hf_SE\x0bCRET'",
        "Invalid return character in header 'Bearer hf_CRET'",
    ):
        assert "CRET" not in reason_of(RuntimeError(words))


def test_what_the_hub_says_of_a_bad_request_is_said(hub, made, capsys):
    hub.faults["commit"] = 400
    assert run("push", made, NAME, "--licence", "mit") == 2
    assert capsys.readouterr().err.endswith("the Hugging Face Hub: a fault\n")


def test_an_address_that_lets_anybody_in_is_not_shown():
    error = RuntimeError("'410 Gone' for url 'https://store.example/a?X-Signature=SECRET&b' and https://x.example?y=1")
    assert reason_of(error) == "'410 Gone' for url 'https://store.example/a' and https://x.example"


def test_a_classifier_is_looked_up_once(hub, made, tmp_path, monkeypatch):
    push(made)
    show = predict_command._show

    def fails_from_now_on(*arguments):
        hub.faults["about"] = 500
        show(*arguments)

    monkeypatch.setattr(predict_command, "_show", fails_from_now_on)
    assert run("predict", f"hf://{NAME}", made.parent / "survey.parquet", "-o", tmp_path / "p.csv") == 0
