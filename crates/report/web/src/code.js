// Which code: the flame graph, the table of sites, and the one that is chosen.

import { choice, copier, fill, h, section } from './dom.js';
import { Flame, grow } from './flame.js';
import { KINDS } from './model.js';
import { Sites } from './sites.js';
import { stack, stackText } from './stack.js';
import { bytes, clock, count, delta, duration, rate } from './units.js';

const METRICS = [
  ['leak', 'Leak', 'live, and older than the window’s last third'],
  ['live', 'Live', 'allocated and not freed'],
  ['allocated', 'Allocated', 'allocated in the window, freed or not'],
];

export function code(store) {
  let model = null, found = '';
  const flame = new Flame();
  const chosen = h('div.chosen');
  const sites = new Sites(site => store.set({ site }));
  const metric = choice('What is shown', METRICS, store.state.metric, value => store.set({ metric: value, compare: null }));
  const turned = choice('Order of the frames', [['down', 'Callers first', 'from the thread’s begin to the allocation'], ['up', 'Allocator first', 'from the allocation to its callers']], 'down', value => store.set({ inverted: value === 'up' }));
  const hit = h('output.hit');
  const search = h('input', { type: 'search', placeholder: 'Search frames', 'aria-label': 'Search frames (regular expression)', oninput: event => { found = event.target.value; hit.textContent = flame.search(found); table(); } });
  const compare = h('div.compare');
  const filter = h('div.filter');
  const legend = h('p.kinds', Object.values(KINDS).map(kind => h('span', h('i', { style: { background: `hsl(var(${kind.colour}))` } }), kind.name)));
  const direction = h('p.direction', { role: 'status' });
  const tools = h('div.tools', metric, turned, h('div.search', search, hit));
  const empty = h('p.empty');
  const notes = h('ul.notes');
  const full = h('div', tools, compare, filter, direction, flame.element, legend, h('h3', 'Sites'), sites.element, chosen, notes);
  const lead = 'Live memory by allocation site, from the agent’s samples. Width is bytes; choose a frame to look closer.';
  const element = section('code', 'Which code holds it', lead, empty, full);

  function update(next) {
    model = next;
    const there = Boolean(model.code && model.code.size);
    full.hidden = !there;
    empty.hidden = there;
    if (!there) {
      fill(empty, model.code ? 'Nothing that was sampled is still live: no allocation site grew in the window.' : ['No agent looked at the code. ', h('code', `offheap profile ${model.diagnosis.target.pid}`), ' does, or diagnose without ', h('code', '--no-agent'), '.']);
      return;
    }
    const { code } = model;
    if (store.state.metric === 'leak' && !code.sums.leak && code.sums.live) store.state.metric = 'live';
    const { sampling } = code;
    fill(notes, h('li', `${count(sampling.samples)} samples over ${duration(code.seconds)}, one each ${bytes(sampling.interval_bytes)} on average, ${count(sampling.dropped)} dropped.`),
      code.notes.map(note => h('li', note)),
      code.leftOut[0] ? h('li', `${count(code.leftOut[0])} small sites with ${bytes(code.leftOut[1])} live are left out.`) : null);
    draw();
  }

  /** The sites that pass the filter. */
  function passing() {
    const { domain } = store.state;
    const rows = [];
    for (let site = 0; site < model.code.size; site++) if (!domain || fits(domain, model.code.columns.domain[site])) rows.push(site);
    return rows;
  }

  /** The two instants that are compared: those chosen, or those nearest to the span's ends. */
  function compared() {
    const { instants } = model.code;
    if (instants.length < 2) return null;
    if (store.state.compare) return store.state.compare;
    if (!store.state.span) return null;
    const [from, to] = store.state.span.map(ms => model.code.nearest(model.begin + ms));
    return from === to ? (to + 1 < instants.length ? [from, to + 1] : [from - 1, to]) : [from, to];
  }

  function draw() {
    const { code } = model;
    const { metric: shown, domain, inverted, span } = store.state;
    const pass = new Uint8Array(code.size);
    passing().forEach(site => { pass[site] = 1; });
    const only = values => Float64Array.from(values, (value, site) => pass[site] ? value : 0);
    const pair = compared();
    metric.show(pair ? '' : shown);
    turned.show(inverted ? 'up' : 'down');
    let weights, before = null;
    if (pair) {
      before = only(code.liveAt(pair[0]));
      weights = only(code.liveAt(pair[1]));
    } else weights = only(code.columns[shown]);
    const root = grow(code, weights, before, inverted);
    flame.set(code, root, Boolean(pair));
    if (found) hit.textContent = flame.search(found);
    chooser(pair);
    const when = index => clock(code.instants[index].ms - model.begin);
    direction.hidden = !pair;
    direction.textContent = pair ? `Live bytes at ${when(pair[1])} against ${when(pair[0])}: later less earlier, ${delta(root.value - root.other)} in all. Red is what came in between, blue what went; grey was there before.` : '';
    legend.hidden = Boolean(pair);
    fill(filter, domain ? [`Only ${domain}: ${bytes(root.value)} `, h('button', { type: 'button', onclick: () => store.set({ domain: null }) }, 'All domains')] : null,
      span && !pair ? h('span.muted', 'The agent looked once, so the code is of its whole window, not of the chosen span.') : null,
      root.value || root.other ? null : h('span.muted', ' No sampled site is of this kind.'));
    filter.hidden = !filter.childNodes.length;
    table(pair && Float64Array.from(code.columns.live, (_, site) => weights[site] - before[site]));
  }

  let grown = null;
  function table(span) {
    if (span !== undefined) grown = span;
    const { code } = model;
    let rows = passing();
    if (flame.matcher) {
      const hits = code.frames.map(frame => flame.matcher.test(frame.name));
      const holds = new Uint8Array(code.parents.length);
      for (let node = 1; node < holds.length; node++) holds[node] = hits[code.nodeFrames[node]] || holds[code.parents[node]] ? 1 : 0;
      rows = rows.filter(site => holds[code.columns.node[site]]);
    }
    sites.set(code, rows, grown);
    choose();
  }

  function chooser(pair) {
    const { instants } = model.code;
    compare.hidden = instants.length < 2;
    if (compare.hidden) return;
    const name = index => `${clock(instants[index].ms - model.begin)} (${bytes(instants[index].live.reduce((sum, value) => sum + value, 0))})`;
    const select = (label, value, place) => {
      const element = h('select', { 'aria-label': label, onchange: event => {
        const next = pair ? [...pair] : [0, instants.length - 1];
        next[place] = Number(event.target.value);
        store.set({ compare: next[0] === next[1] ? null : next });
      } }, instants.map((_, index) => h('option', { value: String(index) }, name(index))));
      element.value = String(value);
      return element;
    };
    // Against nothing all is new: the first instant at which something was live tells more.
    const first = instants.findIndex(instant => instant.live.length);
    const [from, to] = pair || [first > 0 && first + 1 < instants.length ? first : 0, instants.length - 1];
    fill(compare, h('button', { type: 'button', id: 'compare', 'aria-pressed': String(Boolean(pair)), onclick: () => store.set(pair ? { compare: null, span: null } : { compare: [from, to] }) }, 'Compare two instants'),
      pair ? [select('Earlier instant', from, 0), h('span', '→'), select('Later instant', to, 1)] : null);
  }

  function choose() {
    const { code } = model;
    const site = store.state.site ?? sites.order[0];
    if (site === undefined || site >= code.size) return fill(chosen, null);
    const c = code.columns, frames = code.stack(site);
    const { name } = code.title(site);
    const words = [`${bytes(c.live[site])} live in ${count(c.count[site])} blocks`];
    if (c.slope[site] !== null) words.push(`${rate(c.slope[site])} (95 % between ${rate(c.low[site])} and ${rate(c.high[site])})`);
    if (c.p50[site] !== null) words.push(`half older than ${duration(c.p50[site])}, a tenth older than ${duration(c.p90[site])}`);
    fill(chosen, h('h3', name), h('p.muted', words.join(' · ')), ages(site), stack(frames), copier('Copy the stack', () => stackText(frames)));
  }

  /** Live bytes of a site at each instant: whether old samples ever die. */
  function ages(site) {
    const { instants } = model.code;
    if (instants.length < 2) return null;
    const values = instants.map((_, index) => model.code.liveAt(index)[site]);
    return h('p.muted', 'Live over time: ' + values.map((value, index) => `${clock(instants[index].ms - model.begin)} ${bytes(value)}`).join(' · '));
  }

  store.on((state, changed) => {
    if (!model?.code?.size) return;
    if (['domain', 'span', 'metric', 'inverted', 'compare'].some(name => changed.has(name))) draw();
    else if (changed.has('site')) choose();
  });
  return { element, update };
}

/** What the account can't split is one domain there and several in the profile, which can. */
function fits(domain, site) {
  return site === domain || domain === 'malloc' && ['native-malloc', 'jvm-internal', 'direct-memory'].includes(site);
}
