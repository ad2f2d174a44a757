"use strict";
// The index of a site: what is asked for stands in the address.
const form = document.getElementById("search");
const places = [...document.querySelectorAll("[data-text]")].map((place) => ({ place, text: place.dataset.text.toLowerCase() }));

function search() {
  const words = form.q.value.toLowerCase().split(/\s+/).filter(Boolean);
  let cards = 0, runs = 0;
  for (const { place, text } of places) {
    const isCard = place.classList.contains("card");
    const hidden = !words.every((word) => text.includes(word)) || (isCard && form.changed.checked && place.dataset.changed === "no");
    place.hidden = hidden;
    if (!hidden) isCard ? cards++ : runs++;
  }
  document.getElementById("found").textContent = words.length || form.changed.checked ? `${cards} suites, ${runs} runs` : "";
}

function asked() {
  const told = new URLSearchParams(location.hash.slice(1));
  form.q.value = told.get("q") ?? "";
  form.changed.checked = told.get("changed") === "yes";
  search();
}

function searched() {
  const told = new URLSearchParams();
  if (form.q.value) told.set("q", form.q.value);
  if (form.changed.checked) told.set("changed", "yes");
  history.replaceState(null, "", told.size ? "#" + told : location.pathname + location.search);
  search();
}

for (const table of document.querySelectorAll("table[data-sortable]")) makeSortable(table);
form.addEventListener("input", searched);
form.addEventListener("submit", (event) => event.preventDefault());
addEventListener("hashchange", asked);
asked();
