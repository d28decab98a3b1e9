"use strict";
(function () {
  function key(row, column) {
    const text = row.cells[column].dataset.key;
    const value = text === "" ? NaN : Number(text);
    return { text: text, value: value };
  }
  function sort(table, column, heading) {
    const down = heading.getAttribute("aria-sort") === "ascending";
    const body = table.tBodies[0];
    const rows = Array.from(body.rows).map(function (row) { return { row: row, key: key(row, column) }; });
    const numbers = rows.every(function (r) { return r.key.text === "" || !Number.isNaN(r.key.value); });
    rows.sort(function (a, b) {
      if (a.key.text === "" || b.key.text === "") { return (a.key.text === "") - (b.key.text === ""); }
      const order = numbers ? a.key.value - b.key.value : a.key.text.localeCompare(b.key.text);
      return down ? -order : order;
    });
    rows.forEach(function (r) { body.appendChild(r.row); });
    table.querySelectorAll("thead th").forEach(function (h) { h.removeAttribute("aria-sort"); });
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
  }
  document.querySelectorAll("table.sortable").forEach(function (table) {
    table.querySelectorAll("thead th").forEach(function (heading, column) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = heading.textContent;
      heading.replaceChildren(button);
      button.addEventListener("click", function () { sort(table, column, heading); });
    });
  });
  const picker = document.getElementById("region");
  if (picker) {
    const pick = function () {
      document.querySelectorAll("figure.pick").forEach(function (f) { f.hidden = f.dataset.region !== picker.value; });
    };
    picker.parentElement.hidden = false;
    picker.addEventListener("change", pick);
    pick();
  }
  window.addEventListener("beforeprint", function () {
    document.querySelectorAll("details").forEach(function (d) { d.open = true; });
  });
})();
