// Dark or light: as the system says, until somebody says otherwise.

const KEY = 'offheap-theme';
const dark = matchMedia('(prefers-color-scheme: dark)');
const listeners = [];
let colours = new Map();

// A file that was opened from a disk may have no storage.
function stored() {
  try { return localStorage.getItem(KEY); } catch { return null; }
}

export function isDark() {
  const said = document.documentElement.dataset.theme;
  return said ? said === 'dark' : dark.matches;
}

/** Calls `listener` when colours change. */
export function onTheme(listener) { listeners.push(listener); }

function changed() {
  colours = new Map();
  listeners.forEach(listener => listener());
}

/** The value of a CSS variable, for drawing. */
export function colour(name) {
  if (!colours.has(name)) colours.set(name, getComputedStyle(document.documentElement).getPropertyValue(name).trim());
  return colours.get(name);
}

export function start() {
  const said = stored();
  if (said === 'dark' || said === 'light') document.documentElement.dataset.theme = said;
  dark.addEventListener('change', changed);
}

export function toggle() {
  const next = isDark() ? 'light' : 'dark';
  document.documentElement.dataset.theme = next;
  try { localStorage.setItem(KEY, next); } catch { /* then it holds for this view only */ }
  changed();
  return next;
}
