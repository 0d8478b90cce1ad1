"use strict";
// Sorting and filtering of the tables of tensors. Without it they are whole and in execution order.
(() => {
  const form = document.getElementById("controls");
  if (!form) return;
  const parts = [...document.querySelectorAll(".tensors")].map((place) => {
    const table = place.querySelector("table");
    return { place, body: table.tBodies[0], rows: [...table.tBodies[0].rows], headings: [...table.tHead.rows[0].cells] };
  });
  const total = parts.reduce((sum, { rows }) => sum + rows.length, 0);
  const NAME = 1;

  const number = (text) => (text === "∞" ? Infinity : text === "" ? -Infinity : Number(text));
  const kinds = {
    order: (text, row) => Number(row.id.slice("row-".length)),
    number,
    size: (text) => text.split(" × ").reduce((product, part) => product * (Number(part) || 1), 1),
    text: (text) => text,
  };

  const wanted = (name) => form.elements[name]?.value ?? "";
  const fits = (name, value) => !wanted(name) || wanted(name) === value;

  const filter = () => {
    const name = wanted("name").trim().toLowerCase();
    let shown = 0;
    for (const { place, rows } of parts) {
      const here = fits("check", place.dataset.check) && fits("device", place.dataset.device);
      let some = false;
      for (const row of rows) {
        const named = row.cells[NAME].textContent.toLowerCase().includes(name);
        row.hidden = !(here && named && fits("verdict", row.lastElementChild.textContent));
        some ||= !row.hidden;
        shown += !row.hidden;
      }
      place.hidden = !some;
    }
    form.querySelector("output").value = `${shown.toLocaleString("en")} of ${total.toLocaleString("en")}`;
  };

  const sort = ({ body, rows, headings }, heading) => {
    const descending = heading.ariaSort ? heading.ariaSort === "ascending" : heading.dataset.sort === "number";
    for (const other of headings) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const read = kinds[heading.dataset.sort];
    const keys = new Map(rows.map((row) => [row, read(row.cells[heading.cellIndex].textContent, row)]));
    const compare = (one, other) => (keys.get(one) < keys.get(other) ? -1 : keys.get(one) > keys.get(other) ? 1 : 0);
    body.append(...[...rows].sort((one, other) => compare(one, other) * (descending ? -1 : 1)));
  };

  for (const part of parts) {
    for (const heading of part.headings.filter((each) => each.dataset.sort)) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      button.addEventListener("click", () => sort(part, heading));
      heading.append(button);
    }
  }
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  // A click in a chart leads to a row, which a filter may hide.
  window.addEventListener("hashchange", () => {
    const row = document.getElementById(location.hash.slice(1));
    if (!row?.hidden) return;
    form.reset();
    filter();
    row.scrollIntoView();
  });
  form.hidden = false;
  filter();
})();
