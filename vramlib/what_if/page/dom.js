// Elements, words as text only (a model's name is never read as HTML), the clipboard and files.
const KEYS = new Set(["input", "select", "button", "textarea", "summary", "pre"]);

const element = (tag, attributes = {}, ...children) => {
  const made = document.createElement(tag);
  // JupyterLab takes keys for itself unless the element that has the focus says no.
  if (KEYS.has(tag)) made.setAttribute("data-lm-suppress-shortcuts", "true");
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
};

const button = (text, pressed, attributes = {}) => {
  const made = element("button", { type: "button", ...attributes }, text);
  made.addEventListener("click", pressed);
  return made;
};

const filled = (text, values) => text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);

const section = (title, ...children) => {
  const made = element("section", { "aria-label": title }, element("h3", {}, title));
  made.append(...children);
  return made;
};

// A table in a box that scrolls; the first cell of a row names it.
const table = (caption, columns, rows) => {
  const head = element("tr", {}, ...columns.map((name) => element("th", { scope: "col" }, name)));
  const body = rows.map((cells) => element("tr", {}, ...cells.map((cell, place) =>
    element(place ? "td" : "th", place ? {} : { scope: "row" }, cell))));
  const made = element("table", {}, element("caption", {}, caption), element("thead", {}, head), element("tbody", {}, ...body));
  return element("div", { class: "vram-scroll", tabindex: 0, role: "region", "aria-label": caption }, made);
};

// New children in place of old ones: what had the focus or was scrolled is found again by its data-key.
const replace = (box, ...children) => {
  const key = box.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  const scrolled = box.querySelector(".vram-scroll")?.scrollTop ?? 0;
  box.replaceChildren(...children);
  if (scrolled) box.querySelector(".vram-scroll").scrollTop = scrolled;
  if (key) box.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
};

// A page that is not served from this machine may have no clipboard; then the text is selected.
const copied = async (holder, text) => {
  const range = document.createRange();
  range.selectNodeContents(holder);
  const selection = window.getSelection();
  selection.removeAllRanges();
  selection.addRange(range);
  if (navigator.clipboard) await navigator.clipboard.writeText(text).catch(() => undefined);
};

const download = (name, type, bytes) => {
  const address = URL.createObjectURL(new Blob([bytes], { type }));
  const link = element("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
};

// A button that opens the machine's own file window; reached and pressed with the keyboard as any other.
const filePicker = (text, accept, chosen, attributes = {}) => {
  const input = element("input", { type: "file", accept, hidden: true, "aria-label": text, ...attributes });
  input.addEventListener("change", () => {
    const [file] = input.files;
    if (file) chosen(file);
    input.value = "";
  });
  return [button(text, () => input.click()), input];
};

// Vega is in the page already, or arrives with the chart renderer; wait for it.
const vega = async () => {
  for (let i = 0; i < 400 && !window.__vramVega; i++) await new Promise((next) => setTimeout(next, 50));
  return window.__vramVega;
};

// A chart whose rows are replaced; it is drawn with its first rows, as what is hidden has no width.
const drawing = (spec, label, offline) => {
  const box = element("div", { class: "vram-drawing", role: "img", "aria-label": label });
  let rows = null;
  let drawn = null;
  const put = () => drawn && drawn.view.data("live", structuredClone(rows)).runAsync();
  const fit = new ResizeObserver(() => {
    if (drawn && box.clientWidth) drawn.view.signal("width", box.clientWidth).runAsync();
  });
  const draw = async () => {
    const embed = await vega();
    if (!embed) { box.textContent = offline; return; }
    drawn = await embed(box, spec, { actions: false, renderer: "svg" });
    put();
    fit.observe(box);
  };
  const update = (next, text) => {
    const first = rows === null;
    rows = next;
    if (text) box.setAttribute("aria-label", text);
    if (first) draw();
    else put();
  };
  return { box, update, end: () => { fit.disconnect(); drawn?.finalize(); } };
};
