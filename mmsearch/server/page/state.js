// What is looked for, as the address holds it. A state is a plain object that is never changed, only replaced.
//
// ?q=WORDS &like=ID &upload=KEY &not=WORDS &yes=IDS &no=IDS &keep=1 &where=FILTER &rank=WAY &expand=1 &collapse=CLASS
// &view=ID &classify=ID &label=WORDS
// Words are taken as they are and have their weight in the name, as in `q*2=a beach`; pictures take a part and a
// weight as in `12@10,20,300,400*2`.

export const EMPTY = Object.freeze({
  text: "",
  textWeight: 1,
  pictures: [],
  exclude: [],
  relevant: [],
  irrelevant: [],
  keepsMarks: false,
  where: [],
  rank: "auto",
  expands: false,
  collapse: "same-file",
  view: null,
  classify: null,
  labels: "",
});
const FIELDS =
  "path|folder|name|taken|width|height|orientation|size|format|label|tag|caption|person|place|camera|lens|near|has|kind|duration|at";
const COMPARISON = `(?:${FIELDS})\\s*(?:!=|[<>]=?|[=~])`;
const SEVERAL = new RegExp(`^\\s*(?:\\(|not\\b)|\\s(?:and|or)\\b\\s*(?:not\\b\\s*|\\(\\s*)*${COMPARISON}`, "i");
const JOINTS = { or: new RegExp(`\\s+or\\s+(?=${COMPARISON})`, "i"), and: new RegExp(`\\s+and\\s+(?=${COMPARISON})`, "i") };
const QUOTED = new RegExp(`^\\((${COMPARISON}\\s*)"((?:[^"]|"")*)"\\)$`);
const RANKS = ["auto", "none", "local", "words"];
const CLASSES = ["none", "same-file", "same-picture", "look-alike"];
const WORDS = /^(q|not)(?:\*(\d+(?:\.\d+)?))?$/;
const PICTURE = /^([\w-]+)(?:@(-?[\d.]+),(-?[\d.]+),(-?[\d.]+),(-?[\d.]+))?(?:\*(\d+(?:\.\d+)?))?$/;
const MOST_PICTURES = 8;
const MOST_EXCLUDED = 16;
export const MOST_JUDGED = 200;

/** Returns the state that an address holds; what makes no sense in it is left out. */
export function fromAddress(query) {
  const parameters = new URLSearchParams(query);
  const words = [...parameters].map(weighted).filter(Boolean);
  const { text, weight: textWeight } = words.find(({ name }) => name === "q") ?? { text: "", weight: 1 };
  const pictures = [...parameters].map(picture).filter(Boolean).slice(0, MOST_PICTURES);
  const exclude = words.filter(({ name, text: own }) => name === "not" && own.trim());
  const [rank, collapse] = [parameters.get("rank"), parameters.get("collapse")];
  return {
    text,
    textWeight,
    pictures,
    exclude: exclude.slice(0, MOST_EXCLUDED).map(({ text: own, weight }) => ({ text: own, weight })),
    relevant: ids(parameters.get("yes")),
    irrelevant: ids(parameters.get("no")),
    keepsMarks: parameters.get("keep") === "1",
    where: parameters.getAll("where").slice(0, 20),
    rank: RANKS.includes(rank) ? rank : "auto",
    expands: parameters.get("expand") === "1",
    collapse: CLASSES.includes(collapse) ? collapse : EMPTY.collapse,
    view: id(parameters.get("view")),
    classify: id(parameters.get("classify")),
    labels: parameters.getAll("label").join(", "),
  };
}

