"""Reports to lay out: a rich one of seven networks with hostile names, and a small one of one network."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from skythaw.report.figures.elements import Chart, Gallery, HeatMap, Page, Picture, Section, Series, Table

HOSTILE = "</script><img src=x onerror=alert(1)>"
NASTY = (
    HOSTILE,
    '"><svg onload=alert(2)>',
    "{{ 7 * 7 }}",
    "%{x}<br><a href='https://evil.test'>a</a>",
    "@ink",
    "a&amp;b",
)
NETWORKS = {
    "resnet50": 17,
    "densenet121": 59,
    "vgg16": 13,
    "xception": 14,
    "efficientnet_b2": 25,
    "mobilenetv2": 19,
    "nasnet_mobile": 17,
}
CLASSES = ("GALAXY", "QSO", "STAR")
SIZES = (150.0, 500.0, 1500.0, 5000.0)


def png(seed=0, size=32):
    """A small spot on a noisy sky."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    q = rng.uniform(0.5, 1.5)
    spot = 200 * np.exp(-(x**2 + (q * y) ** 2) / (2 * rng.uniform(2, 6) ** 2))
    pixels = spot[..., None] * rng.uniform(0.4, 1, 3) + rng.normal(14, 6, (size, size, 3))
    out = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(out, "PNG")
    return out.getvalue()


def curve(label, top, rng, points=9):
    """Macro-F1 against depth: up steeply, then flat."""
    x = np.linspace(0, 100, points)
    y = top - 0.16 * np.exp(-x / 18) + rng.normal(0, 0.004, points)
    half = rng.uniform(0.006, 0.014, points)
    best = int(np.argmax(y))
    return Series(
        label,
        tuple(x.tolist()),
        tuple(y.tolist()),
        tuple((y - half).tolist()),
        tuple((y + half).tolist()),
        marked=(best,),
        notes=tuple(f"{round(v / 100 * 17)} of 17 blocks, 3 seeds" for v in x),
    )


def depth_chart(name="depth", labels=tuple(NETWORKS), seed=1):
    rng = np.random.default_rng(seed)
    return Chart(
        name,
        "The upper half of the blocks holds nearly all of the gain",
        "Macro-F1 on the test set against the share of blocks that are fine-tuned, counted from the top, with 1,500 "
        "training images. Beyond half of the blocks no network gains more than its interval.",
        "fine-tuned blocks (%)",
        "macro-F1 on test",
        tuple(curve(label, 0.95 - 0.012 * (i % 7), rng) for i, label in enumerate(labels)),
        ring="chosen on validation",
        bars="95 % interval over objects and seeds",
    )


def size_chart(name="sizes"):
    rng = np.random.default_rng(2)
    series = []
    for i, label in enumerate(NETWORKS):
        y = 0.94 - 0.01 * i - 3.2 / np.sqrt(SIZES) * rng.uniform(0.8, 1.1) + rng.normal(0, 0.004, 4)
        values = [*y.tolist()[:3], None if i == 6 else float(y[3])]
        series.append(Series(label, SIZES, tuple(values)))
    caption = "Each point is the best depth of that network at that size. NASNet was not trained with 5,000 images."
    return Chart(
        name,
        "Twice the images are worth more than twice the depth",
        caption,
        "training images",
        "macro-F1 on test",
        tuple(series),
        log_x=True,
        level=0.9,
    )


def calibration(name="calibration"):
    rng = np.random.default_rng(3)
    x = np.linspace(0.4, 0.98, 8)
    series = [Series(n, tuple(x), tuple(np.clip(x - rng.uniform(0, 0.08, 8), 0, 1))) for n in list(NETWORKS)[:4]]
    title = "All networks are a little too sure"
    return Chart(name, title, "Below the diagonal, a network is right less often than it says.", "confidence",
                 "share right", tuple(series), diagonal=True)  # fmt: skip


def crowd(name="crowd"):
    """Twenty series, some of them of hostile names, one of a very long one."""
    labels = [*NASTY, "an exceedingly long name of a setting, such as crop 40, stretch asinh 0.3, learning rate 0.0003"]
    labels += [f"efficientnet_lite{i % 3}, {SIZES[i % 4]:.0f} images, run {i}" for i in range(20 - len(labels))]
    chart = depth_chart(name, tuple(labels), 4)
    return Chart(
        name, f"Twenty series, and {HOSTILE}", "A legend that wraps.", chart.x_label, chart.y_label, chart.series
    )


