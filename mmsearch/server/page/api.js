// The server's answers, or a Problem with a sentence that can be shown.

/** Why there is no answer: `kind` is stopped, expired, library, picture, query, request or other. */
export class Problem extends Error {
  constructor(sentence, kind, status = 0) {
    super(sentence);
    this.kind = kind;
    this.status = status;
  }
}

const STOPPED = "The server does not answer. Is `mmsearch serve` still running? This page tries again by itself.";
const EXPIRED =
  "The server does not know this browser: its pass has expired, or the server was started anew. " +
  "Open the link that `mmsearch serve` printed when it started, or give the token beside it.";

const TOO_LARGE = "The pictures are larger than 20 MB together; bring fewer or smaller ones.";
export const MOST_BYTES = 20e6; // a little less than the server takes, for the rest of the request

async function call(path, { read = "json", ...options } = {}) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(STOPPED, "stopped");
  }
  if (response.status === 204) return null;
  const body = await response[response.ok ? read : "json"]().catch((error) => {
    if (error.name === "AbortError") throw error;
    return null;
  });
  options.signal?.throwIfAborted();
  if (response.ok && body !== null) return body;
  if (response.status === 401) throw new Problem(EXPIRED, "expired", 401);
  const kind = body?.type?.startsWith("urn:mmsearch:") ? body.type.slice("urn:mmsearch:".length) : "other";
  throw new Problem(
    sentence(body?.detail ?? `The server answered with ${response.status}.`),
    kind,
    response.status,
  );
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

const withWhere = (where, more = {}) => {
  const parameters = new URLSearchParams(more);
  for (const one of where) parameters.append("where", one);
  return parameters.toString();
};

const postJson = (...asked) => sendJson("POST", ...asked);

function sendJson(method, path, asked, signal, read) {
  return call(path, {
    method,
    headers: { "content-type": "application/json" },
    body: JSON.stringify(asked),
    signal,
    read,
  });
}

/** Returns the answer to a search or a classification; files go with it as they are, to a path of their own. */
async function post(path, asked, files, signal) {
  if (!files.length) return postJson(path, asked, signal);
  if (files.reduce((sum, file) => sum + file.size, 0) > MOST_BYTES) throw new Problem(TOO_LARGE, "request");
  const form = new FormData();
  form.append("query", JSON.stringify(asked));
  for (const file of files) form.append("picture", file, "your picture");
  return call(`${path}/upload`, { method: "POST", body: form, signal });
}

export const search = (asked, files, signal) => post("/search", asked, files, signal);
export const classify = (asked, files, signal) => post("/classify", asked, files, signal);
export const letIn = (token) => postJson("/session", { token });
export const status = (signal) => call("/status", { signal });
export const facets = (where, signal) => call(`/facets?${withWhere(where)}`, { signal });
export const timeline = (where, signal) => call(`/timeline?${withWhere(where)}`, { signal });
export const pictures = (where, { offset, limit }, signal) =>
  call(`/pictures?${withWhere(where, { order: "taken", offset, limit })}`, { signal });

/** Returns an archive of the files of pictures, as a blob, which a browser keeps on the disk if it is large. */
export const archive = (ids, signal) => postJson("/archive", { ids }, signal, "blob");

/** Returns what is written about a picture. */
export const annotations = (id) => call(`/pictures/${id}/annotations`);
export const changeTags = (asked) => postJson("/tags", asked);
export const writeCaption = (id, text) => sendJson("PUT", `/pictures/${id}/caption`, { text });

const TOGETHER = 60; // groups, or faces of one

/** Returns groups of faces, one group with its faces, the faces in a picture, and what became of a group. */
export const people = (hidden, offset, signal) =>
  call(`/people?${new URLSearchParams({ hidden, offset, limit: TOGETHER })}`, { signal });
export const person = (group, offset, signal) =>
  call(`/people/${group}?${new URLSearchParams({ offset, limit: TOGETHER })}`, { signal });
export const facesIn = (id, signal) => call(`/pictures/${id}/faces`, { signal });
export const namePerson = (group, name) => sendJson("PUT", `/people/${group}/name`, { name });
export const hidePerson = (group, hidden) => sendJson("PUT", `/people/${group}/hidden`, { is_hidden: hidden });
export const mergePeople = (group, groups) => postJson(`/people/${group}/merge`, { groups });
export const splitPerson = (group, ids) => postJson(`/people/${group}/split`, { ids });
export const forgetPerson = (group) => call(`/people/${group}`, { method: "DELETE" });

/** Returns a page of the moments of the film that a picture is one of, by time. */
export const moments = (id, after) => call(`/pictures/${id}/moments${after ? `?after=${after}` : ""}`);

/** Returns whether the file of a picture is still what was indexed, as far as is known. */
export const hasFile = (id) =>
  call(original(id), { method: "HEAD", read: "text" }).then(() => true, ({ status }) => status !== 404 && status !== 410);

/** Returns what the file of a picture says of its photograph. */
export const photoFacts = (id) => call(`/pictures/${id}/facts`);

const MOST_KNOWN = 10_000;
const known = new Map();

/** Returns what is known of a picture of the library; asked once. */
export function picture(id) {
  if (!known.has(id)) known.set(id, call(`/pictures/${id}`));
  return known.get(id);
}

/** Returns the labels that a picture of the library was given, and its film, of which answers leave out some. */
export const givenLabels = async (id) => (await call(`/pictures/${id}`)).labels;
export const filmOf = async (id) => (await call(`/pictures/${id}`)).film;

/** Remembers pictures that came with an answer; `null` forgets all. */
export function remember(found) {
  if (found === null || known.size > MOST_KNOWN) known.clear();
  if (found === null) return;
  for (const one of found) known.set(one.id, Promise.resolve(one));
}

/** Returns the address of a small picture, or of a part of it, given in shares of the sides. */
export const thumbnail = (id, side, box = []) =>
  `/pictures/${id}/thumbnail?side=${side}${box.map((share) => `&box=${share.toFixed(4)}`).join("")}`;
export const original = (id) => `/pictures/${id}/file`;

/** Returns a function that gives a signal, and ends what was begun with the one before. */
export function newest() {
  let controller = new AbortController();
  return () => {
    controller.abort();
    controller = new AbortController();
    return controller.signal;
  };
}
