"use strict";
// Finding, sorting, choosing columns, turning pages, printing. Without this the page is complete, only still.
const PAGE = 100;  // rows at once, as many as the page comes with
const PAPER = { width: 1030, font: 10 / 13.5, room: 8 };  // A4 landscape, see page.css

class Comparison {
  constructor(section, table) {
    this.section = section;
    this.table = table;
    this.body = table.tBodies[0];
    this.list = section.querySelector(".lineages");
    const more = (name) => section.querySelector(`template.${name}`)?.content.children ?? [];
    this.rows = [...this.body.rows, ...more("more-rows")];
    this.made = new Map([...this.list.children, ...more("more-made")].map((one) => [one.dataset.place, one]));
    this.heads = [...table.tHead.rows[1].cells];
    const [corner, ...groups] = table.tHead.rows[0].cells;
    this.before = corner.colSpan;  // columns before the first group: variant, and Pareto where there is a front
    this.groups = groups;
    this.spans = this.groups.map((cell) => cell.colSpan);
    this.names = this.rows.map((row) => row.cells[0].textContent.toLowerCase());
    this.chosen = this.rows;
    this.page = 0;
    this.order = null;  // [column, 1 up or -1 down]
    this.tools = section.querySelector(".tools");
    this.tools.hidden = false;
    this.pages = section.querySelector(".pages");
    this.listen();
    this.choose();
  }

