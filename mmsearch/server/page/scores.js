// Why a picture was found: in words, and for who wants to know, in numbers.

import { button, el, shown } from "./dom.js";
import { placeOf } from "./part.js";

const STRENGTHS = {
  strong: "A strong match: most likely what you asked for.",
  fair: "A fair match: it may be what you asked for.",
  weak: "A weak match: most likely not what you asked for.",
};
const ROUTES = {
  exact: "compared with all pictures",
  cells: "compared with the pictures nearest to it",
  graph: "followed from picture to picture",
  filtered: "compared with all that pass the filters",
  local: "compared by small details",
  words: "by the texts beside pictures alone",
};
const STAGES = {
  local: "looking at details",
  encode: "understanding what was asked",
  search: "comparing",
  total: "in all",
};
let isOpened = false; // also for the picture that is looked at next

/** Returns the section that says why a hit was found; `byPart()` searches by the part of it that was. */
export function scores(hit, { answer, state }, byPart) {
  if (!hit.rank) return null;
  const details = el(
    "details",
    { class: "numbers", open: isOpened },
    el("summary", { text: "Details of the score", on: { click: () => (isOpened = !details.open) } }),
    el("table", { class: "scores" }, el("tbody", {}, ...numbers(hit, answer, state).map(row))),
    hit.local?.reason && el("p", { class: "note", text: `Not taken for the same thing: ${hit.local.reason}.` }),
    answer && el("p", { class: "note", text: course(answer) }),
  );
  return el(
    "section",
    {},
    el("h3", { text: `Why it is number ${hit.rank}` }),
    ...verdicts(hit).map(({ words, isGood }) =>
      el("p", { class: isGood ? "verdict good" : "verdict", text: words }),
    ),
    hit.part && button("Search by this part", { sign: "search", id: "view-by-part", onClick: byPart }),
    details,
  );
}

/** Returns what can be said of a hit in words; of a probability only where somebody has measured what scores mean. */
function verdicts({ strength, local, part }) {
  const same = { words: "The same thing as in the example, by many small details.", isGood: true };
  const unlike = { words: "Its small details do not show the same thing as the example." };
  return [
    ...(strength ? [{ words: STRENGTHS[strength], isGood: strength === "strong" }] : []),
    ...(local ? [local.is_verified ? same : unlike] : []),
    ...(part ? [{ words: `A part of it is nearer to the search than the whole: ${placeOf(part.box)}.` }] : []),
  ];
}

function numbers(hit, answer, state) {
  const isLocal = answer?.route === "local";
  return [
    ...(hit.strength ? [["Probability that it is what you asked for", hit.relevance]] : []),
    ...(hit.parts ? joined(hit, answer) : [[isLocal ? "Details in common" : "Likeness to the search", hit.score]]),
    ...(hit.part ? [["Likeness of the whole picture", hit.part.whole], ["Likeness of its part", hit.part.cosine]] : []),
    ...hit.terms.map(({ term, cosine }) => [`Likeness to ${named(term, state)}`, cosine]),
    ...(hit.local && !isLocal ? [["Details in common", hit.local.score]] : []),
    ...(hit.local ? [["Places that agree with the example", hit.local.n_inliers]] : []),
  ];
}

/** Returns what a score is the sum of, where texts beside pictures have a say. */
const joined = ({ score, parts }, answer) =>
  answer?.route === "words"
    ? [["Words beside it", score]]
    : [
        ["Score", score],
        ["of it: likeness to the search", parts.pixels],
        ["of it: words beside it", parts.words],
        ["of it: captions that say the same", parts.captions],
      ];

/** Returns what a term is called here: an answer names parts by their pixels, and pictures by their number. */
function named(term, { pictures }) {
  const [, name, part] = /^(.*?)( \(-?[\d.]+(?:, -?[\d.]+){3}\))?$/s.exec(term);
  const isPicture = name.startsWith("your picture") || /^picture \d+$/.test(name);
  const words = isPicture && pictures.length === 1 ? "the example" : `“${shown(name)}”`;
  return part && isPicture ? `the part of ${words}` : words;
}

function row([words, value]) {
  const isShare = !Number.isInteger(value) || value <= 1;
  const bar = el("i", {});
  bar.style.width = isShare ? `${Math.min(1, Math.max(0, value)) * 100}%` : "0";
  return el(
    "tr",
    {},
    el("th", { scope: "row" }, el("bdi", { text: words })),
    el("td", { class: "bar", "aria-hidden": "true" }, bar),
    el("td", { class: "number", text: isShare ? value.toFixed(3) : String(value) }),
  );
}

/** Returns how an answer came about, and how long each step took. */
function course({ route, seconds = {} }) {
  const { total, ...stages } = seconds;
  const times = Object.entries(Object.keys(stages).length ? stages : { total }).filter(([, time]) => time !== undefined);
  const milliseconds = (time) => `${(time * 1000).toFixed(time < 0.01 ? 1 : 0)} ms`;
  const said = times.map(([stage, time]) => `${STAGES[stage] ?? stage} ${milliseconds(time)}`);
  return `The search was ${[ROUTES[route] ?? route, ...said].join("; ")}.`;
}
