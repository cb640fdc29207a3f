// The figures under the bar: parts, budget, what fits, configurations side by side, cards, which setting matters.
const square = (color) => element("span", { class: "vram-square", style: `background:${color}`, "aria-hidden": "true" });

const partsTable = (words, colors) => {
  const box = element("div", {});
  const put = (rows) => replace(box, table(words.parts, [words.part, words.both, words.interval_tip, words.basis],
    rows.map((row) => [element("span", {}, square(colors[row.key]), row.part), row.size, row.low === row.high ? "–" : row.interval, row.basis])));
  return { box, put };
};

// Contexts from left to right, batches from the bottom up; one cell is in the tab order, the arrows go on from it.
const fitMap = (words, go) => {
  const box = element("div", {});
  let at = null; // row and column that has the focus
  const put = (cells, settings) => {
    const contexts = [...new Set(cells.map((cell) => cell.context_tokens))].sort((a, b) => a - b);
    const batches = [...new Set(cells.map((cell) => cell.batch_size))].sort((a, b) => b - a);
    const found = new Map(cells.map((cell) => [`${cell.context_tokens} ${cell.batch_size}`, cell]));
    const focused = box.contains(document.activeElement) ? at : null;
    const grid = batches.map((batch) => contexts.map((context) => cellButton(found.get(`${context} ${batch}`), words, settings, go)));
    const current = grid.flatMap((line, y) => line.map((made, x) => [made, y, x])).find(([made]) => made?.hasAttribute("aria-current"));
    at = focused ?? (current ? [current[1], current[2]] : [0, 0]);
    const focus = (y, x) => {
      const made = grid[y]?.[x];
      if (!made) return;
      grid.flat().forEach((one) => one && (one.tabIndex = -1));
      made.tabIndex = 0;
      at = [y, x];
    };
    focus(...at);
    const made = table(words.map_caption, [words.map_corner, ...contexts.map(short)],
      batches.map((batch, y) => [plain(batch), ...grid[y].map((one) => one ?? "")]));
    made.classList.add("vram-map");
    made.removeAttribute("tabindex");
    grid.forEach((line, y) => line.forEach((one, x) => one?.addEventListener("focus", () => focus(y, x))));
    made.addEventListener("keydown", (event) => {
      const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (!step) return;
      event.preventDefault();
      grid[at[0] + step[0]]?.[at[1] + step[1]]?.focus();
    });
    box.replaceChildren(made);
    if (focused) grid[at[0]]?.[at[1]]?.focus();
  };
  return { box, put };
};

const short = (tokens) => (tokens % 1024 ? plain(tokens) : `${tokens / 1024}K`);

const cellButton = (cell, words, settings, go) => {
  if (!cell) return null;
  const current = Object.entries(cell.set).every(([field, value]) => settings[field] === value);
  const says = filled(words.map_cell, {
    tokens: plain(cell.context_tokens), sequences: plain(cell.batch_size), size: cell.needed, verdict: cell.fits ? words.fits : words.too_big,
  });
  return button(cell.sign, () => go(cell), {
    class: cell.fits ? "vram-fits" : "vram-too-big", title: says, "aria-label": says, tabindex: -1, "aria-current": current && "true",
  });
};

// A cell that says something else than the first configuration's is marked.
const comparison = (words, colors) => {
  const box = element("div", {});
  const put = ({ columns, rows, bars }) => {
    const key = new Map(bars.map((part) => [part.part, part.key]));
    const named = (label) => (key.has(label) ? element("span", {}, square(colors[key.get(label)]), label) : label);
    replace(box, table(words.compare_caption, ["", ...columns], rows.map(([label, first, ...rest]) => [named(label), first, ...rest.map((text) => (text === first || text.endsWith("(=)") ? text : element("span", { class: "vram-differs" }, text)))])));
  };
  return { box, put };
};

const money = (value, currency) => (value === null ? "" : `${value.toLocaleString("en-US", { maximumSignificantDigits: 4 })} ${currency}`.trim());

const cardsTable = (words, choose) => {
  const box = element("div", { class: "vram-tall" });
  const put = (rows, currency) => {
    const priced = rows.some((row) => row.per_hour !== null);
    const columns = [words.card, words.card_memory, words.fits_column, words.card_headroom, words.concurrency, ...(priced ? [words.per_hour, words.per_request] : [])];
    replace(box, table(words.cards_caption, columns, rows.map((row) => [
      button(row.num_cards > 1 ? `${row.num_cards} × ${row.gpu}` : row.gpu, () => choose(row.gpu), { class: "vram-link", "data-key": row.gpu, "aria-current": row.current && "true" }),
      row.memory, element("span", { class: row.fits ? "vram-yes" : "vram-no" }, row.fits ? words.fits : words.too_big), row.headroom, row.concurrency_text,
      ...(priced ? [money(row.per_hour, currency), money(row.per_request, currency)] : [])])));
  };
  return { box, put };
};

const signed = (bytes) => {
  if (!bytes) return "=";
  const size = Math.abs(bytes);
  return `${bytes < 0 ? "−" : "+"}${size >= 0.005 * 2 ** 30 ? `${(size / 2 ** 30).toFixed(2)} GiB` : `${(size / 2 ** 20).toFixed(2)} MiB`}`;
};

// What each setting moves, one step down and one up; a press on a step takes it.
const sensitivity = (words, take) => {
  const box = element("div", { class: "vram-tall" });
  const put = (rows) => {
    const most = Math.max(1, ...rows.map((row) => row.delta));
    const step = (row, value, text, total) => {
      if (!text || total === null) return "–";
      const bytes = total - row.total_bytes;
      const bar = element("span", { class: bytes < 0 ? "vram-less" : "vram-more", style: `width:${(100 * Math.abs(bytes)) / most}%` });
      return element("div", { class: "vram-step" }, button(text, () => take(row.setting, value), { class: "vram-link", "data-key": `${row.setting} ${value === row.value_up ? "up" : "down"}` }),
        element("span", {}, signed(bytes)), element("span", { class: "vram-swing", "aria-hidden": "true" }, bar));
    };
    replace(box, table(words.sensitivity_caption, [words.setting, words.now, words.step_down, words.step_up], rows.map((row) => [
      element("span", {}, element("code", {}, row.flag), element("br"), element("small", {}, row.label)), row.now,
      step(row, row.value_down, row.from, row.total_bytes_down), step(row, row.value_up, row.to, row.total_bytes_up)])));
  };
  return { box, put };
};

// The formulas come as Markdown: headings, lists, `code` and **bold**; everything else stays text.
const inline = (text) => text.split(/(`[^`]*`|\*\*[^*]*\*\*|<br>)/).map((piece) => {
  if (piece === "<br>") return element("br");
  if (/^`.*`$/.test(piece)) return element("code", {}, piece.slice(1, -1));
  return /^\*\*.*\*\*$/.test(piece) ? element("strong", {}, piece.slice(2, -2)) : piece;
});

const markdown = (text) => text.split("\n").filter((line) => line.trim()).map((line) => {
  if (line.startsWith("### ")) return element("h4", {}, ...inline(line.slice(4)));
  return element("p", { class: line.startsWith("- ") ? "vram-term" : "" }, ...inline(line.replace(/^- /, "")));
});