  listen() {
    this.heads.forEach((head, place) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => this.sort(head, place));
    });
    this.tools.addEventListener("input", () => { this.page = 0; this.choose(); });
    this.pages?.querySelector(".back").addEventListener("click", () => { this.page -= 1; this.show(); });
    this.pages?.querySelector(".forth").addEventListener("click", () => { this.page += 1; this.show(); });
  }

  // Up, down, and back to the order of the sweep.
  sort(head, place) {
    const before = head.getAttribute("aria-sort");
    for (const other of this.heads) other.removeAttribute("aria-sort");
    const way = before === null ? 1 : before === "ascending" ? -1 : 0;
    if (way) head.setAttribute("aria-sort", way > 0 ? "ascending" : "descending");
    this.order = way ? [place, way] : null;
    this.page = 0;
    this.choose();
  }

  choose() {
    const wanted = this.tools.querySelector(".filter").value.trim().toLowerCase();
    const pareto = this.tools.querySelector(".pareto")?.checked;
    let chosen = this.rows.filter((row, n) => this.names[n].includes(wanted)
      && (!pareto || row.classList.contains("front") || row.classList.contains("reference")));
    if (this.order) chosen = this.sorted(chosen, ...this.order);
    this.chosen = chosen;
    const whole = chosen.length === this.rows.length;
    this.tools.querySelector(".count").textContent = whole ? "" : `${chosen.length} of ${this.rows.length} variants`;
    this.show();
  }

  sorted(rows, place, way) {
    const text = this.heads[place].dataset.kind === "text";
    const compare = new Intl.Collator(undefined, { numeric: true }).compare;
    const keyed = rows.map((row) => {
      const cell = row.cells[place];
      const key = text ? cell.textContent : cell.dataset.sort ? Number(cell.dataset.sort) : NaN;
      return { row, key, empty: text ? key === "" : Number.isNaN(key), n: Number(row.dataset.place) };
    });
    // Rows without a number stay at the end, whichever way.
    keyed.sort((a, b) => a.empty - b.empty
      || (a.empty ? 0 : way * (text ? compare(a.key, b.key) : a.key - b.key)) || a.n - b.n);
    return keyed.map((one) => one.row);
  }

  // A column is there if its group is switched on, and it is a main one or all are wanted.
  seen() {
    const off = new Set([...this.tools.querySelectorAll(".family")].filter((b) => !b.checked).map((b) => b.value));
    const details = this.tools.querySelector(".details");
    const all = !details || details.checked;
    return this.heads.map((head) => !off.has(head.dataset.family) && (all || !head.classList.contains("detail")));
  }

  show() {
    const last = Math.max(0, Math.ceil(this.chosen.length / PAGE) - 1);
    this.page = Math.min(Math.max(this.page, 0), last);
    const rows = this.chosen.slice(this.page * PAGE, (this.page + 1) * PAGE);
    const seen = this.seen();
    for (const row of [this.table.tHead.rows[1], ...rows])
      seen.forEach((there, column) => row.cells[column].classList.toggle("off", !there));
    let place = this.before;
    this.groups.forEach((cell, index) => {
      const many = seen.slice(place, place + this.spans[index]).filter(Boolean).length;
      cell.classList.toggle("off", many === 0);
      cell.colSpan = Math.max(1, many);
      place += this.spans[index];
    });
    this.body.replaceChildren(...rows);
    const made = rows.map((row) => this.made.get(row.dataset.place)).filter(Boolean);
    made.sort((a, b) => a.dataset.place - b.dataset.place);
    this.list.replaceChildren(...made);
    if (!this.pages) return;
    this.pages.hidden = last === 0;
    const from = this.page * PAGE + 1;
    this.pages.querySelector(".where").textContent = `${from}–${from - 1 + rows.length} of ${this.chosen.length}`;
    this.pages.querySelector(".back").disabled = this.page === 0;
    this.pages.querySelector(".forth").disabled = this.page === last;
  }

  // What a link leads to: its page is turned to, and if need be the filter is lifted.
  reveal(place) {
    const row = this.rows.find((one) => one.dataset.place === place);
    if (!row) return;
    if (!this.chosen.includes(row)) {
      this.tools.querySelector(".filter").value = "";
      const pareto = this.tools.querySelector(".pareto");
      if (pareto) pareto.checked = false;
      this.choose();
    }
    this.page = Math.floor(this.chosen.indexOf(row) / PAGE);
    this.show();
  }

  // On paper: all chosen rows, and the columns in as many tables as their widths need.
  print() {
    const seen = this.seen();
    const width = (head) => (head.offsetWidth - 20) * PAPER.font + PAPER.room;
    const first = width(this.heads[0]);
    const parts = [[]];
    let left = PAPER.width - first, column = 1;
    const put = (places) => {
      const wide = places.reduce((sum, p) => sum + width(this.heads[p]), 0);
      if (wide > left && parts.at(-1).length) {
        parts.push([]);
        left = PAPER.width - first;
      }
      if (wide > left && places.length > 1) return places.forEach((p) => put([p]));
      parts.at(-1).push(...places);
      left -= wide;
    };
    for (const many of [this.before - 1, ...this.spans]) {
      const places = [...Array(many).keys()].map((n) => n + column).filter((p) => seen[p]);
      if (places.length) put(places);
      column += many;
    }
    const made = parts.map((places) => this.part([0, ...places]));
    this.section.querySelector(".comparing").after(...made);
    this.section.classList.add("parted");
  }

  part(places) {
    const table = document.createElement("table");
    table.className = "comparison printed";
    const row = (cells) => {
      const made = document.createElement("tr");
      made.append(...cells);
      return made;
    };
    const copy = (source) => {
      const made = row(places.map((place) => source.cells[place].cloneNode(true)));
      for (const cell of made.cells) cell.classList.remove("off");
      made.className = source.className;
      return made;
    };
    const groups = [];
    for (const place of places) {
      let index = -1;
      for (let end = this.before; end <= place; end += this.spans[index]) index += 1;
      const title = index < 0 ? "" : this.groups[index].textContent;
      if (groups.length && groups.at(-1).textContent === title) groups.at(-1).colSpan += 1;
      else groups.push(Object.assign(document.createElement(title ? "th" : "td"), { textContent: title }));
    }
    const names = row(groups);
    names.className = "groups";
    table.createTHead().append(names, copy(this.table.tHead.rows[1]));
    table.createTBody().append(...this.chosen.map(copy));
    return table;
  }

  printed() {
    for (const one of this.section.querySelectorAll(".printed")) one.remove();
    this.section.classList.remove("parted");
  }
}

const comparisons = new Map();
for (const section of document.querySelectorAll("section")) {
  const table = section.querySelector("table.comparison");
  if (table) comparisons.set(section.id, new Comparison(section, table));
}
addEventListener("beforeprint", () => comparisons.forEach((one) => one.print()));
addEventListener("afterprint", () => comparisons.forEach((one) => one.printed()));

const follow = () => {
  const found = /^#(m\d+)-(row|made)(\d+)$/.exec(location.hash);
  if (!found) return;
  comparisons.get(found[1])?.reveal(found[3]);
  const there = document.getElementById(location.hash.slice(1));
  there?.closest("details")?.setAttribute("open", "");
  there?.scrollIntoView({ block: found[2] === "row" ? "center" : "nearest" });
  (found[2] === "row" ? there?.querySelector("a") : there)?.focus({ preventScroll: true });
};
addEventListener("hashchange", follow);
// A second click on the same link changes no address.
addEventListener("click", (event) => {
  if (event.target.closest?.("a")?.getAttribute("href") === location.hash) follow();
});
follow();
