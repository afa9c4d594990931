// The live view: asks the server it came from for what is new.

import { fill, h } from './dom.js';

/** Milliseconds between two questions. */
const EVERY = 2000;

export function follow(place, show, store) {
  let views = [], current = null, tag = null, paused = false;
  const state = h('span.state', { role: 'status' });
  const chooser = h('select', { 'aria-label': 'Process', onchange: event => {
    current = event.target.value;
    tag = null;
    store.set({ domain: null, span: null, compare: null, site: null });
    ask();
  } });
  const pause = h('button', { type: 'button', id: 'pause', onclick: () => { paused = !paused; named(); } });
  const named = () => { pause.textContent = paused ? 'Go on' : 'Pause'; pause.setAttribute('aria-pressed', String(paused)); };
  named();
  fill(place, chooser, state, pause);
  place.hidden = false;

  async function ask() {
    try {
      const list = await (await fetch('views.json', { cache: 'no-store' })).json();
      views = list.views;
      if (!views.some(view => view.id === current)) current = views[0]?.id ?? null;
      const names = views.map(view => view.name).join('\n');
      if (chooser.dataset.names !== names) {
        chooser.dataset.names = names;
        chooser.replaceChildren(...views.map(view => h('option', { value: view.id }, view.name)));
      }
      chooser.hidden = views.length < 2;
      chooser.value = current;
      if (current === null) { state.textContent = 'nothing yet'; return; }
      const reply = await fetch(`views/${current}.json`, { cache: 'no-store', headers: tag ? { 'If-None-Match': tag } : {} });
      if (reply.status === 200) {
        tag = reply.headers.get('ETag');
        show(await reply.json());
        document.documentElement.dataset.ready ||= String(Math.round(performance.now()));
        document.documentElement.dataset.shown = tag;
      }
      const view = views.find(view => view.id === current);
      state.textContent = view.ended ? `ended: ${view.ended}` : 'live';
      place.dataset.state = view.ended ? 'ended' : 'live';
    } catch {
      state.textContent = 'offheap serve does not answer';
      place.dataset.state = 'lost';
    }
  }

  async function turn() {
    // Nothing moves under a hand that chooses or marks something.
    const busy = paused || document.querySelector('canvas:active, select:focus:active') || String(getSelection());
    if (!busy || tag === null) await ask();
    setTimeout(turn, EVERY);
  }
  turn();
}