def confusion(name, seed=5):
    rng = np.random.default_rng(seed)
    values = rng.dirichlet((1, 1, 1), 3) * 0.12 + np.eye(3) * 0.88
    return HeatMap(name, f"{name.split('-')[1]}: quasars are taken for stars", "Rows sum to 1.", "predicted", "true",
                CLASSES, CLASSES, tuple(tuple(row) for row in values.tolist()))  # fmt: skip


def wide_heat(name="blocks"):
    rng = np.random.default_rng(6)
    names = (*NETWORKS, HOSTILE)
    values = [[None if i == j or (i + j) % 7 == 3 else float(v) for j, v in enumerate(row)]
              for i, row in enumerate(rng.uniform(0, 1, (len(names), 18)))]  # fmt: skip
    columns = tuple(f"block {i}" for i in range(18))
    return HeatMap(name, "What each block is worth", "Blank: not measured.", "block from the top", "network", columns,
                names, tuple(map(tuple, values)))  # fmt: skip


def gallery(count=10):
    words = ("QSO, said STAR at 0.93", "STAR, said QSO at 0.88", f"object {HOSTILE}")
    pictures = tuple(Picture(png(i), f"{1237648720693755918 + i}: {words[i % 3]}") for i in range(count))
    return Gallery("The objects that all networks get wrong, the surest first", pictures)


def answers():
    texts = (
        "Fine-tune the top {k} of {n} blocks: macro-F1 0.9{i}1 ± 0.006 with 1,500 images. More depth gains nothing "
        "that this test set can show.",
        "Fine-tune all {n} blocks: macro-F1 0.9{i}4 ± 0.008 with 5,000 images. With fewer than 500, tune the top {k}.",
    )
    return tuple(
        f"{network}: " + texts[i % 2].format(k=n // 2, n=n, i=5 - i % 4)
        for i, (network, n) in enumerate(NETWORKS.items())
    )


def long_table(rows=45):
    rng = np.random.default_rng(7)
    lines = tuple((f"cell-{i:03d}", i, float(rng.uniform(0, 1)), None if i % 9 == 0 else 12_345 * i, float(3e-5 * i))
                  for i in range(rows))  # fmt: skip
    return Table("Every cell of the study", ("cell", "seed", "macro-F1", "parameters", "rate"), lines)


def short_table():
    rows = (
        ("resnet50", 23_508_032, 0.951234, 41.25, None),
        (HOSTILE, 6_953_856, -0.5, 1234.5, 0.0003),
        ("=1+1", 7, float("nan"), 10.0, 12.0),
    )
    return Table("Costs", ("network", "parameters", "macro-F1", "seconds", "rate"), rows)


def rich():
    """Seven networks, all kinds of parts, hostile names."""
    confusions = [confusion(f"confusion-{n.replace('_', '-')}", i) for i, n in enumerate(NETWORKS)]
    text = (
        "Each network was trained at nine depths with three seeds on 1,500 images, and tested on 4,096 objects of "
        "another part of the sky. Depth was chosen on validation; the test set took no part in it."
    )
    sections = (
        Section("how-deep", "How deep?", (text, depth_chart("depth-again"), short_table(), f"Hostile: {HOSTILE}")),
        Section("how-many", "How many images?", (text, size_chart(), calibration(), text)),
        Section("which-errors", "Which objects are got wrong?", (text, *confusions, gallery(), text)),
        Section("all", f"Everything, and {HOSTILE}", (crowd(), wide_heat(), long_table())),
    )
    return Page(
        "Depth of fine-tuning on SDSS cutouts",
        "Which layers of each network should be fine-tuned, and with how many images?",
        answers()[:5],
        depth_chart(),
        sections,
        "skythaw 0.1.0, study sdss_depth, 189 cells, ledger 3f9c2a71.",
        alarms=(
            "vgg16 at depth 13: one class is predicted for 96 % of the objects.",
            "The test set is small: differences under 0.012 can't be told from chance.",
        ),
    )


def small():
    """One network, one answer, hardly anything else."""
    series = (Series("mobilenetv2", (0.0, 50.0, 100.0), (0.81, 0.9, None), marked=(1,)),)
    figure = Chart("depth", "Half is enough", "Macro-F1 by depth.", "depth (%)", "macro-F1", series, ring="chosen")
    answer = "Fine-tune the top 9 of 19 blocks of mobilenetv2: macro-F1 0.900. All 19 are no better."
    section = Section("data", "The data", ("600 objects in three classes.",))
    return Page(
        "A small study", "How deep should mobilenetv2 be tuned?", (answer,), figure, (section,), "skythaw 0.1.0"
    )
