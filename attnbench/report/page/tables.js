"use strict";
// What every page needs: elements made of text, and tables that sort.
function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function sortButton(header, label, sort) {
  const button = element("button", { type: "button" }, label);
  button.addEventListener("click", sort);
  header.replaceChildren(button);
}

function compare(one, other) {
  if (one === other) return 0;
  if (one === null || one === undefined || one === "") return 1;
  if (other === null || other === undefined || other === "") return -1;
  return typeof one === "number" && typeof other === "number" ? one - other : String(one).localeCompare(String(other), "en", { numeric: true });
}

const LINES_AT_ONCE = 25;

function shorten(table) {
  const rows = [...table.tBodies[0].rows];
  if (rows.length <= LINES_AT_ONCE + 5) return;
  const hide = () => [...table.tBodies[0].rows].forEach((row, place) => { row.hidden = place >= LINES_AT_ONCE; });
  const button = element("button", { type: "button" }, `Show all ${rows.length} rows`);
  button.addEventListener("click", () => {
    table.hide = null;
    for (const row of rows) row.hidden = false;
    button.remove();
  });
  table.hide = hide;
  table.parentElement.after(button);
  hide();
}

function makeSortable(table) {
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => sortButton(header, header.textContent, () => {
    const descending = header.getAttribute("aria-sort") === "ascending";
    for (const other of headers) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const key = (row) => {
      const cell = row.cells[column];
      return "key" in cell.dataset ? Number(cell.dataset.key) : cell.textContent;
    };
    const rows = [...table.tBodies[0].rows].sort((one, other) => compare(key(one), key(other)) * (descending ? -1 : 1));
    table.tBodies[0].append(...rows);
    table.hide?.();
  }));
  if (table.dataset.sortable !== "whole") shorten(table);
}
