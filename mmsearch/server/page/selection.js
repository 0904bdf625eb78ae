// Several pictures that are chosen in the grid, by check marks, with the shift key, by long presses or by keys, and the
// bar with what can be done with them. They stay chosen when something else is looked for.

import * as api from "./api.js";
import { button, byId, bytes, el, iconButton, menu } from "./dom.js";
import { asJson, asTable, copied, save } from "./export.js";
import { tagMenu } from "./tags.js";

const MOST = 1000; // that an archive may have
const MOST_BYTES = 2 ** 31; // the same
const MOST_EXAMPLES = 8;
const LONG = 500; // milliseconds
const STILL = 10; // pixels
const KEPT = "mmsearch-chosen";

/**
 * The chosen pictures of a list. `on` has indexOf(id) and reach(index), a promise of a picture, of the list; n(), how many
 * it has; changed(), classify(pictures), like(ids), tags(), a promise of those that are known, and tagged().
 */
export class Selection {
  chosen = new Map();
  #anchor = null; // where a range begins
  #press = null;
  #isPressed = false; // a long press is followed by a click, which is not meant
  #extends = false;
  #next = api.newest();

  constructor(list, on) {
    [this.list, this.on, this.bar] = [list, on, byId("selection")];
    this.#buildBar();
    const listen = (name, listener, target = list) => target.addEventListener(name, listener, { capture: true });
    listen("click", (event) => this.#click(event));
    listen("keydown", (event) => this.#key(event));
    listen("focusin", (event) => this.#focused(event));
    listen("pointerdown", (event) => this.#down(event));
    listen("pointermove", (event) => this.#moved(event));
    for (const name of ["pointerup", "pointercancel", "scroll"]) listen(name, () => this.#release(), window);
    listen("contextmenu", (event) => event.pointerType === "touch" && event.preventDefault());
    listen("keydown", (event) => this.#escape(event), document);
    listen("pagehide", () => this.#keep(), window);
    this.#restore();
  }

  /** Chooses a picture, or no longer. */
  async toggle(id) {
    this.#anchor = id;
    if (this.chosen.delete(id)) return this.#changed();
    const picture = await this.on.reach(this.on.indexOf(id));
    return this.#add([picture]);
  }

  /** Chooses all from where the last one was chosen. */
  async extendTo(id) {
    const [from, to] = [this.on.indexOf(this.#anchor), this.on.indexOf(id)];
    if (from < 0) return this.toggle(id);
    return this.#addRange(Math.min(from, to), Math.max(from, to));
  }

  /** Chooses nothing. */
  clear() {
    const isHeld = this.bar.contains(document.activeElement);
    const last = this.#anchor;
    this.#next();
    this.chosen.clear();
    this.#changed();
    if (isHeld) (this.list.querySelector(`[data-id="${last}"] a`) ?? this.list.querySelector("a"))?.focus();
  }

  async #addRange(from, to) {
    const pictures = [];
    for (let index = from; index <= to && pictures.length <= MOST; index += 1) {
      const picture = await this.on.reach(index);
      if (!picture) break; // it could not be loaded
      pictures.push(picture);
    }
    this.#add(pictures);
  }

  #add(pictures) {
    const fresh = pictures.filter((one) => one && !this.chosen.has(one.id));
    const room = MOST - this.chosen.size;
    for (const one of fresh.slice(0, room)) this.chosen.set(one.id, one);
    this.#changed();
    if (fresh.length > room) this.#say(`At most ${MOST.toLocaleString("en")} can be selected`);
  }

  #changed() {
    const n = this.chosen.size;
    this.bar.hidden = !n;
    this.list.classList.toggle("selecting", n > 0);
    const size = [...this.chosen.values()].reduce((sum, one) => sum + one.size_bytes, 0);
    this.count.textContent = n ? `${n.toLocaleString("en")} selected, ${bytes(size)}` : "";
    this.download.disabled = size > MOST_BYTES;
    this.download.title = size > MOST_BYTES ? `At most ${bytes(MOST_BYTES)} are downloaded at once` : "";
    this.examples.disabled = n > MOST_EXAMPLES;
    this.examples.title = n > MOST_EXAMPLES ? `At most ${MOST_EXAMPLES} pictures are examples of a query` : "";
    this.#say("");
    this.on.changed();
  }

  /** Keeps what is chosen in the tab, so that it is there when the page is loaded again. */
  #keep() {
    try {
      sessionStorage.setItem(KEPT, JSON.stringify([...this.chosen.values()]));
    } catch {
      // it lives as long as the page
    }
  }

  #restore() {
    try {
      this.#add(JSON.parse(sessionStorage.getItem(KEPT)) ?? []);
    } catch {
      // nothing was kept
    }
  }

  // -- the bar ----------------------------------------------------------------------------------------

  #buildBar() {
    this.count = el("span", { class: "selected", role: "status" });
    this.said = el("span", { class: "note", role: "status" });
    this.download = button("Download", { sign: "download", id: "selection-download", onClick: () => this.#archive() });
    this.examples = button("More like these", { sign: "like", id: "selection-like", onClick: () => this.#like() });
    const pictures = () => [...this.chosen.values()];
    this.classify = button("Classify", {
      sign: "label",
      id: "selection-classify",
      onClick: () => this.on.classify(pictures()),
    });
    const tables = {
      JSON: () => save("pictures.json", asJson(pictures()), "application/json"),
      CSV: () => save("pictures.csv", asTable(pictures(), ","), "text/csv"),
      TSV: () => save("pictures.tsv", asTable(pictures(), "\t"), "text/tab-separated-values"),
    };
    const exporting = menu(
      "Export",
      "selection-export",
      ...Object.entries(tables).map(([name, give]) =>
        button(name, {
          onClick: () => {
            give();
            exporting.open = false;
            exporting.firstChild.focus();
          },
        }),
      ),
    );
    this.tagging = tagMenu({
      ids: () => [...this.chosen.keys()],
      known: this.on.tags,
      say: (sentence) => this.#say(sentence),
      changed: this.on.tagged,
    });
    this.bar.replaceChildren(
      iconButton("Select nothing", "close", () => this.clear(), { id: "selection-clear", class: "quiet" }),
      this.count,
      button("Copy paths", {
        sign: "copy",
        id: "selection-copy",
        onClick: async () => this.#say(await copied(pictures())),
      }),
      this.download,
      this.tagging,
      exporting,
      this.classify,
      this.examples,
      this.said,
    );
  }

  /** Shows what a library is able to do with several pictures. */
  render({ hasWords, hasVectors, keepsAnnotations }) {
    this.tagging.hidden = !keepsAnnotations;
    this.classify.hidden = !hasWords;
    this.examples.hidden = !hasVectors;
  }

  #say(sentence) {
    this.said.textContent = sentence;
  }

  async #archive() {
    this.#say("Packing…");
    try {
      save("pictures.zip", await api.archive([...this.chosen.keys()], this.#next()), "application/zip");
      this.#say("");
    } catch (problem) {
      if (problem.name !== "AbortError") this.#say(problem.message);
    }
  }

  #like() {
    const ids = [...this.chosen.keys()];
    this.clear();
    this.on.like(ids);
  }

  // -- mouse, fingers and keys --------------------------------------------------------------------------

  #idOf = ({ target }) => Number(target.closest?.("li[data-id]")?.dataset.id);

  #click(event) {
    const id = this.#idOf(event);
    const isCheck = event.target.closest(".check");
    const isOther = !isCheck && (event.target.closest("button") || event.ctrlKey || event.metaKey);
    const isMeant = isCheck || event.shiftKey || this.chosen.size > 0 || this.#isPressed;
    if (!id || isOther || !isMeant) return;
    event.preventDefault();
    event.stopPropagation();
    if (this.#isPressed) this.#isPressed = false;
    else if (event.shiftKey) this.extendTo(id);
    else this.toggle(id);
  }

  #down(event) {
    const id = this.#idOf(event);
    this.#isPressed = false;
    this.#release();
    if (!id || event.pointerType !== "touch") return;
    const timer = setTimeout(() => {
      this.#isPressed = true;
      this.toggle(id);
    }, LONG);
    this.#press = { timer, x: event.clientX, y: event.clientY };
  }

  #moved({ clientX, clientY }) {
    if (this.#press && Math.hypot(clientX - this.#press.x, clientY - this.#press.y) > STILL) this.#release();
  }

  #release() {
    clearTimeout(this.#press?.timer);
    this.#press = null;
  }

  #key(event) {
    const id = this.#idOf(event);
    if (!id || event.altKey) return;
    const isCommand = event.ctrlKey || event.metaKey;
    if (event.key === " " && event.target.matches("a") && !isCommand) {
      if (event.shiftKey) this.extendTo(id);
      else this.toggle(id);
    } else if (isCommand && event.key.toLowerCase() === "a") this.#addRange(0, this.on.n() - 1);
    else {
      this.#extends = event.shiftKey && /^(Arrow|Home$|End$)/.test(event.key);
      if (this.#extends && this.on.indexOf(this.#anchor) < 0) this.#anchor = id;
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  /** Chooses up to where the focus was moved with the shift key. */
  #focused(event) {
    const id = this.#idOf(event);
    if (!this.#extends || !id) return;
    this.#extends = false;
    this.extendTo(id);
  }

  #escape(event) {
    if (event.key !== "Escape" || !this.chosen.size || document.querySelector("dialog[open]")) return;
    if (!event.target.matches("input, textarea, select") && !this.bar.querySelector("details[open]")) this.clear();
  }
}
