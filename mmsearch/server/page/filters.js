// Filters with counts: every choice says how many pictures it would leave beside the other filters.

import { facets } from "./api.js";
import { button, byId, bytes, el, iconButton, shown } from "./dom.js";
import { fieldOf, ofLabels, withFilter } from "./state.js";

const GROUPS = [
  { field: "folder", title: "Folder", of: (counts) => counts.folders },
  { field: "taken", title: "Date", of: (counts) => counts.years },
  { field: "size", title: "Size of the file", of: (counts) => counts.sizes },
  { field: "format", title: "Format", of: (counts) => counts.formats },
];
const NAMES = {
  folder: "Folder",
  taken: "Date",
  size: "Size",
  format: "Format",
  name: "Name",
  width: "Width",
  height: "Height",
  label: "Label",
};
const nameOf = (field) => NAMES[field] ?? field.replace(/^label /, "");
const SAID = { "=": "", "!=": "not ", "<": "below ", "<=": "to ", ">": "above ", ">=": "from ", "~": "" };
const FEW = 8;
const MOST_KEPT = 30;

/** The column of filters, and the chips that say which are in force. */
export class Filters {
  #kept = new Map();
  #shownFor = "";
  #opened = new Set();

  constructor(go) {
    [this.go, this.where, this.revision] = [go, [], null]; // until the library has said what it holds
    this.panel = byId("filters");
    byId("toggle-filters").addEventListener("click", () => this.toggle());
  }

  /** Opens or closes the column. */
  toggle() {
    this.panel.hidden = !this.panel.hidden;
    byId("toggle-filters").setAttribute("aria-expanded", String(!this.panel.hidden));
    byId("body").classList.toggle("with-filters", !this.panel.hidden);
    if (!this.panel.hidden) this.#refresh();
  }

