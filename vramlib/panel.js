// A form over a chart. A moved control sends its place; rows, a sentence and a command come back.
const element = (tag, attributes = {}, text = "") => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  return made;
};

// Vega is in the page already, or arrives with the chart renderer; wait for it.
const vega = async () => {
  for (let i = 0; i < 400 && !window.__vramVega; i++) await new Promise((next) => setTimeout(next, 50));
  return window.__vramVega;
};

// JupyterLab takes keys for itself unless a control says no.
const OWN_KEYS = { "data-lm-suppress-shortcuts": "true" };
let number = 0;

const field = (control, place, moved) => {
  const id = `vram-${number}-${control.field}`;
  const row = element("div", { class: "vram-field" });
  const label = element("label", { for: id });
  label.append(element("code", {}, control.flag), element("span", {}, control.label));
  let input;
  const value = element("output", { for: id });
  if (control.kind === "choice") {
    input = element("select", { id, ...OWN_KEYS });
    control.texts.forEach((text, i) => input.append(element("option", { value: i }, text)));
  } else {
    input = element("input", { id, type: "range", min: 0, max: control.texts.length - 1, step: 1, ...OWN_KEYS });
  }
  const put = (next) => {
    input.value = next;
    input.setAttribute("aria-valuetext", control.texts[next]);
    value.textContent = control.kind === "choice" ? "" : control.texts[next];
  };
  put(place);
  input.addEventListener("input", () => { put(Number(input.value)); moved(control.field, Number(input.value)); });
  row.append(label, input, value);
  return { row, put };
};

async function render({ model, el }) {
  number += 1;
  const words = model.get("words");
  const box = element("div", { class: "vram-widget" });
  const send = (chosen) => { model.set("chosen", chosen); model.save_changes(); };
  const fields = model.get("form").map((control) => {
    const made = field(control, model.get("chosen")[control.field],
      (name, place) => send({ ...model.get("chosen"), [name]: place }));
    return { ...made, control };
  });
  const reset = element("button", { type: "button", ...OWN_KEYS }, words.reset);
  reset.addEventListener("click", () => {
    fields.forEach(({ control, put }) => put(control.start));
    send(Object.fromEntries(fields.map(({ control }) => [control.field, control.start])));
  });
  const said = element("p", { class: "vram-said", role: "status", "aria-live": "polite" });
  const chart = element("div", { class: "vram-drawing" });
  const command = element("pre", { tabindex: 0, "aria-label": words.command });
  const copy = element("button", { type: "button", ...OWN_KEYS }, words.copy);
  copy.addEventListener("click", async () => {
    await copied(command);
    copy.textContent = words.copied;
    setTimeout(() => { copy.textContent = words.copy; }, 1500);
  });
  const buttons = element("div", { class: "vram-buttons" });
  buttons.append(reset, copy);
  box.append(...fields.map((made) => made.row), said, chart, command, buttons);
  el.append(box);

  const tell = () => {
    const shown = model.get("shown");
    said.textContent = shown.text;
    command.textContent = shown.command;
    copy.disabled = !shown.command;
    return shown.rows;
  };
  let rows = tell();
  const embed = await vega();
  if (!embed) { chart.textContent = words.offline; return undefined; }
  const drawn = await embed(chart, model.get("spec"), { actions: false, renderer: "svg" });
  const put = () => drawn.view.data("live", structuredClone(rows)).runAsync();
  const changed = () => { rows = tell(); put(); };
  model.on("change:shown", changed);
  rows = tell();
  put();
  return () => { model.off("change:shown", changed); drawn.finalize(); };
}

// The clipboard may be closed to a page that is not served from this machine; then the text is selected.
const copied = async (pre) => {
  const range = document.createRange();
  range.selectNodeContents(pre);
  const selection = window.getSelection();
  selection.removeAllRanges();
  selection.addRange(range);
  if (navigator.clipboard) await navigator.clipboard.writeText(pre.textContent).catch(() => undefined);
};

export default { render };
