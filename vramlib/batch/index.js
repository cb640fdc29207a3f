"use strict";
// Each column's button sorts the rows by their data-keys, numbers as numbers; a row without one there stays last.
for (const button of document.querySelectorAll("thead button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th"), body = head.closest("table").tBodies[0];
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const place = head.cellIndex, key = row => JSON.parse(row.dataset.keys)[place] ?? null;
    const order = (a, b) => {
      const one = key(a), two = key(b);
      if (one === null || two === null) return (one === null) - (two === null);
      const numbers = typeof one === "number" && typeof two === "number";
      return (numbers ? one - two : String(one).localeCompare(String(two))) * (up ? 1 : -1);
    };
    body.append(...[...body.rows].sort(order));
  });
}
