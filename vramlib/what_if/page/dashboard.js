// The page: what a reader does goes to the kernel as a question, what comes back is put where it belongs.
const MiB = 2 ** 20;
const PAINT = 80; // from an answer to what follows the bar [ms]
const PIECE = 4 * MiB; // of a file in one message; a notebook server refuses messages above 10 MiB

// Of weights only the header is sent: a safetensors file says at its start how long it is.
const needed = async (file, limits) => {
  if (file.name.toLowerCase().endsWith(".safetensors")) {
    const length = new DataView(await file.slice(0, 8).arrayBuffer());
    if (length.byteLength === 8) return Math.min(file.size, 8 + Number(length.getBigUint64(0, true)), limits.header);
  }
  return Math.min(file.size, limits.header);
};

async function render({ model, el }) {
  const words = model.get("words");
  const limits = model.get("limits");
  const prefix = `vram-${Math.random().toString(36).slice(2, 8)}`;
  const box = element("div", { class: "vram-widget vram-app", lang: model.get("language") });
  const inVoila = document.body.dataset.voila !== undefined;
  let quick = {};
  const making = new Set(); // files that the kernel is making

  // What is said: the verdict to everybody, a refusal at once.
  const verdict = element("p", { class: "vram-said", role: "status", "aria-live": "polite" });
  const problem = element("p", { class: "vram-problem", role: "alert", hidden: true });
  const tell = (text) => {
    problem.textContent = text;
    problem.hidden = !text;
    if (text) problem.scrollIntoView({ block: "nearest" });
  };
  const note = element("p", { class: "vram-note", role: "status" });

  const talk = conversation(model, {
    answered: (reply) => answered(reply),
    made: ({ made, error, file }, [bytes]) => {
      making.delete(made);
      note.textContent = "";
      tell(error ?? "");
      if (file) download(file.name, file.type, bytes);
    },
    piece: (name, reply) => pieceCame(name, reply),
    silent: () => tell(words.silent),
  });
  const act = (content, buffers) => { note.textContent = ""; return talk.ask(content, buffers); };

  const send = async (file, as) => {
    if (as === "prices" || as === "state") {
      if (file.size > limits[as]) { tell(filled(words.too_large, { name: file.name, size: Math.ceil(file.size / MiB), most: limits[as] / MiB })); return; }
      await act({ do: as, name: file.name }, [await file.arrayBuffer()]);
      return;
    }
    const size = await needed(file, limits);
    const key = `${prefix}-${Date.now()}`;
    for (let start = 0; start === 0 || start < size; start += PIECE) {
      const bytes = await file.slice(start, Math.min(start + PIECE, size)).arrayBuffer();
      const last = start + PIECE >= size;
      arriving.textContent = last ? "" : filled(words.sending, { name: file.name, sent: Math.round(start / MiB), of: Math.round(size / MiB) });
      const reply = await talk.ask({ do: "upload", key, name: file.name, start, last, size: file.size }, [bytes]);
      if (reply.error) return;
    }
  };

  // A model and a card.
  const models = chooser({ label: words.model, find: async (text) => (await talk.ask({ do: "search", text })).names ?? [], take: (name) => act({ do: "move", fields: { model: name } }) });
  const gpus = model.get("cards");
  const card = chooser({
    label: words.card, take: (name) => act({ do: "move", fields: { gpu: name } }),
    find: async (text) => gpus.filter((name) => name.toLowerCase().includes(text.toLowerCase())),
  });
  const paste = element("textarea", { rows: 5, spellcheck: "false", "aria-label": words.paste_label, placeholder: words.paste_hint });
  const arriving = element("p", { class: "vram-hint", role: "status" });
  const own = element("details", { class: "vram-own" }, element("summary", {}, words.own),
    element("p", { class: "vram-hint" }, words.own_hint), paste, element("div", { class: "vram-buttons" },
      button(words.paste_use, async () => { const reply = await act({ do: "paste", text: paste.value }); if (!reply.error) { paste.value = ""; own.open = false; } }),
      ...filePicker(words.upload, ".json,.gguf,.safetensors", (file) => send(file, "upload"), { name: "model-file" })), arriving);

  // Settings at the left, what they make at the right.
  const form = settingsForm(prefix, words, (field, value) => talk.move({ [field]: value }));
  const chart = drawing(model.get("spec"), words.bar, words.offline);
  const parts = partsTable(words, model.get("colors"));
  const budget = element("div", { class: "vram-budget" });
  const warnings = element("ul", { class: "vram-warnings" });
  const command = element("pre", { tabindex: 0, "aria-label": words.command });
  const copyButton = (text, what, holder) => {
    const made = button(text, async () => {
      await copied(holder(), what());
      made.textContent = words.copied;
      setTimeout(() => { made.textContent = text; }, 1500);
    });
    return made;
  };

  const map = fitMap(words, (cell) => act({ do: "move", fields: cell.set }));
  const tabs = element("div", { class: "vram-tabs", role: "group", "aria-label": words.configurations });
  const compareChart = drawing(model.get("spec"), words.compare, words.offline);
  const compared = comparison(words, model.get("colors"));
  const called = element("input", { type: "text", "aria-label": words.called, placeholder: words.called, maxlength: 60, autocomplete: "off" });
  called.addEventListener("change", () => act({ do: "rename", name: called.value.trim() }));
  const several = element("div", { hidden: true }, compareChart.box, compared.box);
  const cards = cardsTable(words, (gpu) => act({ do: "move", fields: { gpu } }));
  const matters = sensitivity(words, (field, value) => act({ do: "move", fields: { [field]: value } }));
  const why = element("div", { class: "vram-why" });
  const whyFold = element("details", {}, element("summary", {}, words.why), why);
  whyFold.addEventListener("toggle", () => whyFold.open && talk.want("why"));

  const link = element("input", { type: "text", readonly: true, class: "vram-link-text", "aria-label": words.link });
  link.addEventListener("focus", () => link.select());
  const address = () => (quick.link ? `${location.origin}${location.pathname}#${quick.link}` : "");
  const opened = element("input", { type: "text", "aria-label": words.open_link, placeholder: words.open_link, autocomplete: "off" });
  const openLink = () => { if (opened.value.trim()) act({ do: "open", text: opened.value.trim() }); };
  opened.addEventListener("keydown", (event) => event.key === "Enter" && openLink());
  const file = (kind) => {
    if (making.has(kind)) return;
    making.add(kind);
    note.textContent = words[`making_${kind}`] ?? "";
    talk.ask({ do: "file", kind });
  };

  box.append(
    element("div", { class: "vram-choose" }, models.box, card.box, own),
    problem,
    element("div", { class: "vram-columns" },
      element("div", {}, section(words.settings, form.box,
        element("div", { class: "vram-buttons" }, button(words.reset, () => act({ do: "reset" }))))),
      element("div", { class: "vram-figures" }, section(words.needs, element("div", { class: "vram-lead" }, verdict, chart.box), warnings, parts.box), section(words.budget, budget))),
    section(words.map, element("p", { class: "vram-hint" }, words.map_hint), map.box),
    section(words.compare, element("p", { class: "vram-hint" }, words.compare_hint), tabs, element("div", { class: "vram-buttons vram-called" }, called), several),
    section(words.cards, element("p", { class: "vram-hint" }, words.cards_hint), cards.box,
      element("div", { class: "vram-buttons" }, ...filePicker(words.prices, ".csv", (chosen) => send(chosen, "prices"), { name: "prices-file" }))),
    section(words.sensitivity, element("p", { class: "vram-hint" }, words.sensitivity_hint), matters.box),
    section(words.why_title, whyFold),
    section(words.keep, command, element("div", { class: "vram-buttons" },
      copyButton(words.copy_command, () => command.textContent, () => command),
      ...["csv", "png", "svg", "report", "state"].map((kind) => button(words[`file_${kind}`], () => file(kind), { "data-file": kind }))), note,
      element("p", { class: "vram-hint" }, words.keep_hint),
      element("div", { class: "vram-buttons" }, link, copyButton(words.copy_link, address, () => link)),
      element("div", { class: "vram-buttons" }, opened, button(words.open, openLink),
        ...filePicker(words.open_state, ".json", (chosen) => send(chosen, "state"), { name: "state-file" }))),
  );
  el.append(box);
  // What clips a cell's output would hold the bar that stays in sight.
  requestAnimationFrame(() => {
    for (let outer = box.parentElement; outer?.closest(".jp-Cell"); outer = outer.parentElement) outer.style.overflow = "visible";
  });

  const tabsOf = ({ names, current }) => replace(tabs,
    ...names.map((name, at) => element("span", { class: "vram-tab" },
      button(name, () => act({ do: "switch", at }), { "aria-pressed": String(at === current), "data-key": `switch ${at}` }),
      names.length > 1 ? button("×", () => act({ do: "remove", at }), { "aria-label": filled(words.remove, { name }) }) : "")),
    ...(names.length < limits.configurations ? [button(words.add, () => act({ do: "add" }), { "data-key": "add" })] : []));

  const budgetOf = ({ budget: rows, kv }) => (rows.length
    ? [...(kv.tokens ? [element("p", {}, filled(words.kv, kv))] : []), table(words.budget_caption, [words.figure, words.both], rows)]
    : [element("p", {}, words.no_budget)]);

  const PIECES = ["map", "compare", "cards", "sensitivity"];
  const pieceCame = (name, { error, data, currency }) => {
    if (error) tell(error);
    if (!data) return;
    const put = {
      map: () => map.put(data, quick.settings ?? {}), cards: () => cards.put(data, currency), sensitivity: () => matters.put(data),
      compare: () => {
        several.hidden = data.columns.length < 2;
        compared.put(data);
        compareChart.update(data.drawn);
      },
      why: () => why.replaceChildren(...markdown(data)),
    }[name];
    put();
    box.dataset.ready = [...new Set([...(box.dataset.ready ?? "").split(" "), name])].join(" ").trim();
  };

  // The bar first; tables and controls follow when it is painted, and only the last of several answers.
  let rest = null;
  const later = (work) => {
    if (!rest) setTimeout(() => { const last = rest; rest = null; last(); }, PAINT);
    rest = work;
  };
  const changed = new Map(); // controls that wait until the hand rests
  const controlsCame = (fields) => {
    if (talk.moving()) return;
    form.put(fields, [...changed.values()]);
    changed.clear();
  };
  const figures = () => {
    parts.put(quick.bar);
    replace(budget, ...budgetOf(quick));
    warnings.replaceChildren(...quick.warnings.map((text) => element("li", {}, text)));
    command.textContent = quick.command;
  };

  const answered = (reply) => {
    if (reply.error !== undefined) tell(reply.error);
    if (reply.said) note.textContent = reply.said;
    if (!reply.quick) {
      if (reply.error) form.again();
      return;
    }
    reply.controls.forEach((one) => changed.set(one.field, one));
    const refused = reply.quick.error;
    quick = refused ? { ...quick, ...reply.quick } : reply.quick;
    box.dataset.refused = Boolean(refused);
    if (refused) {
      tell(refused);
    } else {
      chart.update(quick.rows, quick.verdict);
      verdict.textContent = quick.verdict;
      verdict.dataset.fits = quick.fits;
    }
    box.dataset.ready = "";
    box.dataset.settled = "false";
    talk.outdated(refused ? ["compare"] : whyFold.open ? [...PIECES, "why"] : PIECES);
    later(() => {
      controlsCame(reply.fields);
      if (!refused) figures();
      tabsOf(reply.configurations);
      if (document.activeElement !== called) called.value = reply.configurations.name;
      models.put(reply.model);
      card.put(reply.gpu);
      link.value = address() || words.no_link;
      if (inVoila && quick.link) history.replaceState(null, "", `#${quick.link}`);
      box.dataset.settled = "true";
    });
  };

  // Voila ends the kernel of a page that is left.
  if (inVoila) window.addEventListener("beforeunload", talk.end);

  // A link opens its state, once a page: what is done afterwards is not undone by drawing the page again.
  // JupyterLab writes its own address over the reader's, which the browser still knows.
  const came = location.hash ? location.href : (performance.getEntriesByType("navigation")[0]?.name ?? "");
  const start = window.__vramLinkRead ? "" : came.split("#").slice(1).join("#");
  window.__vramLinkRead = true;
  await act({ do: "show" });
  if (start.includes("=")) await act({ do: "open", text: start });
  return () => { talk.end(); chart.end(); compareChart.end(); };
}

export default { render };
