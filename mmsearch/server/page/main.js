// The page: one state, which the address holds; every change goes through `go`, every answer through `run`.

import * as api from "./api.js";
import { Answer } from "./answer.js";
import { Classifier } from "./classify.js";
import { askPart } from "./crop.js";
import { byId, openDialog } from "./dom.js";
import { letDrag } from "./drag.js";
import { Filters } from "./filters.js";
import { Grid } from "./grid.js";
import { abilitiesOf, LibraryWatch } from "./library.js";
import { Marks } from "./marks.js";
import { monthOf } from "./months.js";
import { boxOf } from "./part.js";
import { People } from "./people.js";
import { QueryForm } from "./query.js";
import { Selection } from "./selection.js";
import { stick } from "./sticky.js";
import { asksAnew, EMPTY, fitting, fromAddress, isBrowsing, toAddress, withFilter } from "./state.js";
import { subjectOf } from "./subject.js";
import { Timeline } from "./timeline.js";
import { keep, uploads, watchTransfers } from "./uploads.js";
import { ResultView } from "./view.js";

let state = fromAddress(location.search);
let library = null;
let place = history.state?.place; // where the list is to begin that the address is of
let brought = null; // the key of a picture that is classified and not of the library
let several = null; // the selected pictures that are classified

const form = new QueryForm(go, bring);
const filters = new Filters(go);
const marks = new Marks({
  again: searchAgain,
  forget: forgetMarks,
  keep: (keepsMarks) => go({ keepsMarks }, "replace"),
  changed: showMarks,
});
const grid = new Grid(byId("results"), {
  open,
  like,
  byPart,
  mark: (id, kind) => marks.toggle(id, kind),
  again: searchAgain,
  isChosen: (id) => selection.chosen.has(id),
  addressOf,
  more: () => answer.more(),
  arrived,
  moved,
  failed: (problem) => watch.doubt(problem),
});
const timeline = new Timeline(byId("timeline"), grid);
const answer = new Answer(grid, filters, {
  sections: (sections) => timeline.show(sections),
  showView,
  clear,
  forgetMarks,
  clearFilters: () => go({ where: [] }),
  fail: (problem) => watch.fail(problem),
});
const selection = new Selection(byId("results"), {
  indexOf: (id) => grid.indexOf(id),
  reach: (index) => grid.reach(index),
  n: () => grid.n,
  changed: () => grid.tiles.showChosen(),
  classify: classifySeveral,
  like: likeAll,
  tags: () => filters.tags(),
  tagged: () => watch.look(),
});
const view = new ResultView({
  addressOf,
  open: (id) => go({ view: id }),
  pictureAt: (index) => grid.pictureAt(index),
  close: closeView,
  step,
  like,
  add: (id) => addAll([id]),
  part,
  byPart,
  again: searchAgain,
  classify,
  mark: (id, kind) => marks.toggle(id, kind),
  tags: () => filters.tags(),
  withTag,
  person: (group) => people.show(group),
  changed: () => watch.look(),
});
const people = new People({ addressOf, open, showPictures: withPerson, changed: () => watch.look() });
const classifier = new Classifier({ close: closeClassifier, labelled, choose: () => byId("file").click() });
const watch = new LibraryWatch(libraryChanged);

/** Carries out a change of the state: `how` is push for a step that "back" undoes, or replace. */
function go(change, how = "push", remembered = {}) {
  const next = { ...state, ...change };
  if (asksAnew(state, next)) {
    Object.assign(next, next.keepsMarks ? marks.asState() : { relevant: [], irrelevant: [] });
    marks.startAnew();
  }
  keepPlace();
  const isSameList = Object.keys(change).every((name) => ["view", "classify", "labels"].includes(name));
  place = isSameList ? history.state?.place : null;
  state = fitted(next, change);
  const address = toAddress(state);
  if (address !== location.pathname + location.search) {
    if (how === "push") history.pushState({ ...remembered, place }, "", address);
    else history.replaceState({ ...history.state, place }, "", address);
  }
  show();
}

const fitted = (wanted, change) => (library ? fitting(wanted, library, change) : wanted);

