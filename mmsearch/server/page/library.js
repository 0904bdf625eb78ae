// The state of the library and of the server, looked at again and again; what is wrong is said, and goes by itself.

import { letIn, status } from "./api.js";
import { byId, button, bytes, counted, el, prose, shown } from "./dom.js";

const STAGES = {
  scan: "Looking for pictures",
  embed: "Describing pictures",
  films: "Watching films",
  annotate: "Reading what is written about pictures",
  sign: "Noting how pictures look, to find copies",
  parts: "Describing parts of pictures",
  faces: "Looking for faces",
  people: "Grouping faces",
  captions: "Describing captions",
  load: "Loading pictures",
  vocabulary: "Learning what details look like",
  words: "Noting the details of pictures",
  graph: "Building the index",
  calibrate: "Testing the index",
};
/** Returns what a library is able to do, and which state of it that is. */
export const abilitiesOf = (status) => ({
  hasWords: status.has_words,
  answersTexts: status.answers_texts,
  hasLabels: status.labels.length > 0,
  hasLocal: status.has_local,
  hasVectors: status.dim > 0,
  hasParts: status.has_parts,
  hasFaces: status.has_faces,
  keepsAnnotations: status.keeps_annotations,
  hasFilms: status.films !== null,
  n: status.n_pictures + (status.films?.n ?? 0), // each of which is one in lists and answers
  revision: status.revision,
});

const OFTEN = 1_000;
const CALM = 5_000;
const SELDOM = 15_000;

/**
 * Watches `/status`; `onChange(status, hasReturned)` is called when something changed, or after a silence. While
 * pictures are being indexed something always has: then it is called now and then.
 */
export class LibraryWatch {
  #timer;
  #last = null;
  #told = null;
  #toldAt = 0;
  #doubtedAt = -OFTEN;
  #begun = null;
  #problem = "";
  #sentence = "";

  constructor(onChange) {
    this.onChange = onChange;
    document.addEventListener("visibilitychange", () => !document.hidden && this.look());
    window.addEventListener("focus", () => this.#problem && this.look());
  }

  /** Looks now, and goes on looking. */
  async look() {
    try {
      this.#take(await status());
    } catch (problem) {
      this.fail(problem);
    }
    this.#lookAgain();
  }

  #lookAgain() {
    clearTimeout(this.#timer);
    const pause = this.#problem === "expired" ? SELDOM : this.#problem || this.#last?.indexing ? OFTEN : CALM;
    if (!document.hidden) this.#timer = setTimeout(() => this.look(), pause);
  }

  /** Says what is known to be wrong, or looks whether something is: the library may have changed. */
  doubt(problem) {
    if (problem?.kind === "stopped" || problem?.kind === "expired") this.fail(problem);
    else if (performance.now() - this.#doubtedAt > OFTEN) {
      this.#doubtedAt = performance.now();
      this.look();
    }
  }

  /** Says what is wrong with the server or the library, until it answers again. */
  fail(problem) {
    const isSame = this.#sentence === problem.message;
    [this.#problem, this.#sentence] = [problem.kind, problem.message];
    this.#lookAgain();
    if (isSame) return; // to say it again would have screen readers read it again
    const banner = byId("banner");
    banner.hidden = false;
    banner.replaceChildren(
      el("span", {}, ...prose(problem.message)),
      problem.kind === "expired" ? this.#tokenForm() : button("Try again", { onClick: () => this.look() }),
    );
    byId("indexing").hidden = true;
    if (!this.#last)
      [byId("about-summary").textContent, byId("summary").textContent] = ["not connected", "No pictures to show"];
  }

  #tokenForm() {
    const token = el("input", {
      type: "password",
      id: "token",
      autocomplete: "off",
      maxlength: 1000,
      required: true,
    });
    const wrong = el("span", {});
    const submit = async (event) => {
      event.preventDefault();
      wrong.textContent = await letIn(token.value).then(
        () => "",
        (problem) => problem.message,
      );
      if (!wrong.textContent) this.look();
    };
    return el(
      "form",
      { class: "small-field", on: { submit } },
      el("label", {}, "Token ", token),
      el("button", { text: "Let me in" }),
      wrong,
    );
  }

  #take(found) {
    const hasReturned = this.#problem !== "";
    this.#problem = this.#sentence = "";
    byId("banner").hidden = true;
    this.#last = found;
    this.#showFacts(found);
    this.#showIndexing(found.indexing);
    const facts = JSON.stringify([found.revision, found.n_pictures, found.films?.n, found.has_local, found.model]);
    const isTime = !found.indexing || performance.now() - this.#toldAt >= CALM;
    if (!hasReturned && (facts === this.#told || !isTime)) return;
    [this.#told, this.#toldAt] = [facts, performance.now()];
    this.onChange(found, hasReturned);
  }

  #showFacts(found) {
    const films = found.films ? [counted(found.films.n, "film")] : [];
    byId("about-summary").textContent = [counted(found.n_pictures, "picture"), ...films].join(", ");
    const facts = {
      Words: wordsOf(found),
      "The same thing": found.has_local ? "found by its details" : "not looked for; `mmsearch index --local` adds it",
      Model: shown(found.model),
      "On disk": bytes(found.size_bytes),
      ...(found.n_bad && { Unreadable: `${counted(found.n_bad, "file")}; \`mmsearch status\` names them` }),
      mmsearch: found.version,
    };
    byId("about-facts").replaceChildren(
      ...Object.entries(facts).flatMap(([name, value]) => [
        el("dt", { text: name }),
        el("dd", {}, ...prose(value)),
      ]),
    );
  }

  #showIndexing(progress) {
    byId("indexing").hidden = !progress;
    if (!progress) {
      this.#begun = null;
      return;
    }
    const { stage, done, total } = progress;
    if (this.#begun?.stage !== stage || done < this.#begun.done)
      this.#begun = { stage, done, at: performance.now() };
    const bar = byId("indexing-bar");
    if (total) bar.value = done / total;
    else bar.removeAttribute("value");
    const amount = total
      ? `: ${done.toLocaleString("en")} of ${total.toLocaleString("en")}`
      : done
        ? `: ${done.toLocaleString("en")}`
        : "";
    byId("indexing-text").textContent = `${STAGES[stage] ?? stage}${amount}${this.#left(progress)}`;
  }

  /** Returns how long the stage will take at the pace that was seen. */
  #left({ done, total }) {
    const seconds = (performance.now() - this.#begun.at) / 1000;
    const pace = (done - this.#begun.done) / seconds;
    if (!total || seconds < 3 || !(pace > 0)) return "";
    const left = (total - done) / pace;
    return left < 60 ? " · less than a minute left" : ` · about ${counted(Math.round(left / 60), "minute")} left`;
  }
}

const wordsOf = ({ has_words: areUnderstood, answers_texts: areFound }) =>
  areUnderstood ? "understood" : areFound ? "found in captions, tags and other texts" : "not understood: search by a picture";
