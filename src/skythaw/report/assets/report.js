(() => {
  "use strict";
  const root = document.documentElement;
  const body = document.body;
  const { themes, plots } = JSON.parse(document.getElementById("_data").textContent);
  const night = matchMedia("(prefers-color-scheme: dark)");
  const coarse = matchMedia("(pointer: coarse)").matches;
  const boxes = [...document.querySelectorAll("[data-plot]")];
  const hidden = new Map(boxes.map((box) => [box, new Set()]));
  const drawn = new Set();
  const PAGE = 660; // pixels of a printed page's width
  let printing = false;

  const themeNow = () => (printing ? "light" : root.dataset.theme || (night.matches ? "dark" : "light"));

  // A copy of a part of a plot, with the colours of a theme in the slots; only keys of colours are looked at, for
  // labels are the user's.
  function painted(value, theme, key = "") {
    if (typeof value === "string") {
      return /color(scale)?$/.test(key) && value.startsWith("@") ? themes[theme][value.slice(1)] : value;
    }
    if (Array.isArray(value)) return Array.isArray(value[0]) ? value : value.map((each) => painted(each, theme, key));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, painted(each, theme, name)]));
  }

  function picture(box, theme) {
    const plot = plots[box.dataset.plot];
    const { traces, layout } = painted(plot, theme);
    for (const trace of traces) if (hidden.get(box).has(trace.meta)) trace.visible = false;
    return { traces, layout };
  }

  // Pictures for papers are light, and have the legend inside.
  function download(format) {
    return (box) => {
      const plot = plots[box.dataset.plot];
      const { traces, layout } = picture(box, "light");
      const several = traces.filter((trace) => trace.type === "scatter").length > 1;
      const options = { format, width: 960, height: Math.max(520, plot.height), filename: box.dataset.plot };
      if (format === "png") options.scale = 3;
      Plotly.downloadImage({ data: traces, layout: { ...layout, showlegend: several } }, options);
    };
  }

  const config = {
    displaylogo: false,
    showTips: false,
    modeBarButtons: [
      [
        { name: "svg", title: "Download as SVG", icon: Plotly.Icons.disk, click: download("svg") },
        { name: "png", title: "Download as PNG", icon: Plotly.Icons.camera, click: download("png") },
      ],
    ],
  };

  // On paper two small figures share the width; a matrix too wide for it is made smaller as a whole.
  function printed(box) {
    const room = box.closest(".half, .third") ? PAGE / 2 - 12 : PAGE;
    const least = parseFloat(box.style.minWidth);
    const { height, traces } = plots[box.dataset.plot];
    box.style.zoom = Math.min(1, room / least);
    const width = Math.max(least, Math.min(room, parseFloat(box.style.maxWidth) || room));
    return [width, traces.some((trace) => trace.type === "heatmap") ? height : 280];
  }

  function show(box) {
    const { traces, layout } = picture(box, themeNow());
    [layout.width, layout.height] = printing ? printed(box) : [box.clientWidth, box.clientHeight];
    layout.dragmode = coarse ? false : "zoom";
    layout.uirevision = "kept";
    return Plotly.react(box, traces, layout, config);
  }

  function draw(box) {
    if (drawn.has(box)) return;
    drawn.add(box);
    near.unobserve(box);
    show(box).then(() => {
      body.dataset.drawn = Number(body.dataset.drawn) + 1;
      sized.observe(box);
    });
  }

  const near = new IntersectionObserver(
    (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => draw(entry.target)),
    { rootMargin: "400px" },
  );

  const stale = new Set();
  let timer = 0;
  const sized = new ResizeObserver((entries) => {
    if (printing) return;
    for (const { target } of entries) if (target.clientWidth !== target._fullLayout.width) stale.add(target);
    clearTimeout(timer);
    timer = setTimeout(() => {
      stale.forEach(show);
      stale.clear();
    }, 120);
  });

  const idle = window.requestIdleCallback || ((work) => setTimeout(work, 30));
  function drawRest() {
    const next = boxes.find((box) => !drawn.has(box));
    if (!next) return;
    draw(next);
    idle(drawRest, { timeout: 400 });
  }

  function redraw() {
    drawn.forEach(show);
  }

  // The theme: as the system says, until the button says otherwise.
  const button = document.getElementById("_theme");
  function remember(theme) {
    try {
      if (theme) localStorage.setItem("skythaw-theme", theme);
      return localStorage.getItem("skythaw-theme");
    } catch {
      return null; // storage is off: the choice lasts as long as the page
    }
  }
  function label() {
    button.textContent = themeNow() === "dark" ? "Light" : "Dark";
    button.setAttribute("aria-label", `Switch to the ${button.textContent.toLowerCase()} theme`);
  }
  button.addEventListener("click", () => {
    root.dataset.theme = themeNow() === "dark" ? "light" : "dark";
    remember(root.dataset.theme);
    label();
    redraw();
  });
  night.addEventListener("change", () => {
    label();
    redraw();
  });
  const kept = remember();
  if (kept === "light" || kept === "dark") root.dataset.theme = kept;
  label();
  button.hidden = false;

  addEventListener("beforeprint", () => {
    printing = true;
    boxes.forEach(draw);
    redraw();
  });
  addEventListener("afterprint", () => {
    printing = false;
    for (const box of boxes) box.style.zoom = "";
    redraw();
  });

  // The legend: press to hide or show, point at to see one alone.
  function boxOf(element) {
    const name = element.closest(".legend").dataset.for;
    return boxes.find((box) => box.dataset.plot === name);
  }
  function toggle(entry) {
    const off = hidden.get(boxOf(entry));
    const i = Number(entry.dataset.series);
    if (!off.delete(i)) off.add(i);
    entry.setAttribute("aria-pressed", String(!off.has(i)));
    show(boxOf(entry));
  }
  function dim(entry, others) {
    const box = boxOf(entry);
    for (const { meta, uid } of box._fullData || []) {
      const group = box.querySelector(`.scatterlayer .trace${CSS.escape(uid)}`);
      if (group) group.style.opacity = meta === undefined || String(meta) === entry.dataset.series ? "" : others;
    }
  }
  for (const entry of document.querySelectorAll("[data-series]")) {
    entry.addEventListener("click", () => toggle(entry));
    entry.addEventListener("pointerenter", () => dim(entry, "0.12"));
    entry.addEventListener("pointerleave", () => dim(entry, ""));
  }

  // Tables go to a spreadsheet with all their digits.
  function copied(text) {
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "said";
    body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
  async function copy(copier) {
    const rows = [...copier.parentElement.querySelectorAll("tr")];
    const cells = (row) => [...row.cells].map((cell) => cell.dataset.v ?? cell.textContent.trim().replace(/\s+/g, " "));
    const text = rows.map((row) => cells(row).join("\t")).join("\n") + "\n";
    let done = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      done = copied(text);
    }
    copier.focus();
    copier.textContent = done ? "Copied" : "Select and copy by hand";
    document.getElementById("_said").textContent = copier.textContent;
    setTimeout(() => (copier.textContent = "Copy"), 1800);
  }
  for (const copier of document.querySelectorAll("[data-copy]")) {
    copier.hidden = false;
    copier.addEventListener("click", () => copy(copier));
  }

  // The contents say where the reader is.
  const links = new Map([...document.querySelectorAll(".contents > ol > li > a")].map((a) => [a.hash.slice(1), a]));
  const place = new IntersectionObserver(
    (entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        links.forEach((link) => link.removeAttribute("aria-current"));
        const link = links.get(target.id);
        link.setAttribute("aria-current", "true");
        const list = link.closest(".contents > ol");
        if (list.scrollWidth > list.clientWidth) list.scrollLeft = link.offsetLeft - list.offsetLeft - 16;
      }
    },
    { rootMargin: "-15% 0px -80% 0px" },
  );
  document.querySelectorAll(".part").forEach((part) => place.observe(part));

  boxes.forEach((box) => near.observe(box));
  idle(drawRest, { timeout: 400 });
})();
