"use strict";
// A run that runs: its progress is asked for again and again; when cells are added, the answer can be asked for anew.
for (const box of document.querySelectorAll("[data-live]")) {
  const more = document.querySelector("[data-more]");
  let last = "";
  const look = async () => {
    try {
      const answer = await fetch(box.dataset.live);
      if (!answer.ok) return;
      const text = await answer.text();
      if (text !== last) box.innerHTML = last = text;
      const bar = box.querySelector("progress");
      if (more && bar.value > Number(box.dataset.done)) more.hidden = false;
      if (bar.value < bar.max) setTimeout(look, 2000);
    } catch {
      setTimeout(look, 5000);
    }
  };
  setTimeout(look, 1000);
}

// A tune that runs: its parts are written anew, what it says is added line by line, and at its end the page is asked for.
for (const box of document.querySelectorAll("[data-watch]")) {
  const look = async () => {
    try {
      const answer = await fetch(box.dataset.watch);
      if (answer.ok) {
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
        if (fresh.querySelector("[data-ended]")) return location.reload();
        for (const part of fresh.querySelectorAll("[id]")) {
          const here = document.getElementById(part.id);
          const more = part.tagName === "OL" ? [...part.children].slice(here.children.length) : [];
          if (more.length) here.append(...more);
          else if (here.innerHTML !== part.innerHTML) here.innerHTML = part.innerHTML;
        }
      }
    } catch {} // the service does not answer now
    setTimeout(look, 1000);
  };
  if (!box.querySelector("[data-ended]")) setTimeout(look, 1000);
}

// A part of the page that takes seconds to compute comes after it.
for (const box of document.querySelectorAll("[data-part]")) {
  const link = box.innerHTML;
  box.innerHTML = '<p class="note">Computing the answer…</p>';
  fetch(box.dataset.part)
    .then((answer) => (answer.ok ? answer.text() : Promise.reject()))
    .then((text) => {
      const part = new DOMParser().parseFromString(text, "text/html").getElementById(box.dataset.of);
      box.replaceChildren(part);
    })
    .catch(() => (box.innerHTML = link));
}

// Images may be dropped or pasted instead of chosen.
for (const form of document.querySelectorAll("[data-drop]")) {
  const input = form.querySelector("input[type=file]");
  const take = (files) => {
    if (!files.length) return;
    input.files = files;
    if (!form.querySelector("fieldset")) form.requestSubmit(); // else numbers are to be typed
  };
  form.addEventListener("dragover", (event) => {
    event.preventDefault();
    form.classList.add("over");
  });
  form.addEventListener("dragleave", () => form.classList.remove("over"));
  form.addEventListener("drop", (event) => {
    event.preventDefault();
    form.classList.remove("over");
    take(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => {
    if (event.clipboardData.files.length) take(event.clipboardData.files);
  });
  form.addEventListener("submit", () => {
    const button = form.querySelector("button");
    button.textContent = "Looking…";
    button.setAttribute("aria-disabled", "true");
  });
}

// After an answer the eye, and a screen reader, are at it.
const results = document.querySelector("#results");
if (results && results.children.length && location.hash !== "#objects") results.focus({ preventScroll: false });
