// What can be set: a model found by part of its name, a card, and one row for each flag.
let chooserNumber = 0;

// A text box with a list under it: type, move with the arrows, take with Enter, leave with Escape.
const chooser = ({ label, find, take }) => {
  chooserNumber += 1;
  const id = `vram-chooser-${chooserNumber}`;
  const list = element("ul", { id: `${id}-list`, role: "listbox", "aria-label": label, hidden: true });
  const input = element("input", {
    id, type: "text", role: "combobox", autocomplete: "off", spellcheck: "false", "aria-autocomplete": "list",
    "aria-expanded": "false", "aria-controls": `${id}-list`,
  });
  let shown = "";
  let place = -1;
  let asked = 0;
  const close = () => {
    list.hidden = true;
    place = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  };
  const point = (next) => {
    const options = [...list.children];
    if (!options.length) return;
    place = (next + options.length) % options.length;
    options.forEach((option, i) => option.setAttribute("aria-selected", String(i === place)));
    options[place].scrollIntoView({ block: "nearest" });
    input.setAttribute("aria-activedescendant", options[place].id);
  };
  const choose = (name) => { input.value = name; shown = name; close(); take(name); };
  let listed = null; // the text that the list answers
  const look = async (text) => {
    asked += 1;
    const mine = asked;
    const names = await find(text);
    if (mine !== asked || document.activeElement !== input) return;
    list.replaceChildren(...names.map((name, i) => {
      const option = element("li", { id: `${id}-${i}`, role: "option", "aria-selected": "false" }, name);
      option.addEventListener("mousedown", (event) => { event.preventDefault(); choose(name); });
      return option;
    }));
    listed = text;
    list.hidden = !names.length;
    input.setAttribute("aria-expanded", String(names.length > 0));
    place = -1;
    if (text) point(0);
  };
  input.addEventListener("focus", () => input.select());
  input.addEventListener("click", () => list.hidden && look(""));
  input.addEventListener("input", () => look(input.value));
  input.addEventListener("blur", () => { asked += 1; close(); input.value = shown; });
  const taken = async () => {
    if (input.value !== listed && input.value !== shown) await look(input.value);
    if (place >= 0) choose(list.children[place].textContent);
    else if (input.value && input.value !== shown) choose(input.value);
  };
  input.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      if (list.hidden) look("");
      else point(place + step);
    } else if (event.key === "Enter") {
      taken();
    } else if (event.key === "Escape") {
      close();
      input.value = shown;
    }
  });
  const box = element("div", { class: "vram-chooser" }, element("label", { for: id }, label), input, list);
  // What is being typed is left alone.
  const put = (name) => {
    if (document.activeElement !== input || input.value === shown) input.value = name;
    shown = name;
  };
  return { box, put };
};

const plain = (value) => (typeof value === "number" && Number.isInteger(value) ? value.toLocaleString("en-US") : String(value));

// What is typed into a slider's box: "8,192" is a number, an empty box leaves the choice to the engine.
const typed = (text) => (/^[\d,\s]+$/.test(text) ? text.replace(/[,\s]/g, "") : text.trim() || null);

// One row: words in a list, numbers on a slider with a box for any other number.
const settingRow = (first, prefix, move) => {
  const id = `${prefix}-${first.field}`;
  const choice = first.kind === "choice";
  const label = element("span", {});
  const flag = element("code", {});
  const input = choice ? element("select", { id }) : element("input", { id, type: "range", min: 0, step: 1 });
  const exact = element("input", { type: "text", class: "vram-exact", autocomplete: "off", spellcheck: "false" });
  const row = element("div", { class: "vram-field", "data-field": first.field },
    element("label", { for: id }, flag, label), input, ...(choice ? [] : [exact]));
  let control = first;
  const said = (text) => {
    input.setAttribute("aria-valuetext", text);
    if (document.activeElement !== exact) exact.value = text;
  };
  const put = (next) => {
    const texts = next.texts.with(next.start, next.now ?? next.texts[next.start]);
    if (choice && String(texts) !== String(input.texts)) {
      input.replaceChildren(...texts.map((text, i) => element("option", { value: i }, text)));
      input.texts = texts;
    }
    control = next;
    label.textContent = next.label;
    flag.textContent = next.flag;
    input.max = next.values.length - 1;
    input.value = next.start;
    exact.setAttribute("aria-label", `${next.flag}: ${next.label}`);
    if (!choice) said(texts[next.start]);
  };
  input.addEventListener("input", () => {
    const place = Number(input.value);
    if (!choice) said(control.texts[place]);
    move(control.field, control.values[place]);
  });
  exact.addEventListener("change", () => { exact.blur(); move(control.field, typed(exact.value)); });
  exact.addEventListener("focus", () => exact.select());
  put(first);
  return { row, put };
};

// Rows are kept as long as their flags are read, so that the one in use stays under the hand.
const settingsForm = (prefix, words, move) => {
  const box = element("div", { class: "vram-settings" });
  const controls = new Map();
  const rows = new Map();
  let shown = "";
  const put = (fields, changed) => {
    changed.forEach((one) => controls.set(one.field, one));
    changed.forEach((one) => {
      const row = rows.get(`${one.field} ${one.kind}`);
      if (row) row.put(one);
      else rows.set(`${one.field} ${one.kind}`, settingRow(one, prefix, move));
    });
    const now = fields.map((field) => controls.get(field));
    const key = String(now.map(({ field, kind, group }) => `${field} ${kind} ${group}`));
    if (key !== shown) arrange(now);
    shown = key;
  };
  const arrange = (now) => {
    const focused = document.activeElement;
    const groups = ["workload", "start", "engine"].filter((name) => now.some((one) => one.group === name));
    box.replaceChildren(...groups.map((group) => element("fieldset", {}, element("legend", {}, words[`group_${group}`]),
      ...now.filter((one) => one.group === group).map(({ field, kind }) => rows.get(`${field} ${kind}`).row))));
    if (box.contains(focused)) focused.focus();
  };
  // After a refusal the controls stand where they stood.
  const again = () => controls.forEach((one) => rows.get(`${one.field} ${one.kind}`)?.put(one));
  return { box, put, again };
};
