// The answer to a state: hits of a search, or the library as it is; while it comes, when it fails, when it is empty.

import * as api from "./api.js";
import { button, byId, counted, el, prose } from "./dom.js";
import { byMonth } from "./months.js";
import { examplesOf, isBrowsing, toAddress, toRequest } from "./state.js";
import { uploads } from "./uploads.js";

const FIRST_HITS = 100;
const MORE_HITS = 200; // when the last of before come into sight
const MOST_HITS = 1_000; // of one answer
const BUSY_AFTER = 250;
const NOTHING = "Nothing here matches well";
const NONE = {
  local: "No picture has anything in common with the example.",
  words: "These words stand beside no picture.",
};

/** Asks for what a state wants and shows it; a newer question always wins. */
export class Answer {
  found = null;
  #wanted = "";
  #shownFor = null; // what was wanted of the list that is shown
  #isStale = false;
  #revision = null;
  #hits = null; // those of a search that are there, and how others are had
  #next = api.newest();
  #growing = null;
  #isFirstFocused = false;
  #busyTimer;

  constructor(grid, filters, on) {
    [this.grid, this.filters, this.on] = [grid, filters, on];
  }

  /** True if the list that is shown is the one that is wanted. */
  get isShown() {
    return this.#shownFor === this.#wanted;
  }

  /** Makes sure that the answer to a state is shown, or will be; another list than before begins at a place. */
  want(state, library, place) {
    [this.state, this.library] = [state, library];
    const wanted = JSON.stringify([
      toAddress({ ...state, view: null, classify: null, keepsMarks: false }),
      library.hasWords,
      library.hasLocal,
      state.pictures.map(({ key }) => uploads.has(key)),
    ]);
    if (wanted === this.#wanted && this.#revision === library.revision && !this.#isStale) return;
    [this.#wanted, this.#isStale] = [wanted, false];
    this.#run(place);
  }

  /** Takes what is shown for old, so that it is asked for again. */
  forget() {
    this.#isStale = true;
  }

  /** Asks for the hits that follow those that are shown. */
  more() {
    this.#growing ??= this.#grow().finally(() => (this.#growing = null));
    return this.#growing;
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

  async #run(place) {
    const signal = this.#next();
    const at = this.isShown ? undefined : (place ?? null);
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
          ? this.#browse(state, { signal, at })
          : this.#search(state, library, { signal, at }));
    } catch (problem) {
      if (problem.name === "AbortError") return;
      this.#fail(problem);
    }
    this.#busy(false);
  }

  async #browse(state, options) {
    const { n, months } = await api.timeline(state.where, options.signal);
    const { sections, load } = byMonth(months, state.where, options.signal);
    [this.found, this.#hits] = [null, null];
    await this.#show(sections, { ...options, load });
    const all = this.library.n;
    this.#summary(n === all ? this.#counted(all) : `${n.toLocaleString("en")} of ${this.#counted(all)}`);
    this.say("");
    if (!all) this.#empty();
    else if (!n) this.#nothing("No picture passes these filters.");
  }

  async #search(state, library, { signal, at }) {
    const ask = (k, after) => {
      const [asked, files] = toRequest(state, uploads, library, k);
      return api.search(after ? { ...asked, after } : asked, files, signal);
    };
    const wanted = at === undefined ? this.grid.n : at ? at.nth + MORE_HITS : 0; // with what is seen below
    const passing = this.filters.counts(state.where, library.revision);
    const [found, { n }] = await Promise.all([ask(FIRST_HITS), passing]);
    const examples = examplesOf(state);
    const all = ranked(found.hits, examples);
    const hits = { all, next: found.next, n: n - (found.hits.length - all.length), ask, examples };
    while (hits.next && hits.all.length < wanted) await follow(hits, Math.min(MOST_HITS, wanted - hits.all.length));
    signal.throwIfAborted(); // the counts may have come after a newer question
    [this.found, this.#hits] = [found, hits];
    await this.#showHits({ at, signal });
    if (hits.all.length) return;
    const why = NONE[found.route] ?? "All pictures that are left are marked as not relevant.";
    this.#nothing(n ? why : "No picture passes these filters.");
  }

  async #showHits(options) {
    const { found } = this;
    const { all, next, n } = this.#hits;
    api.remember(all);
    await this.#show(byStrength(all, Boolean(next)), { ...options, hasMore: Boolean(next) });
    const isWeak = all.length > 0 && found.answer?.strength === "weak";
    const together = { local: "with details in common", words: "found by these words" }[found.route];
    const counts = together
      ? `${next ? "The best " : ""}${this.#counted(all.length)} ${together}`
      : next
        ? `The best ${all.length.toLocaleString("en")} of ${this.#counted(n)}`
        : `${this.#counted(all.length)}, best first`;
    this.#summary(isWeak ? NOTHING : counts);
    this.say(isWeak ? `${counts}, but most likely none is what you asked for.` : sameThing(all, found));
  }

