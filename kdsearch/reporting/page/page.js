// Tables sort by a click on a heading, figures follow the light or dark of the page.
"use strict";

const blank = (text) => text === "";
const number = (text) => Number.parseFloat(text.replace(/[<,]/g, ""));

function sorted(table, column, ascending) {
  const rows = [...table.tBodies[0].rows];
  const text = (row) => row.cells[column].textContent.trim();
  const numeric = rows.every((row) => blank(text(row)) || !Number.isNaN(number(text(row))));
  const order = (one, other) => {
    const [a, b] = [text(one), text(other)];
    if (blank(a) || blank(b)) return blank(a) - blank(b); // what is not known stays below
    const less = numeric ? number(a) - number(b) : a.localeCompare(b);
    return ascending ? less : -less;
  };
  table.tBodies[0].append(...rows.sort(order));
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const ascending = heading.getAttribute("aria-sort") !== "ascending";
      for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      sorted(table, column, ascending);
    });
  });
}

function inked() {
  const colour = getComputedStyle(document.documentElement).getPropertyValue("--soft").trim();
  for (const figure of document.querySelectorAll(".plotly-graph-div")) {
    Plotly.relayout(figure, { "font.color": colour });
  }
}

if (window.Plotly) {
  inked();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", inked);
  window.addEventListener("beforeprint", () => {
    for (const figure of document.querySelectorAll(".plotly-graph-div")) Plotly.Plots.resize(figure);
  });
}
