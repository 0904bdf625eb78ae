// Pictures that were brought, kept for as long as the tab lives: their bytes in a database of the browser, which of
// them are of this tab in its session storage. Where a browser keeps nothing, they live as long as the page.

const NAME = "mmsearch-brought";
const MOST = 16;
const MOST_BYTES = 100e6;
const LONGEST = 24 * 3600e3; // where a browser does not tell which tabs are open
const SESSION = "mmsearch-brought";

/** Returns the files of this tab by their keys, and forgets those of tabs that are closed. */
export async function restored() {
  const own = keys();
  own.forEach(hold);
  const files = new Map();
  if (own.length === 0 && !(await databases())) return files;
  const open = await held();
  await using("readwrite", (store) => {
    store.openCursor().onsuccess = ({ target: { result: cursor } }) => {
      if (!cursor) return;
      const { file, at } = cursor.value;
      if (own.includes(cursor.key)) files.set(cursor.key, file);
      else if (!(open?.has(cursor.key) ?? true) || Date.now() - at > LONGEST) cursor.delete();
      cursor.continue();
    };
  });
  return files;
}

/** Keeps a file for this tab; the oldest ones leave where there are too many. */
export async function keepForTab(key, file) {
  const own = [...keys(), key];
  const left = own.splice(0, Math.max(0, own.length - MOST));
  hold(key);
  await using("readwrite", (store) => {
    left.forEach((one) => store.delete(one));
    if (file.size <= MOST_BYTES / MOST) store.put({ file, at: Date.now() }, key);
  });
  try {
    sessionStorage.setItem(SESSION, JSON.stringify(own));
  } catch {
    // it lives as long as the page
  }
}

/** Holds a lock until the tab is closed: by it other tabs know that a picture is of one that is open. */
function hold(key) {
  const forever = () => new Promise(() => {});
  globalThis.navigator.locks?.request(`${NAME} ${key}`, { mode: "shared" }, forever).catch(() => {});
}

/** Returns the keys of all tabs that are open, or undefined where a browser does not tell. */
async function held() {
  const known = await globalThis.navigator.locks?.query();
  return known && new Set(known.held.map(({ name }) => name.slice(NAME.length + 1)));
}

function keys() {
  try {
    return JSON.parse(sessionStorage.getItem(SESSION)) ?? [];
  } catch {
    return [];
  }
}

/** Returns whether there is something of an earlier tab; where a browser does not tell, there may be. */
async function databases() {
  const known = await globalThis.indexedDB?.databases?.().catch(() => []);
  return (known ?? []).some(({ name }) => name === NAME);
}

/** Lets a function use the database, and waits until what it asked for is done; what fails is nothing kept. */
function using(mode, use) {
  return new Promise((resolve) => {
    const opening = globalThis.indexedDB?.open(NAME, 1);
    if (!opening) return resolve();
    opening.onupgradeneeded = () => opening.result.createObjectStore("files");
    opening.onerror = opening.onblocked = () => resolve();
    opening.onsuccess = () => {
      const transaction = opening.result.transaction("files", mode);
      transaction.oncomplete = transaction.onerror = transaction.onabort = () => resolve(opening.result.close());
      use(transaction.objectStore("files"));
    };
    return undefined;
  });
}
