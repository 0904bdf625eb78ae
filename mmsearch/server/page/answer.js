// The answer to a state: hits of a search, or the library as it is; while it comes, when it fails, when it is empty.

import * as api from "./api.js";
import { button, byId, counted, el, prose } from "./dom.js";
import { isBrowsing, toAddress, toRequest } from "./state.js";
import { uploads } from "./uploads.js";

const STEPS = [100, 300, 1000]; // hits that are asked for, at first and with "Show more"
const PAGE = 200;
const BUSY_AFTER = 250;
const NOTHING = "Nothing here matches well";

/** Asks for what a state wants and shows it; a newer question always wins. */
export class Answer {
  hits = [];
  found = null;
  #wanted = "";
  #revision = null;
  #k = STEPS[0];
  #after = null; // where the next page of the library begins, when it is shown as it is
  #next = api.newest();
  #isFirstFocused = false;
  #busyTimer;

  constructor(grid, filters, on) {
    [this.grid, this.filters, this.on] = [grid, filters, on];
    byId("more").addEventListener("click", () => this.#more());
  }

  /** Makes sure that the answer to a state is shown, or will be. */
  want(state, library) {
    [this.state, this.library] = [state, library];
    const wanted = JSON.stringify([
      toAddress({ ...state, view: null, classify: null, keepsMarks: false }),
      library.hasWords,
      library.hasLocal,
      state.pictures.map(({ key }) => uploads.has(key)),
    ]);
    const isSame = wanted === this.#wanted;
    if (isSame && this.#revision === library.revision) return;
    if (!isSame) this.#k = STEPS[0];
    this.#wanted = wanted;
    this.#run();
  }

  /** Forgets what is shown, so that it is asked for again. */
  forget() {
    this.#wanted = "";
  }

  /** Moves the focus to the first picture of the next answer. */
  focusFirst() {
    this.#isFirstFocused = true;
  }

  /** Says a sentence beside the answer. */
  say(sentence) {
    byId("message").hidden = !sentence;
    byId("message").textContent = sentence;
  }

  async #run() {
    const signal = this.#next();
    this.#revision = this.library.revision;
    this.#busy(true);
    try {
      const { state, library } = this;
      const isMissing = state.pictures.some(({ key }) => key && !uploads.has(key));
      if (
        isMissing &&
        isBrowsing({ ...state, pictures: state.pictures.filter(({ id, key }) => id || uploads.has(key)) })
      )
        this.#askAgain();
      else
        await (isBrowsing(state) || !library.n
          ? this.#browse(state, signal)
          : this.#search(state, library, signal));
    } catch (problem) {
      if (problem.name === "AbortError") return;
      this.#fail(problem);
    }
    this.#busy(false);
  }

  async #browse(state, signal) {
    const n = Math.max(PAGE, this.found === null ? this.hits.length : 0);
    const { pictures, n: total, next } = await api.pictures(state.where, Math.min(n, 1000), null, signal);
    this.#show(pictures, null);
    this.#after = next;
    const all = this.library.n;
    this.#summary(
      total === all ? counted(all, "picture") : `${total.toLocaleString("en")} of ${counted(all, "picture")}`,
    );
    byId("more").hidden = next === null;
    this.say("");
    if (!all) this.#empty();
    else if (!total) this.#nothing("No picture passes these filters.");
  }

  async #search(state, library, signal) {
    const [asked, files] = toRequest(state, uploads, library, this.#k);
    const passing = this.filters.counts(state.where, library.revision);
    const [found, { n }] = await Promise.all([api.search(asked, files, signal), passing]);
    signal.throwIfAborted(); // the counts may have come after a newer question
    this.#show(found.hits, found);
    const [length, isLocal] = [found.hits.length, found.route === "local"];
    const isWeak = length > 0 && found.answer?.strength === "weak";
    const counts = isLocal
      ? `${counted(length, "picture")} with details in common`
      : length < this.#k || length >= n
        ? `${counted(length, "picture")}, best first`
        : `The best ${length.toLocaleString("en")} of ${counted(n, "picture")}`;
    this.#summary(isWeak ? NOTHING : counts);
    byId("more").hidden = length < this.#k || this.#k === STEPS.at(-1);
    this.say(isWeak ? `${counts}, but most likely none is what you asked for.` : found.message);
    if (length) return;
    const why = isLocal
      ? "No picture has anything in common with the example."
      : "All pictures that are left are marked as not relevant.";
    this.#nothing(n ? why : "No picture passes these filters.");
  }

  async #more() {
    if (this.found) {
      this.#k = STEPS.find((step) => step > this.#k) ?? this.#k;
      this.#run();
      return;
    }
    const signal = this.#next();
    try {
      const { pictures, next } = await api.pictures(this.state.where, PAGE, this.#after, signal);
      this.#show([...this.hits, ...pictures], null);
      this.#after = next;
      byId("more").hidden = next === null;
    } catch (problem) {
      if (problem.name !== "AbortError") this.#fail(problem);
    }
  }

  #show(hits, found) {
    [this.hits, this.found] = [[...new Map(hits.map((hit) => [hit.id, hit])).values()], found];
    api.remember(this.hits);
    byId("state").hidden = true;
    this.grid.show(this.hits, this.on.addressOf);
    this.on.showView();
    if (this.#isFirstFocused && !this.state.view) this.grid.focus(this.hits[0]?.id);
    this.#isFirstFocused = false;
  }

  #summary(text) {
    if (byId("summary").textContent !== text) byId("summary").textContent = text;
  }

  #busy(isBusy) {
    clearTimeout(this.#busyTimer);
    const mark = () => {
      byId("busy").hidden = !isBusy;
      byId("results").setAttribute("aria-busy", String(isBusy));
    };
    if (isBusy) this.#busyTimer = setTimeout(mark, BUSY_AFTER);
    else mark();
  }

  #fail(problem) {
    if (problem.kind === "stopped" || problem.kind === "expired") {
      this.forget();
      this.on.fail(problem);
      return;
    }
    const isMarked = this.state.relevant.length + this.state.irrelevant.length > 0;
    this.#instead(
      "This search has no answer",
      problem.message,
      button("Try again", { onClick: () => this.#run() }),
      isMarked && button("Forget marks", { onClick: this.on.forgetMarks }),
      this.#unfilter(),
      button("Start over", { onClick: this.on.clear }),
    );
  }

  #askAgain() {
    this.#instead(
      "Bring the picture again",
      "This search began with a picture that was brought to the page. An address cannot " +
        "hold its bytes: drop, paste or choose it once more.",
      button("Choose a picture", { class: "primary", onClick: () => byId("file").click() }),
      button("Start over", { onClick: this.on.clear }),
    );
  }

  #empty() {
    this.#instead(
      "No pictures yet",
      "Index a folder of pictures in a terminal, and they appear here by themselves:",
      el("code", { text: "mmsearch index ~/Pictures" }),
    );
  }

  #nothing(sentence) {
    this.#instead("No pictures", sentence, this.#unfilter());
  }

  #unfilter() {
    return this.state.where.length > 0 && button("Remove the filters", { onClick: this.on.clearFilters });
  }

  /** Shows a sentence and what can be done in the place of pictures. */
  #instead(summary, sentence, ...actions) {
    if (this.hits.length) this.#show([], null);
    this.#summary(summary);
    byId("more").hidden = true;
    byId("state").hidden = false;
    byId("state").replaceChildren(
      el("p", {}, ...prose(sentence)),
      el("div", { class: "dialog-actions" }, ...actions),
    );
  }
}