function show() {
  if (!library) return;
  state = fitted(state);
  const words = state.text.trim() || (state.pictures.length ? "by a picture" : "");
  document.title = words ? `${words} - mmsearch` : "mmsearch";
  form.render(state, library);
  filters.render(state, library.revision);
  marks.follow(state, library);
  byId("results").classList.toggle("without-marks", !marks.isPossible);
  selection.render(library);
  answer.want(state, library, place);
  showView().then(showClassifier); // which lies above
}

function libraryChanged(status, hasReturned) {
  library = abilitiesOf(status);
  api.remember(null);
  byId("open-classify").hidden = !library.hasWords;
  byId("open-people").hidden = !library.hasFaces;
  if (hasReturned) {
    answer.forget();
    grid.retry();
  }
  show();
}

// -- where the list is ------------------------------------------------------------------------------

const KEPT_AFTER = 300; // milliseconds without scrolling: it takes a while, and browsers let a page do it seldom
let keeping = null;
let lastY = 0;

/** Notes in the history where the list is, for who comes back or loads the page again. */
function keepPlace() {
  clearTimeout(keeping);
  keeping = null;
  if (answer.isShown) history.replaceState({ ...history.state, place: grid.place() }, "");
}

function moved(y, height) {
  timeline.follow(y, height);
  if (y === lastY) return;
  lastY = y;
  clearTimeout(keeping);
  keeping = setTimeout(keepPlace, KEPT_AFTER);
}

function arrived(pictures) {
  api.remember(pictures);
  if (state.view) showView();
}

// -- one picture ------------------------------------------------------------------------------------

let listed = { state: null, address: "" };

/** Returns the address of a picture in the list; it is asked for all that are shown, again and again. */
function addressOf(id) {
  if (listed.state !== state) listed = { state, address: toAddress({ ...state, view: null, classify: null }) };
  return `${listed.address}${listed.address === "/" ? "?" : "&"}view=${id}`;
}

function open(id) {
  go({ view: id }, "push", { isOpened: true });
}

async function showView() {
  if (!state.view) {
    const last = view.hide();
    if (last !== null) grid.focus(grid.indexOf(last));
    return;
  }
  const index = grid.indexOf(state.view);
  if (index < 0 && isBrowsing(state)) seek(state.view);
  await view.show(state.view, {
    hit: grid.pictureAt(index),
    state,
    abilities: library,
    answer: answer.found,
    place: index,
    n: grid.n + grid.hasMore,
    mark: marks.of(state.view),
    isAgain: marks.isChanged,
  });
}

/** Loads what stands beside a picture that was not scrolled to. */
async function seek(id) {
  const picture = await api.picture(id).catch(() => null); // the view says why there is none
  if (picture) grid.seek(id, monthOf(picture));
}

function closeView() {
  if (!state.view) return;
  if (history.state?.isOpened)
    history.back(); // the step that opened it is undone
  else go({ view: null }, "replace");
}

async function step(by) {
  const from = state.view;
  const index = grid.indexOf(from) + by;
  const next = index < by ? undefined : await grid.reach(index);
  if (!next || state.view !== from) return;
  grid.bringIntoView(index);
  go({ view: next.id }, "replace");
}

// -- what can be done next ----------------------------------------------------------------------------

const asked = (pictures) => {
  const { where, rank, expands, collapse, keepsMarks } = state;
  return { ...EMPTY, where, rank, expands, collapse, keepsMarks, pictures };
};

const example = (id) => ({ id, weight: 1, box: null });

function like(id) {
  likeAll([id]);
}

function likeAll(ids) {
  answer.focusFirst();
  go(asked(ids.map(example)));
}

/** Shows all pictures that have a tag. */
async function withTag(tag) {
  const known = await filters.counts([]);
  const facet = known.tags.find(({ label }) => label === tag);
  go({ ...EMPTY, where: facet ? facet.where : [`tag = ${tag}`] });
}

/** Shows the pictures of a person, among those that are looked for. */
function withPerson(filters) {
  answer.focusFirst();
  go({ where: withFilter(state.where, "person", filters), view: null });
}

async function part(id) {
  const box = await askPart(await subjectOf({ id, box: null }));
  if (box !== undefined) likePart(id, box);
}

