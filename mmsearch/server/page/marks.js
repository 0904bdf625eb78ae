// Pictures marked as relevant and not: kept beside the state until the user searches again with them. They belong to
// one question, and the next starts without them unless they are kept.

import { button, byId, el } from "./dom.js";
import { canMark, isBrowsing, MOST_JUDGED } from "./state.js";

/** The marks of this search, and the bar that says what they do. `on` has again, forget, keep and changed. */
export class Marks {
  #applied = "";

  constructor(on) {
    [this.on, this.all] = [on, new Map()];
  }

  of(id) {
    return this.all.get(id);
  }

  /** True if a search with the marks would be another one. */
  get isChanged() {
    return this.#text(this.asState()) !== this.#applied && !this.#isPointless;
  }

  /** Marks a picture, or takes the same mark away. */
  toggle(id, kind) {
    if (!this.isPossible) return;
    if (this.all.get(id) === kind) this.all.delete(id);
    else if (this.all.size < MOST_JUDGED) this.all.set(id, kind);
    this.#changed();
  }

  /** Takes the marks of a state, if the state has other ones than before. */
  follow(state, abilities) {
    this.isPossible = canMark(state, abilities);
    this.isKept = state.keepsMarks;
    this.hasQuery = !isBrowsing({ ...state, relevant: [] });
    if (this.#text(state) === this.#applied) return this.#render();
    this.#applied = this.#text(state);
    this.all = new Map([
      ...state.relevant.map((id) => [id, "relevant"]),
      ...state.irrelevant.map((id) => [id, "irrelevant"]),
    ]);
    return this.#changed();
  }

  /** Takes the marks of the next state, whatever was marked before. */
  startAnew() {
    this.#applied = "";
  }

  /** Forgets all marks that were not searched with. */
  clear() {
    this.all.clear();
    this.#changed();
  }

  /** Returns the marks as a state has them. */
  asState() {
    const of = (kind) =>
      [...this.all]
        .filter(([, mark]) => mark === kind)
        .map(([id]) => id)
        .sort((a, b) => a - b);
    return { relevant: of("relevant"), irrelevant: of("irrelevant") };
  }

  get #isPointless() {
    return !this.hasQuery && !this.asState().relevant.length;
  }

  #text({ relevant, irrelevant }) {
    return JSON.stringify([[...relevant].sort((a, b) => a - b), [...irrelevant].sort((a, b) => a - b)]);
  }

  #changed() {
    this.#render();
    this.on.changed();
  }

  #render() {
    const bar = byId("marks");
    const { relevant, irrelevant } = this.asState();
    bar.hidden = !this.all.size && !this.isChanged;
    if (bar.hidden) return;
    const words = [
      relevant.length && `${relevant.length} relevant`,
      irrelevant.length && `${irrelevant.length} not relevant`,
    ].filter(Boolean);
    const hint = this.#isPointless ? ": mark one that is relevant, too" : "";
    const again = button("Search again", {
      class: "primary",
      id: "again",
      disabled: this.#isPointless,
      hidden: !this.isChanged && !this.#isPointless,
      onClick: () => this.on.again(),
    });
    const forget = button("Forget marks", { class: "quiet", id: "forget", onClick: () => this.on.forget() });
    const keep = el(
      "label",
      { class: "choice", title: "Go on with these marks when other words or another picture are asked for" },
      el("input", {
        type: "checkbox",
        id: "keep-marks",
        checked: this.isKept,
        on: { change: (event) => this.on.keep(event.target.checked) },
      }),
      "Keep marks for the next question",
    );
    const held = bar.contains(document.activeElement) && document.activeElement.id;
    bar.replaceChildren(`${words.join(", ") || "No marks"}${hint}`, again, forget, keep);
    if (held) (byId(held).hidden ? forget : byId(held)).focus();
  }
}