/** Returns the address of a state, from its path on. */
export function toAddress(state) {
  const parameters = new URLSearchParams();
  if (state.text) parameters.append(weightedName("q", state.textWeight), state.text);
  for (const one of state.pictures) parameters.append(one.id ? "like" : "upload", pictureText(one));
  for (const one of state.exclude) parameters.append(weightedName("not", one.weight), one.text);
  if (state.relevant.length) parameters.append("yes", state.relevant.join(","));
  if (state.irrelevant.length) parameters.append("no", state.irrelevant.join(","));
  if (state.keepsMarks) parameters.append("keep", "1");
  for (const one of state.where) parameters.append("where", one);
  if (state.rank !== "auto") parameters.append("rank", state.rank);
  if (state.expands) parameters.append("expand", "1");
  if (state.collapse !== EMPTY.collapse) parameters.append("collapse", state.collapse);
  if (state.view) parameters.append("view", state.view);
  if (state.classify) parameters.append("classify", state.classify);
  if (state.classify) for (const label of labelsOf(state.labels)) parameters.append("label", label);
  const query = parameters.toString().replaceAll("%2C", ",").replaceAll("%40", "@").replaceAll("%3A", ":");
  return query ? `/?${query}` : "/";
}

/** Returns the words of the labels that were typed, without empty and repeated ones. */
export const labelsOf = (typed) => [
  ...new Set(
    typed
      .split(/[,\n]/)
      .map((label) => label.trim())
      .filter(Boolean),
  ),
];

/**
 * Returns a state without what a library cannot answer: words that it does not know, examples that it cannot add up.
 * Words that are only looked for beside pictures stand alone, unless pictures are the last `change`.
 */
export function fitting(state, { hasWords, answersTexts, hasVectors }, change = {}) {
  const isByText = answersTexts && state.text.trim() && !change.pictures?.length;
  const alone = isByText ? { pictures: [], relevant: [], irrelevant: [], keepsMarks: false } : { text: "" };
  const fit = hasWords ? state : { ...state, ...alone, textWeight: 1, exclude: [] };
  return hasVectors ? fit : { ...fit, pictures: fit.pictures.slice(-1), relevant: [], irrelevant: [], keepsMarks: false };
}

/** Returns the ids of the pictures that a search is by as they are: nobody looks for what they have. */
export const examplesOf = ({ pictures }) => pictures.filter((one) => one.id && !one.box).map((one) => one.id);

/** Returns whether nothing is looked for, so that the library is shown as it is. */
export const isBrowsing = (state) => !state.text.trim() && !state.pictures.length && !state.relevant.length;

/** Returns whether a state asks for other words, or by another example, than the one before: marks are not of it. */
export function asksAnew(before, after) {
  const key = ({ weight, ...picture }) => JSON.stringify(picture);
  const known = before.pictures.map(key);
  return before.text.trim() !== after.text.trim() || after.pictures.some((picture) => !known.includes(key(picture)));
}

/** Returns whether pictures that look alike can be one hit: a folder knows them, a library at an address does not. */
export const canCollapse = ({ keepsAnnotations }) => keepsAnnotations;

/** Returns whether pictures can be marked: what is marked moves a vector. */
export const canMark = (state, { hasWords, hasVectors }) => hasVectors && (hasWords || !state.text.trim());

/** Returns whether the query is one picture, from which some answers may be left out: what local features can answer. */
export const isOneExample = (state) =>
  !state.text.trim() &&
  state.pictures.length === 1 &&
  !state.exclude.length &&
  !state.relevant.length;

/**
 * Returns a search request, and the files that go with it.
 *
 * The state fits the library, whose `abilities` these are. `uploads` has the file of each key; pictures whose file is
 * not there are left out.
 */
export function toRequest(state, uploads, abilities, k) {
  const files = [];
  const pictures = state.pictures.flatMap(({ id: own, key, weight, box }) => {
    if (own) return [{ id: own, weight, box }];
    const upload = uploads.get(key);
    return upload ? [{ upload: files.push(upload.file) - 1, weight, box }] : [];
  });
  const collapse = canCollapse(abilities) ? state.collapse : EMPTY.collapse;
  const asked = { pictures, where: state.where, k, explain: true, collapse };
  if (!abilities.hasVectors && pictures.length) return [{ ...asked, mode: "local" }, files];
  if (state.text.trim()) Object.assign(asked, { text: state.text, text_weight: state.textWeight });
  Object.assign(asked, { exclude: state.exclude, relevant: state.relevant, irrelevant: state.irrelevant });
  if (abilities.hasLocal && pictures.length === 1) Object.assign(asked, ranking(state));
  return [asked, files];
}