  /** Returns the counts of the pictures that pass some filters, asked once for each state of the library. */
  counts(where, revision = this.revision) {
    const key = JSON.stringify([where, revision]);
    if (!this.#kept.has(key)) {
      if (this.#kept.size >= MOST_KEPT) this.#kept.clear();
      const asked = facets(where);
      asked.catch(() => this.#kept.delete(key));
      this.#kept.set(key, asked);
    }
    return this.#kept.get(key);
  }

  /** Shows the filters of a state. */
  render(state, revision) {
    [this.where, this.revision] = [state.where, revision];
    const count = byId("n-filters");
    count.hidden = !state.where.length;
    count.textContent = state.where.length;
    const chips = byId("chips");
    chips.hidden = !state.where.length;
    const fields = [...new Set(state.where.map(fieldOf))];
    chips.replaceChildren(
      ...fields.map((field) =>
        this.#chip(
          field,
          state.where.filter((one) => fieldOf(one) === field),
        ),
      ),
    );
    if (!this.panel.hidden) this.#refresh();
  }

  #chip(field, expressions) {
    const told = expressions.filter((one) => one !== "size >= 0").map(said);
    const words = expressions.includes(field) ? shown(field) : `${nameOf(field)}: ${told.join(" ")}`;
    const remove = iconButton(`Remove the filter ${words}`, "close", () => this.#choose(field, []), {
      class: "quiet",
    });
    return el("li", { title: expressions.map(shown).join(", ") }, el("bdi", { text: words }), remove);
  }

  #choose(field, expressions) {
    this.go({ where: withFilter(this.where, field, expressions) });
  }

  async #refresh() {
    const wanted = JSON.stringify([this.where, this.revision]);
    if (wanted === this.#shownFor) return;
    const where = this.where;
    const [groups, ...others] = await this.#counted(where).catch(() => []);
    if (!groups || wanted !== JSON.stringify([this.where, this.revision])) return; // a newer one is on its way
    this.#shownFor = wanted;
    const hadFocus = this.panel.contains(document.activeElement) ? document.activeElement.id : null;
    this.panel.replaceChildren(...groups.map((group, place) => this.#group(group, others[place])), this.#name());
    if (hadFocus) byId(hadFocus)?.focus();
  }

  /** Returns the groups of choices, and the counts for each: of the pictures that pass all other filters. */
  async #counted(where) {
    const { labels } = await this.counts([]);
    const groups = [...GROUPS, ...labels.map(({ label_set: set }) => groupOfLabels(set))];
    return [groups, ...(await Promise.all(groups.map(({ field }) => this.counts(withFilter(where, field, [])))))];
  }

  #group({ field, title, of }, counts) {
    const chosen = this.where.filter((one) => fieldOf(one) === field);
    const isChosen = (expressions) => expressions.join("\n") === chosen.join("\n");
    const known = of(counts).map((one) => ({ ...one, expressions: one.where }));
    const isFolder = field === "folder";
    const isTelling = (one) => !isFolder || one.n < counts.n || isChosen(one.expressions); // not one that holds all
    const all = known.filter(isTelling);
    const inSight = all.filter((one, place) => place < FEW || this.#opened.has(field) || isChosen(one.expressions));
    const rows = [{ label: "Any", expressions: [], n: counts.n }, ...inSight].map((one, place) =>
      this.#row(field, place, isFolder ? shortened(one, known) : one, isChosen(one.expressions)),
    );
    const rest = all.length - inSight.length;
    return el(
      "fieldset",
      {},
      el("legend", { text: title }),
      ...rows,
      rest > 0 && button(`${rest} more`, { class: "quiet", id: `more-${field.replace(" ", "-")}`, onClick: () => this.#open(field) }),
      field === "taken" && this.#dates(chosen),
    );
  }

  #row(field, place, { label, title, expressions, n }, isChosen) {
    const input = el("input", {
      type: "radio",
      name: `filter-${field}`,
      id: `filter-${field.replace(" ", "-")}-${place}`,
      checked: isChosen,
      on: { change: () => this.#choose(field, expressions) },
    });
    return el(
      "label",
      { class: "choice", title: title && shown(title) },
      input,
      el("bdi", { text: shown(label) }),
      el("span", { class: "count", text: n.toLocaleString("en") }),
    );
  }

  #open(field) {
    this.#opened.add(field);
    this.#shownFor = "";
    this.#refresh();
  }

  #dates(chosen) {
    const bound = (operator) => chosen.find((one) => one.startsWith(`taken ${operator} `))?.slice(9) ?? "";
    const field = (words, operator) =>
      el(
        "label",
        {},
        words,
        el("input", {
          type: "date",
          id: `taken-${words}`,
          value: bound(operator).length === 10 && bound(operator),
          on: { change: () => this.#dated() },
        }),
      );
    return el("div", { class: "dates" }, field("from", ">="), field("to", "<="));
  }

  #dated() {
    const [from, to] = [byId("taken-from").value, byId("taken-to").value];
    this.#choose("taken", [...(from ? [`taken >= ${from}`] : []), ...(to ? [`taken <= ${to}`] : [])]);
  }

  #name() {
    const pattern = this.where.find((one) => fieldOf(one) === "name" && one.startsWith("name ~ "))?.slice(7) ?? "";
    const take = (event) => {
      const words = event.target.value.trim();
      const glob = /[*?[]/.test(words) ? words : `*${words}*`;
      this.#choose("name", words ? [`name ~ ${glob}`] : []);
    };
    const input = el("input", {
      type: "search",
      id: "filter-name",
      placeholder: "part of it",
      autocomplete: "off",
      value: pattern.replace(/^\*(.*)\*$/, "$1"),
      on: { change: take, search: take },
    });
    return el(
      "fieldset",
      {},
      el("legend", { text: "Name of the file" }),
      el("label", { class: "wide" }, el("span", { class: "unseen", text: "Name of the file" }), input),
    );
  }
}

/** Returns the choices among the labels of a set. */
const groupOfLabels = (set) => ({
  field: ofLabels(set),
  title: `Label: ${set}`,
  of: (counts) => counts.labels.find((one) => one.label_set === set)?.labels ?? [],
});

/** Returns what a filter asks of its field, in words. */
function said(expression) {
  const [, field, operator, value] = /^([a-z]+) (!=|<=|>=|=|<|>|~) (.*)$/s.exec(expression) ?? [];
  if (!field) return shown(expression);
  if (field === "size" && /^\d+$/.test(value)) return SAID[operator] + bytes(Number(value));
  if (field === "label") return SAID[operator] + shown(value.replace(/^"?[\p{L}\p{N}_.-]+\//u, ""));
  const isPath = field === "folder" || field === "path";
  return SAID[operator] + shown(isPath ? value.replace(/\/\*$/, "").split("/").at(-1) || value : value);
}

/** Returns a folder by its path from the folder that holds all. */
function shortened(one, all) {
  if (!one.where || all.length < 2) return one;
  const root = all.reduce((common, { label }) => (label.length < common.length ? label : common), all[0].label);
  const isBelow = one.label.startsWith(`${root}/`);
  return {
    ...one,
    title: one.label,
    label: isBelow ? one.label.slice(root.length + 1) : one.label.split("/").at(-1) || one.label,
  };
}
