"use strict";
// Text from data only ever becomes text: it is set by textContent, never as HTML.
const page = JSON.parse(document.getElementById("data").textContent);
const SHAPES = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left"];
const FIRST_CHARTS = 6, ROWS_AT_ONCE = 100;

// ---- data: rows lie column by column

function cellOf(column, number) {
  if ("same" in column) return column.same;
  return column.codes ? column.texts[column.codes[number]] : column.values[number];
}

function unpacked(columns, count) {
  const names = Object.keys(columns);
  return Array.from({ length: count }, (_, number) =>
    Object.fromEntries(names.map((name) => [name, cellOf(columns[name], number)])));
}

for (const chapter of page.chapters) chapter.all = unpacked(chapter.rows, chapter.count);

// ---- filters, kept in the address

const state = { hidden: {}, sort: "", descending: false };

function readAddress() {
  const asked = new URLSearchParams(location.hash.slice(1));
  for (const name of page.filters) state.hidden[name] = new Set(asked.getAll("no-" + name));
  state.sort = page.shown.some(([name]) => name === asked.get("sort")) ? asked.get("sort") : "";
  state.descending = asked.get("order") === "descending";
}

function writeAddress() {
  const told = new URLSearchParams();
  for (const name of page.filters) for (const value of state.hidden[name]) told.append("no-" + name, value);
  if (state.sort) told.set("sort", state.sort);
  if (state.sort && state.descending) told.set("order", "descending");
  history.replaceState(null, "", "#" + told);
}

// What the reader sees as a row's pattern is what it computed.
const columnOf = (name) => (name === "pattern" ? "computed" : name);

function isShown(item) {
  return page.filters.every((name) => !(columnOf(name) in item) || !state.hidden[name].has(item[columnOf(name)]));
}

function swatch(chapter, backend) {
  const number = chapter.places[chapter.backends.indexOf(backend)];
  return symbol(SHAPES[number % SHAPES.length], `var(--series-${number % page.series})`);
}

const OUTLINES = {
  "circle": "M8 3a5 5 0 1 0 .01 0z", "square": "M3.5 3.5h9v9h-9z", "triangle-up": "M8 3l5.5 10h-11z",
  "diamond": "M8 2l5 6-5 6-5-6z", "cross": "M6 2h4v4h4v4h-4v4h-4v-4h-4v-4h4z", "triangle-down": "M8 13l5.5-10h-11z",
  "triangle-right": "M13 8l-10 5.5v-11z", "triangle-left": "M3 8l10 5.5v-11z",
};

function symbol(shape, color) {
  const drawn = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  drawn.setAttribute("viewBox", "0 0 16 16");
  drawn.setAttribute("class", "swatch");
  drawn.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", OUTLINES[shape]);
  path.setAttribute("fill", color);
  drawn.append(path);
  return drawn;
}

function makeFilters() {
  for (const fieldset of document.querySelectorAll("#filters fieldset")) {
    const name = fieldset.dataset.filter;
    const ofRows = (chapter) => chapter.all.map((row) => row[columnOf(name)]);
    const values = [...new Set(page.chapters.flatMap((chapter) => (name === "backend" ? chapter.backends : ofRows(chapter))))];
    fieldset.hidden = values.length < 2;
    for (const value of values) {
      const box = element("input", { type: "checkbox", value, checked: !state.hidden[name].has(value) });
      box.addEventListener("change", () => {
        state.hidden[name][box.checked ? "delete" : "add"](value);
        changed();
      });
      const home = name === "backend" && page.chapters.find((chapter) => chapter.backends.includes(value));
      fieldset.append(element("label", {}, box, ...(home ? [swatch(home, value)] : []), element("bdi", {}, value)));
    }
  }
  document.getElementById("filters").addEventListener("reset", () => {
    for (const name of page.filters) state.hidden[name].clear();
    setTimeout(() => {
      for (const box of document.querySelectorAll("#filters input")) box.checked = true;
      changed();
    });
  });
}

// ---- charts

const drawn = [];

// On a narrow screen, long names must leave room for what is drawn.
function configFor(width) {
  const axis = { ...page.config.axis, labelLimit: Math.min(260, Math.max(110, 0.33 * width)), titleLimit: 0.62 * width };
  return { ...page.config, axis, legend: { ...page.config.legend, disable: true } };
}

function specOf(chapter, chart, width) {
  const rows = chart.rows.map((number) => chapter.all[number]).filter(isShown);
  chart.all ??= unpacked(chart.points, chart.count);
  return {
    ...page.specs[chart.spec],
    config: configFor(width),
    datasets: { rows, points: chart.all.filter(isShown) },
    data: { name: "points" },
  };
}

