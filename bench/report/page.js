"use strict";
// Sorting, finding and showing columns. Without this the page is complete, only still.
for (const section of document.querySelectorAll("section")) {
  const table = section.querySelector("table.comparison");
  if (!table) continue;
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const tools = section.querySelector(".tools");
  tools.hidden = false;

  const number = (row, place) => {
    const text = row.cells[place].dataset.sort;
    return text === undefined || text === "" ? NaN : Number(text);
  };
  const heads = [...table.tHead.rows[1].cells];
  heads.forEach((head, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      for (const other of heads) other.removeAttribute("aria-sort");
      // Up, down, and back to the order of the sweep.
      const way = before === null ? 1 : before === "ascending" ? -1 : 0;
      if (way) head.setAttribute("aria-sort", way > 0 ? "ascending" : "descending");
      const sorted = [...rows].sort((a, b) => {
        const order = a.dataset.place - b.dataset.place;
        if (!way) return order;
        if (head.dataset.kind === "text")
          return way * a.cells[place].textContent.localeCompare(b.cells[place].textContent) || order;
        const x = number(a, place), y = number(b, place);
        // Rows without a number stay at the end, whichever way.
        if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y) || order;
        return way * (x - y) || order;
      });
      body.append(...sorted);
    });
  });

  const count = tools.querySelector(".count");
  tools.querySelector(".filter").addEventListener("input", (event) => {
    const wanted = event.target.value.trim().toLowerCase();
    let shown = 0;
    for (const row of rows) {
      row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
      if (!row.hidden) shown += 1;
    }
    count.textContent = wanted ? `${shown} of ${rows.length} variants` : "";
  });

  // A column is there if its group is switched on, and it is a main one or all are wanted.
  const details = tools.querySelector(".details");
  const families = [...tools.querySelectorAll(".family")];
  const groups = [...table.tHead.rows[0].cells].slice(1, -1);
  const spans = groups.map((cell) => cell.colSpan);
  const show = () => {
    const off = new Set(families.filter((box) => !box.checked).map((box) => box.value));
    const all = !details || details.checked;
    const seen = heads.map((head) => !off.has(head.dataset.family) && (all || !head.classList.contains("detail")));
    let place = 1;
    groups.forEach((cell, index) => {
      const many = seen.slice(place, place + spans[index]).filter(Boolean).length;
      cell.classList.toggle("off", many === 0);
      cell.colSpan = Math.max(1, many);
      place += spans[index];
    });
    for (const row of [table.tHead.rows[1], ...rows])
      seen.forEach((there, column) => row.cells[column].classList.toggle("off", !there));
  };
  for (const box of [...families, details]) box?.addEventListener("change", show);
  show();
}