  #counted(n) {
    return this.library.hasFilms ? counted(n, "picture or film", "pictures and films") : counted(n, "picture");
  }

  async #grow() {
    const hits = this.#hits;
    if (!this.isShown || !hits?.next) return;
    try {
      await follow(hits, MORE_HITS);
      if (this.isShown && hits === this.#hits) await this.#showHits({});
    } catch (problem) {
      if (problem.name === "AbortError") return;
      if (problem.kind === "stopped" || problem.kind === "expired") this.on.fail(problem);
      else this.say(problem.message);
      this.grid.hasMore = false; // until it is asked for again
    }
  }

  async #show(sections, options) {
    const wanted = this.#wanted;
    byId("state").hidden = true;
    const ready = () => this.on.sections(sections.filter(({ title }) => title)); // which may leave the grid less room
    await this.grid.show(sections, { ...options, ready });
    this.#shownFor = wanted;
    this.on.showView();
    if (this.#isFirstFocused && !this.state.view) this.grid.focus(0);
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
    [this.found, this.#hits] = [null, null];
    if (this.grid.n) this.#show([], { at: null });
    this.#summary(summary);
    byId("state").hidden = false;
    byId("state").replaceChildren(
      el("p", {}, ...prose(sentence)),
      el("div", { class: "dialog-actions" }, ...actions),
    );
  }
}

/** Asks for some of the hits that follow, and adds them. */
async function follow(hits, k) {
  const page = await hits.ask(k, hits.next);
  [hits.all, hits.next] = [ranked([...hits.all, ...page.hits], hits.examples), page.next];
}

/** Returns hits without some pictures that stand for copies at most, and with the ranks that they have then. */
const ranked = (hits, leftOut) =>
  hits.filter((hit) => !leftOut.includes(hit.id) || hasForms(hit)).map((hit, place) => ({ ...hit, rank: place + 1 }));

const hasForms = ({ folded }) => Boolean(folded?.n_same_picture || folded?.n_look_alike);

/** Returns hits in the sections of the grid: those that are weak stand below a line, if there are others. */
function byStrength(hits, isOpen) {
  const distinct = [...new Map(hits.map((hit) => [hit.id, hit])).values()];
  const n = Math.max(0, distinct.findIndex((hit) => hit.strength === "weak"));
  const [strong, weak] = [distinct.slice(0, n), distinct.slice(n)];
  return [
    { key: "hits", n, pictures: strong },
    { key: n ? "weak" : "all", isWeak: n > 0, n: weak.length, pictures: weak, isOpen },
  ].filter((section) => section.n);
}

/** Returns what local features found, in words; the answer says it in numbers. */
function sameThing(hits, { message }) {
  if (!message) return "";
  const n = hits.filter(({ local }) => local?.is_verified).length;
  if (n) return `${counted(n, "picture shows", "pictures show")} the same thing as the example.`;
  const isCompared = hits.some(({ local }) => local);
  return isCompared
    ? "No picture shows the very same thing for certain; the most alike come first."
    : "The example has too little detail to tell the same thing by it; the most alike come first.";
}