async function draw(place) {
  const { chapter, chart, plot } = place;
  place.view?.finalize();
  const width = plot.clientWidth;
  if (!width) return;
  const options = { mode: "vega-lite", renderer: "svg", actions: false, defaultStyle: false, tooltip: showTooltip, logLevel: 1 };
  place.view = (await vegaEmbed(plot, specOf(chapter, chart, width), options)).view;
  plot.firstElementChild?.setAttribute("role", "img");
  plot.firstElementChild?.setAttribute("aria-label", chart.summary);
  place.width = width;
}

function showTooltip(_, event, __, value) {
  const box = document.getElementById("tooltip");
  box.hidden = !value || typeof value !== "object";
  if (box.hidden) return;
  box.replaceChildren();
  for (const [name, text] of Object.entries(value)) {
    if (text === "" || text === "null" || text == null) continue;
    box.append(element("div", {}, `${name}: `, element("bdi", {}, String(text))));
  }
  const left = Math.min(event.clientX + 12, innerWidth - box.offsetWidth - 8);
  box.style.left = `${Math.max(4, left)}px`;
  box.style.top = `${Math.min(event.clientY + 12, innerHeight - box.offsetHeight - 8)}px`;
}

// One chart at a time, so that the page answers while it draws.
const waiting = [];
let drawing = false;
async function drawWaiting() {
  if (drawing) return;
  drawing = true;
  while (waiting.length) {
    const place = waiting.shift();
    try {
      await draw(place);
    } catch (error) {
      place.plot.textContent = `This chart cannot be drawn: ${error.message}`;
      console.error(error);
    }
    await new Promise((go) => setTimeout(go));
  }
  drawing = false;
  document.documentElement.dataset.drawn = "yes";
}

function drawSoon(places) {
  delete document.documentElement.dataset.drawn;
  for (const place of places) if (!waiting.includes(place)) waiting.push(place);
  drawWaiting();
}

function showGroup(container, chapter, group, all = false) {
  for (const place of drawn.filter((place) => place.container === container)) place.view?.finalize();
  drawn.splice(0, drawn.length, ...drawn.filter((place) => place.container !== container));
  for (const old of container.querySelectorAll("figure, .rest")) old.remove();
  const charts = all ? group.charts : group.charts.slice(0, FIRST_CHARTS);
  const places = charts.map((chart) => {
    const plot = element("div", { className: "plot" });
    const title = element("figcaption", {}, element("bdi", {}, chart.title));
    container.append(element("figure", { className: charts.length === 1 ? "wide" : "" }, title, plot));
    return { container, chapter, chart, plot };
  });
  drawn.push(...places);
  if (charts.length < group.charts.length) {
    const rest = element("button", { type: "button", className: "rest" }, `Show all ${group.charts.length} charts`);
    rest.addEventListener("click", () => showGroup(container, chapter, group, true));
    container.append(rest);
  }
  drawSoon(places);
}

function makeCharts() {
  for (const container of document.querySelectorAll(".charts")) {
    const chapter = page.chapters[container.dataset.chapter];
    const groups = chapter.figures[container.dataset.figures];
    if (groups.length > 1) {
      const choice = element("select", {}, ...groups.map((group, number) => element("option", { value: number }, group.name)));
      choice.addEventListener("change", () => showGroup(container, chapter, groups[choice.value]));
      container.append(element("label", { className: "choice" }, "against ", choice));
    }
    showGroup(container, chapter, groups[0]);
  }
}

function makeLegends() {
  for (const legend of document.querySelectorAll(".legend")) {
    const chapter = page.chapters[legend.nextElementSibling.dataset.chapter];
    const measured = new Set(chapter.all.length ? chapter.all.filter((row) => row.status === "ok" && isShown(row)).map((row) => row.backend) : chapter.backends);
    legend.replaceChildren(...chapter.backends.filter((name) => measured.has(name)).map((name) =>
      element("span", {}, swatch(chapter, name), element("bdi", {}, name))));
  }
}

// ---- tables

function spelled(name, value) {
  if (value === null || value === undefined || value === "") return "";
  if (name === "roofline_fraction") return `${(100 * value).toFixed(value < 0.1 ? 1 : 0)} %`;
  if (typeof value !== "number" || Number.isInteger(value)) return String(value);
  return Math.abs(value) >= 1e-3 && Math.abs(value) < 1e6 ? String(Number(value.toPrecision(4))) : value.toExponential(2);
}

function rowsShown(chapter) {
  const rows = chapter.all.filter(isShown);
  if (!state.sort) return rows;
  const sign = state.descending ? -1 : 1;
  return rows.sort((one, other) => {
    const a = one[state.sort], b = other[state.sort];
    const missing = (a === null) - (b === null); // rows without a number stand last either way
    return missing || sign * compare(a, b);
  });
}

