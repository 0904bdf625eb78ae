// Filters with counts: every choice says how many pictures it would leave beside the other filters. Several choices of
// one kind are alternatives; those of different kinds must all hold.

import { facets } from "./api.js";
import { button, byId, bytes, el, iconButton, shown } from "./dom.js";
import { treeOf, within } from "./folders.js";
import { alternativesOf, bare, fieldOf, ofLabels, split, withFilter } from "./state.js";

const GROUPS = [
  { field: "folder", title: "Folder", of: (counts) => counts.folders },
  { field: "tag", title: "Tag", of: (counts) => counts.tags },
  { field: "kind", title: "Kind", of: (counts) => counts.kinds },
  { field: "taken", title: "Date", of: (counts) => counts.years },
  { field: "orientation", title: "Shape", of: (counts) => counts.orientations },
  { field: "width", title: "Width", of: (counts) => counts.widths },
  { field: "size", title: "Size of the file", of: (counts) => counts.sizes },
  { field: "format", title: "Format", of: (counts) => counts.formats },
];
const NAMES = {
  folder: "Folder",
  kind: "Kind",
  duration: "Length",
  at: "Time in the film",
  taken: "Date",
  orientation: "Shape",
  size: "Size",
  format: "Format",
  name: "Name",
  width: "Width",
  height: "Height",
  label: "Label",
  tag: "Tag",
  caption: "Caption",
  person: "Person",
  place: "Place",
  camera: "Camera",
  lens: "Lens",
  near: "Near",
  has: "Has",
};
const nameOf = (field) => NAMES[field] ?? field.replace(/^label /, "");
const SAID = { "=": "", "!=": "not ", "<": "below ", "<=": "to ", ">": "above ", ">=": "from ", "~": "" };
const FEW = 8;
const MOST_KEPT = 30;

/** The column of filters, and the chips that say which are in force. */
export class Filters {
  #kept = new Map();
  #shownFor = "";
  #opened = new Set(); // groups of which all is shown, and folders by their path

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
    if (this.panel.hidden) return;
    this.#refresh();
    if (this.panel.getBoundingClientRect().top < 0) this.panel.scrollIntoView(); // the button stays in view, far below
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

  /** Returns all tags, those of most pictures first. */
  async tags() {
    return (await this.counts([])).tags.map(({ label }) => label);
  }

  /** Shows the filters of a state. */
  render(state, revision) {
    [this.where, this.revision] = [state.where, revision];
    const fields = [...new Set(state.where.map(fieldOf))];
    const count = byId("n-filters");
    count.hidden = !fields.length;
    count.textContent = fields.length;
    byId("chips").hidden = !fields.length;
    byId("chips").replaceChildren(...fields.map((field) => this.#chip(field)));
    if (!this.panel.hidden) this.#refresh();
  }

  #chip(field) {
    const alternatives = alternativesOf(this.where, field);
    const isWhole = this.where.includes(field); // of several fields, which nothing shorter says
    const words = isWhole ? shown(field) : `${nameOf(field)}: ${alternatives.map(said).join(" or ")}`;
    const remove = iconButton(`Remove the filter ${words}`, "close", () => this.#choose(field, []), {
      class: "quiet",
    });
    const title = alternatives.map(shown).join(" or ");
    return el("li", { title }, el("bdi", { class: "chip-text", text: words }), remove);
  }