function ranking(state) {
  if (state.rank === "words") return isOneExample(state) ? { mode: "local" } : {};
  return { rerank: state.rank, expand: state.expands ? "average" : "none" };
}

/**
 * Returns the field that a filter is about; parts of paths are about folders, and the labels of a set about that set.
 * Several comparisons of one field, joined by `and` and `or` alone, are about it; others about themselves.
 */
export function fieldOf(expression) {
  const parts = split(expression, "or").flatMap((one) => split(one, "and"));
  const fields = new Set(parts.map(fieldOfOne));
  const [field] = fields;
  return fields.size === 1 && field !== null ? field : expression;
}

/** Returns the field of one comparison, or null. */
function fieldOfOne(given) {
  const expression = bare(given);
  if (SEVERAL.test(expression)) return null;
  const [, field = "", set] = /^\s*([a-z_]+)(?:\s*(?:!=|[=~])\s*"?([\p{L}\p{N}_.-]+)\/)?/u.exec(expression) ?? [];
  if (field === "label" && set) return ofLabels(set);
  return field === "path" ? "folder" : field;
}

/** Returns one comparison without the parentheses and quotes round a value that needs them. */
export function bare(expression) {
  const [, start, value] = QUOTED.exec(expression) ?? [];
  return start ? start + value.replaceAll('""', '"') : expression;
}

/** Returns the parts of a filter that a word, `or` or `and`, joins; the parts of `or` are looked at first. */
export const split = (expression, word) => expression.split(JOINTS[word]);

/** Returns the alternatives that the filters of a field leave: any of them may hold, and all parts of each. */
export function alternativesOf(where, field) {
  const own = where.filter((one) => fieldOf(one) === field);
  if (!own.length) return [];
  return own.length === 1 ? split(own[0], "or") : [own.join(" and ")]; // several, as addresses of old have them
}

/** Returns what stands for the field of filters by the labels of a set. */
export const ofLabels = (set) => `label ${set}`;

/** Returns filters with those of one field replaced. */
export const withFilter = (where, field, expressions) => [
  ...where.filter((one) => fieldOf(one) !== field),
  ...expressions,
];

function weighted([name, text]) {
  const match = WORDS.exec(name);
  const weight = Number(match?.[2] ?? 1);
  return match && weight > 0 && weight <= 1000 && { name: match[1], text: text.slice(0, 1000), weight };
}

const weightedName = (name, weight) => (weight === 1 ? name : `${name}*${weight}`);

function picture([name, value]) {
  const match = (name === "like" || name === "upload") && PICTURE.exec(value);
  if (!match) return null;
  const box = match[2] === undefined ? null : match.slice(2, 6).map(Number);
  if (box && !(box[0] < box[2] && box[1] < box[3] && box.every((edge) => Math.abs(edge) <= 1e6))) return null;
  const weight = Number(match[6] ?? 1);
  if (!(weight > 0 && weight <= 1000)) return null;
  if (name === "upload") return { key: match[1], weight, box };
  return id(match[1]) && { id: id(match[1]), weight, box };
}

const pictureText = ({ id: own, key, weight, box }) =>
  `${own ?? key}${box ? `@${box.join(",")}` : ""}${weight === 1 ? "" : `*${weight}`}`;

function id(text) {
  const number = /^\d+$/.test(text ?? "") ? Number(text) : 0;
  return number >= 1 && Number.isSafeInteger(number) ? number : null;
}

const ids = (text) => [...new Set((text ?? "").split(",").map(id).filter(Boolean))].slice(0, MOST_JUDGED);
