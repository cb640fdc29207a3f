"use strict";
// Each column's button sorts the rows by the cells' data-key, numbers as numbers; cells without one stay last.
for (const button of document.querySelectorAll("thead button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th"), body = head.closest("table").tBodies[0];
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const place = head.cellIndex, key = row => row.cells[place].dataset.key;
    const order = (a, b) => {
      const one = key(a), two = key(b);
      if (one === undefined || two === undefined) return (one === undefined) - (two === undefined);
      const numbers = [Number(one), Number(two)];
      const both = one !== "" && two !== "" && !numbers.some(Number.isNaN);
      return (both ? numbers[0] - numbers[1] : one.localeCompare(two)) * (up ? 1 : -1);
    };
    body.append(...[...body.rows].sort(order));
  });
}
