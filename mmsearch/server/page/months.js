// The library as it is shown when nothing is looked for: by month, the newest first.

import * as api from "./api.js";

const UNDATED = "without a date";
const NAMES = new Intl.DateTimeFormat("en", { month: "long", year: "numeric", timeZone: "UTC" });

/** Returns the sections of the months that the server counted, and a function that loads some of their blocks. */
export function byMonth(months, where, signal) {
  const filtersOf = new Map(months.map((month) => [month.label, month.where]));
  const sections = months.map(({ label, n }) => ({ key: label, title: titleOf(label), n }));
  const load = async (blocks) => {
    const [first, last] = [blocks[0], blocks.at(-1)];
    const among = first === last ? filtersOf.get(first.key) : [...notAfter(first.key), ...notBefore(last.key)];
    const limit = blocks.reduce((n, block) => n + block.n, 0);
    const { pictures } = await api.pictures([...where, ...among], { offset: first.offset, limit }, signal);
    return blocks.map((block) => pictures.filter((picture) => monthOf(picture) === block.key));
  };
  return { sections, load };
}

/** Returns the key of the section that a picture is in. */
export const monthOf = ({ taken_at: taken }) => taken?.slice(0, 7) ?? UNDATED;
// A picture without a date is not after anything, nor is one without a month after its year.
const notAfter = (key) => [key.includes("-") ? `not taken > ${key}` : `not taken >= ${key}-01`];
const notBefore = (key) => (key === UNDATED ? [] : [`taken >= ${key}`]);

function titleOf(key) {
  if (key === UNDATED) return "Without a date";
  return key.includes("-") ? NAMES.format(new Date(`${key}-01T00:00:00Z`)) : key;
}
