// Light or dark: as the system has it, or as was chosen in this browser. No module, so that it runs before anything is
// drawn and nothing flashes in the other one.

(() => {
  const WORDS = { system: "as the system has it", light: "light", dark: "dark" };
  const KEY = "theme";
  const root = document.documentElement;

  function show(theme) {
    root.dataset.theme = Object.hasOwn(WORDS, theme) ? theme : "system";
    const button = document.getElementById("theme");
    if (!button) return;
    const words = `Light or dark: ${WORDS[root.dataset.theme]}`;
    button.title = words;
    button.setAttribute("aria-label", words);
    button.querySelector("use").setAttribute("href", `#i-${root.dataset.theme}`);
  }

  function kept() {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null; // a browser may keep nothing
    }
  }

  function next() {
    const themes = Object.keys(WORDS);
    const theme = themes[(themes.indexOf(root.dataset.theme) + 1) % themes.length];
    show(theme);
    try {
      localStorage.setItem(KEY, theme);
    } catch {
      // it holds for this page alone
    }
  }

  show(kept());
  document.addEventListener("DOMContentLoaded", () => {
    show(root.dataset.theme);
    document.getElementById("theme")?.addEventListener("click", next);
  });
  window.addEventListener("storage", ({ key, newValue }) => key === KEY && show(newValue)); // chosen on another page
})();
