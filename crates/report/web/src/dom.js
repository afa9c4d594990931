// Elements out of words. Names from the target only ever become text nodes: nothing here parses HTML.

/**
 * An element: `h('p.muted', { id: 'x', onclick: f }, 'text', child)`. Attributes named on… are listeners; `style` is an
 * object of CSS properties, set by script, which the page's policy allows and attributes would not be.
 */
export function h(what, ...rest) {
  const [tag, ...classes] = what.split('.');
  const element = document.createElement(tag || 'div');
  if (classes.length) element.className = classes.join(' ');
  for (const part of rest.flat(2)) add(element, part);
  return element;
}

function add(element, part) {
  if (part === null || part === undefined || part === false) return;
  if (part instanceof Node) element.append(part);
  else if (typeof part !== 'object') element.append(String(part));
  else for (const [name, value] of Object.entries(part)) attribute(element, name, value);
}

function attribute(element, name, value) {
  if (value === null || value === undefined || value === false) return;
  if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
  else if (name === 'style') for (const [property, text] of Object.entries(value)) element.style.setProperty(property, text);
  else if (name === 'value') element.value = value;
  else element.setAttribute(name, value === true ? '' : value);
}

/** Calls `draw` once before the next frame, however often it is asked to. */
export function soon(draw) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; draw(); });
  };
}

/** Puts `parts` in the place of everything in `element`. */
export function fill(element, ...parts) {
  element.replaceChildren();
  parts.flat(2).forEach(part => add(element, part));
  return element;
}

/** A section of the page with its heading; `parts` go below. */
export function section(id, title, lead, ...parts) {
  return h('section', { id, 'aria-labelledby': id + '-title' },
    h('div.head', h('h2', { id: id + '-title' }, title), lead && h('p.lead', lead)), ...parts);
}

/** A group of buttons of which one is on. `choices` are [value, label, title]. */
export function choice(label, choices, value, onchange) {
  const group = h('div.choice', { role: 'group', 'aria-label': label });
  const buttons = choices.map(([key, text, title]) =>
    h('button', { type: 'button', title, 'data-value': key, onclick: () => onchange(key) }, text));
  group.append(...buttons);
  group.show = now => buttons.forEach(button => button.setAttribute('aria-pressed', button.dataset.value === String(now)));
  group.show(value);
  return group;
}

/** A copy button: says for a moment that it did. */
export function copier(label, text) {
  const button = h('button', { type: 'button' }, label);
  const said = h('span.said', { role: 'status' });
  button.addEventListener('click', async () => {
    said.textContent = await copy(text()) ? 'copied' : 'could not copy';
    setTimeout(() => { said.textContent = ''; }, 2500);
  });
  return h('span.copier', button, said);
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Where the page may not write to the clipboard itself, a selection may still be copied.
    const area = h('textarea.offscreen', { 'aria-hidden': 'true', value: text });
    document.body.append(area);
    area.select();
    const done = document.execCommand('copy');
    area.remove();
    return done;
  }
}