  /** Lets the alternatives of a field be these. */
  #choose(field, alternatives) {
    this.go({ where: withFilter(this.where, field, alternatives.length ? [alternatives.join(" or ")] : []) });
  }

  async #refresh() {
    const wanted = JSON.stringify([this.where, this.revision]);
    if (wanted === this.#shownFor) return;
    const [groups, ...counts] = await this.#counted(this.where).catch(() => []);
    if (!groups || wanted !== JSON.stringify([this.where, this.revision])) return; // a newer one is on its way
    this.#shownFor = wanted;
    const held = this.panel.contains(document.activeElement) ? document.activeElement.id : null;
    this.panel.replaceChildren(...groups.map((group, place) => this.#group(group, counts[place])), this.#name());
    if (held) byId(held)?.focus();
  }

  /** Returns the groups with all their choices, and the counts for each: of what passes all other filters. */
  async #counted(where) {
    const all = await this.counts([]);
    const groups = [...GROUPS, ...all.labels.map(({ label_set: set }) => groupOfLabels(set))]
      .map((group) => ({ ...group, n: all.n, choices: group.of(all).map(asChoice) }))
      .filter(({ choices }) => choices.length);
    return [groups, ...(await Promise.all(groups.map(({ field }) => this.counts(withFilter(where, field, [])))))];
  }

  #group(group, counts) {
    const { field, title, of } = group;
    const chosen = alternativesOf(this.where, field);
    const left = new Map(of(counts).map((one) => [asChoice(one).key, one.n]));
    const choices = group.choices.map((one, place) => ({
      ...one,
      id: `filter-${field.replace(" ", "-")}-${place}`,
      n: left.get(one.key) ?? 0,
      isChosen: chosen.includes(one.key),
    }));
    const rows = field === "folder" ? this.#folders(group, choices) : this.#rows(field, choices);
    return el(
      "fieldset",
      {},
      el("legend", { text: title }),
      ...rows,
      field === "taken" && this.#dates(chosen),
    );
  }

  #rows(field, choices) {
    const isInSight = (one, place) => place < FEW || this.#opened.has(field) || one.isChosen;
    const rest = choices.filter((one, place) => !isInSight(one, place)).length;
    const more = rest > 0 && this.#more(rest, field);
    return [...choices.filter(isInSight).map((one) => this.#row(field, one, choices)), more];
  }

  /** Returns the folders as a tree, of which as much is open as was opened or holds what is chosen. */
  #folders({ n }, choices) {
    const known = choices.map((one, place) => ({ ...one, place }));
    const telling = known.filter((one) => one.all < n || one.isChosen); // not one that holds all
    return [this.#branch("", treeOf(telling), choices)];
  }

  #branch(path, nodes, choices) {
    const isInSight = ({ one }, place) => place < FEW || this.#opened.has(`${path} `) || one.isChosen;
    const rest = nodes.filter((node, place) => !isInSight(node, place)).length;
    const leaves = nodes.filter(isInSight).map(({ one, name, below }) => {
      const isOpen = this.#opened.has(one.label) || holdsChosen(below);
      const twisty =
        below.length > 0 &&
        iconButton(`Folders in ${shown(name)}`, isOpen ? "down" : "right", () => this.#turn(one.label), {
          id: `${one.id}-open`,
          class: "quiet twisty",
          "aria-expanded": String(isOpen),
          disabled: holdsChosen(below),
        });
      const row = this.#row("folder", { ...one, label: name, title: one.label }, choices);
      return el(
        "li",
        {},
        el("div", { class: "folder" }, twisty, row),
        isOpen && below.length > 0 && this.#branch(one.label, below, choices),
      );
    });
    return el("ul", { class: "tree", role: "list" }, ...leaves, rest > 0 && el("li", {}, this.#more(rest, `${path} `)));
  }

  #row(field, { id, label, title, key, n, isChosen, path }, choices) {
    const chosen = choices.filter((one) => one.isChosen);
    const isWithin = field === "folder" && chosen.some((one) => within(path, one.path));
    const change = () => {
      const others = chosen.filter((one) => one.key !== key && !(field === "folder" && within(one.path, path)));
      this.#choose(field, [...others.map((one) => one.key), ...(isChosen ? [] : [key])]);
    };
    const input = el("input", {
      type: "checkbox",
      id,
      checked: isChosen || isWithin,
      disabled: isWithin || (!n && !isChosen),
      on: { change },
    });
    return el(
      "label",
      { class: "choice", title: title && shown(title) },
      input,
      el("bdi", { text: shown(label) }),
      el("span", { class: "count", text: n.toLocaleString("en") }),
    );
  }

  #more(n, name) {
    return button(`${n} more`, { class: "quiet", id: `more-${name.trim().replace(/\W+/g, "-")}`, onClick: () => this.#turn(name) });
  }

  /** Opens what is closed, and closes what is open. */
  #turn(name) {
    if (!this.#opened.delete(name)) this.#opened.add(name);
    this.#shownFor = "";
    this.#refresh();
  }

  #dates(chosen) {
    const bounds = chosen.length === 1 ? split(chosen[0], "and") : [];
    const bound = (operator) => bounds.find((one) => one.startsWith(`taken ${operator} `))?.slice(9) ?? "";
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
    const bounds = [from && `taken >= ${from}`, to && `taken <= ${to}`].filter(Boolean);
    this.#choose("taken", bounds.length ? [bounds.join(" and ")] : []);
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

/** Returns a class of pictures as it can be chosen: `key` is its filter, `all` how many there are in the library. */
const asChoice = ({ label, where, n }) => ({ label, path: label, key: where.join(" and "), all: n });

/** Returns the choices among the labels of a set. */
const groupOfLabels = (set) => ({
  field: ofLabels(set),
  title: `Label: ${set}`,
  of: (counts) => counts.labels.find((one) => one.label_set === set)?.labels ?? [],
});

const holdsChosen = (nodes) => nodes.some(({ one, below }) => one.isChosen || holdsChosen(below));

/** Returns what an alternative asks of its field, in words. */
function said(alternative) {
  const parts = split(alternative, "and").filter((one) => !/^(size|width) >= 0$/.test(one));
  return parts.map(saidOfOne).join(" ");
}

function saidOfOne(comparison) {
  const [, field, operator, value] = /^([a-z]+) (!=|<=|>=|=|<|>|~) (.*)$/s.exec(bare(comparison)) ?? [];
  if (!field) return shown(comparison);
  if (field === "size" && /^\d+$/.test(value)) return SAID[operator] + bytes(Number(value));
  if ((field === "width" || field === "height") && /^\d+$/.test(value))
    return `${SAID[operator]}${Number(value).toLocaleString("en")} px`;
  if (field === "label") return SAID[operator] + shown(value.replace(/^"?[\p{L}\p{N}_.-]+\//u, ""));
  const isPath = field === "folder" || field === "path";
  return SAID[operator] + shown(isPath ? value.replace(/\/\*$/, "").split("/").at(-1) || value : value);
}