/** Searches by the part by which a picture was found. */
function byPart(id) {
  const hit = grid.pictureAt(grid.indexOf(id));
  if (hit?.part) likePart(id, boxOf(hit));
}

function likePart(id, box) {
  answer.focusFirst();
  go(asked([{ id, weight: 1, box }]));
}

function addAll(ids) {
  const others = state.pictures.filter((one) => !ids.includes(one.id));
  go({ pictures: [...others, ...ids.map(example)].slice(-8), view: null });
}

async function bring(files) {
  const keys = await Promise.all(files.slice(0, 8).map(keep));
  if (!keys.length) return;
  if (classifier.isOpen) {
    [brought, several] = [keys[0], null];
    go({ classify: null }, "replace");
    return;
  }
  const here = state.pictures.filter((one) => one.id || uploads.has(one.key));
  form.forget();
  const pictures = [...here, ...keys.map((key) => ({ key, weight: 1, box: null }))];
  go({ pictures: pictures.slice(-8), view: null });
}

function clear() {
  form.forget();
  go(EMPTY);
  byId("text").focus();
}

// -- marks --------------------------------------------------------------------------------------------

function showMarks() {
  grid.tiles.showMarks(marks.all);
  if (state.view) showView();
}

function searchAgain() {
  if (marks.isChanged) go({ ...marks.asState(), view: null });
}

function forgetMarks() {
  marks.clear();
  go({ relevant: [], irrelevant: [], keepsMarks: false });
}

// -- classify -----------------------------------------------------------------------------------------

function classify(id) {
  brought = null;
  go({ classify: id }, "push", { isOpened: true });
}

function classifySeveral(chosen) {
  several = chosen;
  showClassifier();
}

function labelled(labels) {
  go({ labels }, "replace");
}

function closeClassifier() {
  brought = several = null;
  if (state.classify && history.state?.isOpened) history.back();
  else go({ classify: null }, "replace");
}

function showClassifier() {
  const given = several ? { chosen: several } : brought !== null && { key: brought };
  const subject = state.classify ? { id: state.classify } : given;
  if (subject && library.hasWords) classifier.show(subject, state.labels, library.hasParts);
  else classifier.hide();
}

function openClassifier() {
  const [first] = state.pictures;
  if (first?.id) classify(first.id);
  else {
    brought = first && uploads.has(first.key) ? first.key : "";
    show();
  }
}

// -- the page as a whole ------------------------------------------------------------------------------

stick();
history.scrollRestoration = "manual"; // the list is not there yet when the browser would scroll
window.addEventListener("scroll", () => timeline.wake(), { passive: true });
window.addEventListener("pagehide", keepPlace);
window.addEventListener("popstate", (event) => {
  clearTimeout(keeping); // that was another list
  keeping = null;
  place = event.state?.place;
  form.forget();
  brought = several = null;
  const next = fromAddress(location.search);
  if (asksAnew(state, next)) marks.startAnew();
  state = next;
  show();
});
document.addEventListener("keydown", (event) => {
  const isTyping = event.target.matches("input, textarea, select") || document.querySelector("dialog[open]");
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "?") openDialog(byId("help"));
  if (event.key !== "/") return;
  event.preventDefault();
  byId(library?.answersTexts ? "text" : "choose").focus();
});
byId("home").addEventListener("click", (event) => {
  event.preventDefault();
  clear();
});
byId("clear").addEventListener("click", clear);
byId("open-help").addEventListener("click", () => openDialog(byId("help")));
byId("open-classify").addEventListener("click", openClassifier);
byId("open-people").addEventListener("click", () => people.show());
document.addEventListener(
  "click",
  (event) => !byId("about").contains(event.target) && (byId("about").open = false),
);
byId("about").addEventListener("keydown", (event) => event.key === "Escape" && (byId("about").open = false));
letDrag(byId("results"), byId("bar"), {
  idsOf: (id) => (selection.chosen.has(id) ? [...selection.chosen.keys()] : [id]),
  drop: addAll,
});
watchTransfers(byId("drop"), bring, () => answer.say("What was dropped is not a picture that can be read."));
watch.look();