function commandOf(chapter, row) {
  const part = chapter.rerun;
  return part.start + part.backends[row.backend] + part.middle + part.cases[row.case] + part.end;
}

function copyButton(text) {
  const button = element("button", { type: "button" }, "Copy");
  button.addEventListener("click", async () => {
    const area = element("textarea", { value: text });
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      document.body.append(area); // pages opened from a file have no clipboard in some browsers
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    button.textContent = "Copied";
  });
  return button;
}

function detailsOf(chapter, row) {
  const facts = page.columns.filter((name) => row[name] !== null && row[name] !== "").map((name) =>
    element("div", { title: page.descriptions[name] }, element("dt", {}, name), element("dd", {}, element("bdi", {}, String(row[name])))));
  const command = commandOf(chapter, row);
  const cell = element("td", { colSpan: page.shown.length }, element("dl", {}, ...facts),
    element("p", {}, "Measure it again: ", copyButton(command)), element("pre", {}, command));
  return element("tr", { className: "details" }, cell);
}

function tableRow(chapter, row) {
  const line = element("tr", { className: row.status === "ok" ? "" : "failed" });
  page.shown.forEach(([name], column) => {
    const text = element("bdi", {}, spelled(name, row[name]));
    const cell = element("td", { className: typeof row[name] === "number" ? "number" : "" }, text);
    if (column === 0) {
      const opener = element("button", { type: "button", className: "opener", ariaExpanded: "false", ariaLabel: `More on ${row.case}, ${row.backend}` }, "+");
      opener.addEventListener("click", () => {
        const open = line.nextElementSibling?.classList.contains("details");
        open ? line.nextElementSibling.remove() : line.after(detailsOf(chapter, row));
        opener.ariaExpanded = String(!open);
        opener.textContent = open ? "+" : "-";
      });
      cell.prepend(opener);
    }
    line.append(cell);
  });
  return line;
}

function showRows(section, chapter, count) {
  const rows = rowsShown(chapter);
  const table = section.querySelector("table");
  const headers = page.shown.map(([name, label]) => {
    const header = element("th", { scope: "col" });
    if (state.sort === name) header.setAttribute("aria-sort", state.descending ? "descending" : "ascending");
    sortButton(header, label, () => {
      state.descending = state.sort === name && !state.descending;
      state.sort = name;
      writeAddress();
      showAllRows();
      for (const again of section.querySelectorAll("th[aria-sort] button")) again.focus();
    });
    return header;
  });
  table.tHead.replaceChildren(element("tr", {}, ...headers));
  table.tBodies[0].replaceChildren(...rows.slice(0, count).map((row) => tableRow(chapter, row)));
  const more = section.querySelector(".more");
  more.hidden = count >= rows.length;
  more.textContent = `Show more: ${Math.min(count, rows.length)} of ${rows.length} rows are shown`;
  more.onclick = () => showRows(section, chapter, count + 5 * ROWS_AT_ONCE);
  section.querySelector(".csv").onclick = () => download(chapter, rows);
}

function showAllRows() {
  for (const section of document.querySelectorAll(".cells")) showRows(section, page.chapters[section.dataset.chapter], ROWS_AT_ONCE);
}

function csvOf(rows) {
  const quoted = (value) => {
    const text = value === null || value === undefined ? "" : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [page.columns, ...rows.map((row) => page.columns.map((name) => row[name]))].map((line) => line.map(quoted).join(",")).join("\n") + "\n";
}

function download(chapter, rows) {
  const address = URL.createObjectURL(new Blob([csvOf(rows)], { type: "text/csv" }));
  element("a", { href: address, download: "cells.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

// ---- all of it

function changed() {
  writeAddress();
  makeLegends();
  showAllRows();
  tellFiltered();
  drawSoon(drawn);
}

function tellFiltered() {
  const all = page.chapters.flatMap((chapter) => chapter.all);
  const left = all.filter(isShown).length;
  document.getElementById("filtered").textContent = left === all.length ? "" : `${left} of ${all.length} cells; the answer above is of all`;
}

readAddress();
makeFilters();
makeLegends();
for (const table of document.querySelectorAll("table[data-sortable]")) makeSortable(table);
showAllRows();
tellFiltered();
performance.mark("usable"); // what is asked for by now is answered; charts follow
makeCharts();
let resized = 0;
addEventListener("resize", () => {
  clearTimeout(resized);
  resized = setTimeout(() => drawSoon(drawn.filter((place) => place.plot.clientWidth !== place.width)), 200);
});
