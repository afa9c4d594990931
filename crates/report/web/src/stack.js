// A stack, innermost first.

import { h } from './dom.js';
import { KINDS, placeOf } from './model.js';

/** Frames of the middle of a deep stack that are folded away. */
const SHOWN = 14;

export function stack(frames) {
  const row = frame => h('li', h(`span.kind.kind-${frame.kind}`, KINDS[frame.kind].name), h('span.frame', h('code', frame.name), ' ', h('span.place', { title: frame.module || '' }, placeOf(frame))));
  const list = h('ol.stack', frames.slice(0, SHOWN).map(row));
  if (frames.length > SHOWN) {
    const more = h('button.quiet', { type: 'button', onclick: () => { more.remove(); list.append(...frames.slice(SHOWN).map(row)); } }, `${frames.length - SHOWN} more frames`);
    return h('div', list, more);
  }
  return h('div', list);
}

export const stackText = frames => frames.map(frame => {
  const place = placeOf(frame);
  return place ? `${frame.name} (${place})` : frame.name;
}).join('\n');
