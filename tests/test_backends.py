"""torch and onnxruntime say the same; the faster is taken where they do, and an odd ONNX file is refused."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto, helper
from safetensors.torch import load_file, save_file

import skythaw
from helpers_bundle import make_bundle
from skythaw.bundle import backends
from skythaw.bundle.backends import Onnx, Torch, fastest, open_backend, open_for_single
from skythaw.bundle.bundle_file import ABOUT, ONNX, WEIGHTS, read_about
from skythaw.bundle.classifier import ClassifierOutput
from skythaw.bundle.onnx_session import open_session
from skythaw.cli import main
from skythaw.data.cutouts import read_cutouts
from skythaw.data.decode import decode
from skythaw.errors import BundleError, SpecError
from skythaw.predict import predict_images
from skythaw.predict.predict_images import PredictSettings, predict_to
from skythaw.predict.prediction_rows import NO_PROBABILITIES, OK, rows_of, schema_of
from skythaw.predict.survey.predict_survey import predict_survey


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, cache):
    return make_bundle(tmp_path_factory.mktemp("bundle"), cache)


@pytest.fixture(scope="module", params=["jpeg", "fits"])
def any_bundle(request, bundle, tmp_path_factory, cache):
    return bundle if request.param == "jpeg" else make_bundle(tmp_path_factory.mktemp("any"), cache, floats=True)


@pytest.fixture
def copy(bundle, tmp_path):
    return shutil.copytree(bundle, tmp_path / "copy")


@pytest.fixture
def survey(bundle):
    return bundle.parent / "survey.parquet"


def stack_of(bundle):
    survey = next(bundle.parent.glob("*.parquet"))
    return np.stack([decode(data, name) for name, data, _ in read_cutouts(survey).images()])


def rebind(bundle, content=None):
    """Make a bundle that binds another ONNX file, or none, as its author could."""
    about = json.loads((bundle / ABOUT).read_text())
    about["files"] = {} if content is None else {ONNX: hashlib.sha256(content).hexdigest()}
    (bundle / ABOUT).write_text(json.dumps(about))
    tensors = load_file(bundle / WEIGHTS)
    sha256 = skythaw.bundle.bundle_file.BundleDescription.model_validate(about).sha256
    save_file(tensors, bundle / WEIGHTS, {"about_sha256": sha256})
    (bundle / ONNX).write_bytes(content or b"")
    return bundle


def test_they_agree(any_bundle):
    classifier, images = skythaw.load(any_bundle, device="cpu"), stack_of(any_bundle)
    torch, other = (open_backend(any_bundle, name, "cpu") for name in ("torch", "onnx"))
    for count in (1, 2, 17, len(images)):
        one, two = torch.outputs(images[:count]), other.outputs(images[:count])
        assert np.abs(one.p - two.p).max() < 1e-4
        assert np.allclose(one.features, two.features, rtol=1e-3, atol=1e-4)
        assert one.p.shape == two.p.shape == (count, len(classifier.classes))
        assert one.features.shape == two.features.shape == (count, classifier.about.features)
    assert np.array_equal(torch.outputs(images[:17]).p, torch.twin().outputs(images[:17]).p)


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_the_file_says_what_it_was(bundle, survey, tmp_path, backend, capsys):
    out, command = tmp_path / "out.parquet", ["predict", bundle, survey, "--backend", backend, "--device", "cpu", "-o"]
    with pytest.raises(SystemExit, match="0"):
        main([*map(str, [*command, out]), "--json"])
    assert json.loads(capsys.readouterr().out)["backend"] == backend
    assert json.loads(pq.read_schema(out).metadata[b"skythaw"])["backend"] == backend
    with pytest.raises(SystemExit, match="0"):
        main([*map(str, [*command, out])])
    assert f"images/s, {backend})" in capsys.readouterr().out


class Fake:
    """A backend that takes as long as it is told to."""

    def __init__(self, name, p, seconds, clock):
        self.name, self._p, self._seconds, self._clock = name, p, seconds, clock

    def outputs(self, images):
        self._clock[0] += self._seconds
        return ClassifierOutput(np.full((len(images), 2), self._p, np.float32), np.zeros((len(images), 1), np.float32))


@pytest.mark.parametrize(
    ("p", "seconds", "taken"),
    [(0.5, 0.9, "onnx"), (0.5, 1.1, "torch"), (0.50005, 0.9, "onnx"), (0.5002, 0.1, "torch"), (np.nan, 0.1, "torch")],
)
def test_the_fastest_that_agrees_is_taken(monkeypatch, p, seconds, taken):
    clock = [0.0]
    monkeypatch.setattr(backends.time, "perf_counter", lambda: clock[0])
    several = (Fake("torch", 0.5, 1.0, clock), Fake("onnx", p, seconds, clock))
    assert fastest(several, np.zeros((3, 4, 4, 3), np.uint8)).name == taken


def test_auto_takes_torch_where_there_is_nothing_else(bundle, copy, monkeypatch):
    images = list(stack_of(bundle)[:5])
    monkeypatch.setattr(backends, "fastest", lambda several, _: several[-1])
    assert isinstance(open_backend(bundle, "auto", "cpu", images), Onnx)
    assert isinstance(open_backend(bundle, "auto", "cpu"), Torch), "nothing to try it on"
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert isinstance(open_backend(bundle, "auto", "cpu", images), Torch)
    with pytest.raises(
        SpecError, match=r"the backend onnx needs the package onnxruntime: pip install 'skythaw\[fast\]'"
    ):
        open_backend(bundle, "onnx", "cpu")
    monkeypatch.undo()
    rebind(copy)
    assert isinstance(open_backend(copy, "auto", "cpu", images), Torch)
    with pytest.raises(
        SpecError, match=r"the backend onnx needs model.onnx: the bundle has none; or use the backend torch"
    ):
        open_backend(copy, "onnx", "cpu")


@pytest.mark.parametrize("first", ["torch", "onnx"])
def test_auto_goes_on_with_what_it_began_with(bundle, survey, tmp_path, monkeypatch, first):
    """Whatever would be faster now."""
    out, setting = tmp_path / "out.parquet", PredictSettings(16, "cpu", 1, 50)
    other = {"torch": "onnx", "onnx": "torch"}[first]
    take(monkeypatch, first)
    whole = tmp_path / "whole.parquet"
    predict_to(bundle, [survey], whole, setting)

    def stopped(items, total):
        yield from islice(items, 140)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_to(bundle, [survey], out, setting, stopped)
    monkeypatch.undo()
    take(monkeypatch, other)
    summary = predict_to(bundle, [survey], out, setting)
    assert (summary.resumed, summary.backend) == (116, first), "whole batches: of 16, and of 2 at the end of a shard"
    assert out.read_bytes() == whole.read_bytes()


def take(monkeypatch, name):
    monkeypatch.setattr(backends, "fastest", lambda several, _: next(each for each in several if each.name == name))


def test_a_backend_that_cannot_be_is_refused(bundle, survey, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["predict", str(bundle), str(survey), "-o", str(tmp_path / "o.csv"), "--backend", "tvm"])
    with pytest.raises(SystemExit, match="2"):
        main(
            [
                "predict",
                str(bundle),
                str(survey),
                "-o",
                str(tmp_path / "o.csv"),
                "--backend",
                "onnx",
                "--device",
                "cuda",
            ]
        )
    assert "the backend onnx runs on the CPU, not on 'cuda'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def graph(inputs, outputs, nodes, initializers=()):
    def info(each):
        return helper.make_tensor_value_info(each[0], TensorProto.FLOAT, each[1])

    made = helper.make_graph(nodes, "g", [*map(info, inputs)], [*map(info, outputs)], [*initializers])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def constant(name, width):
    """A node for `name` [batch, width], whatever the image is."""
    of = helper.make_tensor(f"{name}_w", TensorProto.FLOAT, [3, width], [0.1] * 3 * width)
    return [helper.make_node("Gemm", ["pooled", f"{name}_w"], [name])], [of]


def odd_graphs(about):
    """Graphs that are not this bundle's, and what is said of them."""
    size, classes, features = about.cell.pixels.size, len(about.classes), about.features
    image = ("image", ["n", 3, size, size])
    out = {"probability": ("probability", ["n", classes]), "features": ("features", ["n", features])}
    pooled = [
        helper.make_node("GlobalAveragePool", ["image"], ["small"]),
        helper.make_node("Flatten", ["small"], ["pooled"]),
    ]
    (p, p_w), (f, f_w) = constant("probability", classes), constant("features", features)
    good = graph([image], out.values(), [*pooled, *p, *f], [*p_w, *f_w])
    yield "", good
    yield (
        "takes picture",
        graph(
            [("picture", image[1])],
            out.values(),
            [helper.make_node("Identity", ["picture"], ["image"]), *pooled, *p, *f],
            [*p_w, *f_w],
        ),
    )
    yield (
        "takes image tensor(float) [1,",
        graph([("image", [1, 3, size, size])], out.values(), [*pooled, *p, *f], [*p_w, *f_w]),
    )
    yield (
        f"{size + 1}]",
        graph([("image", ["n", 3, size + 1, size + 1])], out.values(), [*pooled, *p, *f], [*p_w, *f_w]),
    )
    yield "takes image tensor(float)", graph([image, ("more", ["n"])], out.values(), [*pooled, *p, *f], [*p_w, *f_w])
    yield "gives probability", graph([image], [out["probability"]], [*pooled, *p], p_w)
    yield (
        "gives probability",
        graph(
            [image],
            [("probability", ["n", features]), out["features"]],
            [*pooled, *constant("probability", features)[0], *f],
            [*constant("probability", features)[1], *f_w],
        ),
    )
    custom = helper.make_node("Evil", ["image"], ["small"], domain="my.ops")
    yield "can't be run", graph([image], out.values(), [custom, *pooled[1:], *p, *f], [*p_w, *f_w])
    external = onnx.ModelProto.FromString(good.SerializeToString())
    tensor = external.graph.initializer[0]
    for key, value in (("location", "/etc/passwd"), ("offset", "0"), ("length", "36")):
        tensor.external_data.add(key=key, value=value)
    body = helper.make_graph(
        [helper.make_node("Identity", [each], [f"{each}_out"]) for each in ("go", "small_in")],
        "body",
        [
            helper.make_tensor_value_info("trip", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("small_in", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("small_in_out", TensorProto.FLOAT, None),
        ],
    )
    many = [
        helper.make_tensor("trips", TensorProto.INT64, [], [2**62]),
        helper.make_tensor("yes", TensorProto.BOOL, [], [1]),
    ]
    loop = helper.make_node("Loop", ["trips", "yes", "small"], ["looped"], body=body)
    flat = helper.make_node("Flatten", ["looped"], ["pooled"])
    endless = graph([image], out.values(), [pooled[0], loop, flat, *p, *f], [*p_w, *f_w, *many])
    yield "has a node 'Loop' that runs another graph", endless
    hidden = onnx.ModelProto.FromString(good.SerializeToString())
    hidden.functions.append(
        helper.make_function("own", "Again", ["small"], ["looped"], [loop], [helper.make_opsetid("", 18)])
    )
    yield "has a node 'Loop' that runs another graph", hidden
    tensor.data_location = TensorProto.EXTERNAL
    tensor.ClearField("float_data")
    yield "refers to data outside of it", external


def test_odd_graphs_are_refused_in_one_line(bundle, copy, survey, tmp_path, capsys):
    about = read_about(bundle)
    for number, (says, model) in enumerate(odd_graphs(about)):
        content = model.SerializeToString()
        if not says:
            open_session(content, about)
            continue
        with pytest.raises(BundleError) as error:
            open_session(content, about)
        assert says in str(error.value), number
        assert "\n" not in str(error.value)
    for content in (b"", b"\x00ORTM", b"no graph", (bundle / ONNX).read_bytes()[:-1000]):
        with pytest.raises(BundleError, match="can't be run"):
            open_session(content, about)
    rebind(copy, model.SerializeToString())
    for backend in ("auto", "onnx"):
        with pytest.raises(SystemExit, match="2"):
            main(
                [
                    "predict",
                    str(copy),
                    str(survey),
                    "-o",
                    str(tmp_path / "o.csv"),
                    "--backend",
                    backend,
                    "--device",
                    "cpu",
                ]
            )
        error = capsys.readouterr().err
        assert "model.onnx refers to data outside of it" in error
        assert error.count("\n") == 1


def test_a_graph_that_lies_of_its_shapes_is_refused(bundle, copy):
    """One row for all images would be taken for the row of each."""
    about = read_about(bundle)
    good = dict(odd_graphs(about))[""]
    first = [  # the brightest pixel, which is at most 1, rounded up: how many images are looked at
        helper.make_node("ReduceMax", ["image"], ["brightest"], keepdims=0),
        helper.make_node("Ceil", ["brightest"], ["one"]),
        helper.make_node("Cast", ["one"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["whole", "shape"], ["end"]),
        helper.make_node("Slice", ["image", "start", "end", "start"], ["first"]),
    ]
    nodes = [*first, *good.graph.node]
    nodes[len(first)].input[0] = "first"
    for name, number in (("shape", 1), ("start", 0)):
        good.graph.initializer.append(helper.make_tensor(name, TensorProto.INT64, [1], [number]))
    good.graph.ClearField("node")
    good.graph.node.extend(nodes)
    content = good.SerializeToString()
    liar = Onnx(content, skythaw.load(rebind(copy, content), device="cpu"))
    with pytest.raises(BundleError, match=r"gives \(1, 3\) and"):
        liar.outputs(stack_of(bundle)[:4])


def test_a_graph_that_says_something_else_is_not_taken(bundle, copy):
    about = read_about(bundle)
    rebind(copy, dict(odd_graphs(about))[""].SerializeToString())
    assert isinstance(open_backend(copy, "auto", "cpu", list(stack_of(bundle)[:5])), Torch)


def times(content, factors):
    """The same network, whose probabilities are multiplied."""
    model = onnx.load_from_string(content)
    last = next(node for node in model.graph.node if "probability" in node.output)
    last.output[list(last.output).index("probability")] = "before"
    model.graph.initializer.append(helper.make_tensor("factors", TensorProto.FLOAT, [1, 3], factors))
    model.graph.node.append(helper.make_node("Mul", ["before", "factors"], ["probability"]))
    return model.SerializeToString()


@pytest.mark.parametrize("factors", [(1000, 0, 0), (0.9, 1.1, 1.0), (float("nan"), 1, 1)])
def test_a_file_of_other_probabilities_predicts_nothing(bundle, copy, survey, tmp_path, factors):
    rebind(copy, times((bundle / ONNX).read_bytes(), factors))
    with pytest.raises(BundleError, match="other probabilities or features than the bundle's weights"):
        predict_to(copy, [survey], tmp_path / "o.csv", PredictSettings(device="cpu", backend="onnx"))
    with pytest.raises(BundleError, match="other probabilities or features than the bundle's weights"):
        predict_survey(copy, [str(survey)], tmp_path / "o", PredictSettings(device="cpu", backend="onnx"))
    assert predict_survey(copy, [str(survey)], tmp_path / "auto", PredictSettings(device="cpu")).backend == "torch"
    assert not (tmp_path / "o").exists()


def test_a_file_that_differs_on_real_images_alone_is_found_by_the_first_of_them(bundle, copy, survey, tmp_path):
    rebind(copy, times((bundle / ONNX).read_bytes(), (0.9, 1.1, 1.0)))
    classifier = skythaw.load(copy, device="cpu")
    backend = Onnx((copy / ONNX).read_bytes(), classifier)
    with pytest.raises(BundleError, match="other probabilities or features than the bundle's weights"):
        backend.outputs(stack_of(bundle)[:20])


def test_one_image_at_a_time_is_onnxruntimes_where_it_agrees(any_bundle):
    """As the service asks. Torch takes the image as it is, and fills up no batch."""
    onnx, torch = open_for_single(any_bundle), open_backend(any_bundle, "torch", "cpu")
    assert (onnx.name, torch.name) == ("onnx", "torch")
    for image in stack_of(any_bundle)[:5]:
        ours, theirs = onnx.one(image), torch.one(image)
        assert ours.p.shape == (1, 3)
        assert np.abs(ours.p - theirs.p).max() < 1e-5
        assert np.abs(ours.features - theirs.features).max() < 1e-3


@pytest.mark.parametrize("factors", [(0.9, 1.1, 1.0), None])
def test_one_image_at_a_time_is_torchs_where_it_must_be(bundle, copy, factors):
    rebind(copy, factors and times((bundle / ONNX).read_bytes(), factors))
    assert isinstance(open_for_single(copy), Torch)


def test_rows_that_are_no_probabilities_have_a_status_and_no_numbers(bundle):
    classifier = skythaw.load(bundle, device="cpu")
    p = np.array([[0.2, 0.3, 0.5], [474.9, 0, 0], [np.nan, 0, 1], [0.2, 0.2, 0.2], [-0.1, 0.6, 0.5]], np.float32)
    output = ClassifierOutput(p, np.ones((5, classifier.about.features), np.float32))
    status = np.full(5, OK, dtype=object)
    table = rows_of(classifier, schema_of(classifier.about, "torch"), list("abcde"), status, output)
    assert table["status"].to_pylist() == [OK, *[NO_PROBABILITIES] * 4]
    assert table["label"].null_count == table["entropy"].null_count == 4
    assert table[1].null_count == 4


def test_a_tampered_file_is_refused(copy, survey, tmp_path, capsys):
    data = bytearray((copy / ONNX).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / ONNX).write_bytes(data)
    with pytest.raises(SystemExit, match="2"):
        main(["predict", str(copy), str(survey), "-o", str(tmp_path / "o.csv"), "--device", "cpu"])
    assert "model.onnx is not the one that the bundle was made with" in capsys.readouterr().err
    assert predict_to(copy, [survey], tmp_path / "p.csv", PredictSettings(device="cpu", backend="torch")).ok == 180


def test_the_graph_holds_no_paths_of_the_machine_that_made_it(bundle):
    content = (bundle / ONNX).read_bytes()
    for path in (Path(predict_images.__file__).parent, Path(sys.prefix), Path.home()):
        assert str(path).encode() not in content


@pytest.mark.soak
def test_onnxruntime_is_told_not_to_report_to_its_maker(bundle, survey, tmp_path, cache):
    """It notes a session of its telemetry in the temporary folder as soon as it is imported, but for CI."""
    known = {k: v for k, v in os.environ.items() if k not in ("CI", "ORT_DISABLE_TELEMETRY")}
    environment = {**known, "TMPDIR": str(tmp_path), "SKYTHAW_CACHE": str(cache)}

    run, again = bundle.parent / "run", tmp_path / "again"
    export = [run, again]
    predict = [again, survey, "-o", tmp_path / "out.csv", "--backend", "onnx"]
    script = (
        "from skythaw.cli import main\n"
        f"try: main({['export', *map(str, export)]!r})\nexcept SystemExit as end: assert not end.code\n"
        f"try: main({['predict', *map(str, predict)]!r})\nexcept SystemExit as end: assert not end.code\n"
    )
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, capture_output=True)
    assert (tmp_path / "out.csv").exists()
    assert not (tmp_path / ".ses").exists()
