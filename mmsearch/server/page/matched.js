// Words of the query that stand beside a picture: marked in the text that has them.

import { el, shown } from "./dom.js";

const LEAD = 30; // characters before the first marked word
const MOST = 160;

/** Returns the nodes of a text in which some spans, counted in characters, are marked. */
export function marked(text, spans) {
  const characters = [...text]; // the server counts none by halves
  const part = (from, to) => shown(characters.slice(from, to).join(""));
  const ends = [0, ...spans.map(([, to]) => to)];
  return [
    ...spans.flatMap(([from, to], place) => [part(ends[place], from), el("mark", { text: part(from, to) })]),
    part(ends.at(-1), characters.length),
  ].filter(Boolean);
}

/** Returns what stands round the first marked word of the text with most of them; nothing where there is none. */
export function excerpt(texts = []) {
  const [best] = [...texts].sort((a, b) => b.spans.length - a.spans.length);
  if (!best?.spans.length) return [];
  const characters = [...best.text];
  const [[first]] = best.spans;
  const before = Math.max(0, first - LEAD);
  const word = before && characters.indexOf(" ", before) + 1; // no word is cut, if there is a space
  const start = word && word <= first ? word : before;
  const end = Math.min(characters.length, start + MOST);
  const spans = best.spans.filter(([, to]) => to <= end).map(([from, to]) => [from - start, to - start]);
  const middle = marked(characters.slice(start, end).join(""), spans);
  return [start > 0 && "…", ...middle, end < characters.length && "…"].filter(Boolean);
}
