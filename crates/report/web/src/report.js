// The page: sections that are made once and updated with each new state of the data.

import { account } from './account.js';
import { code } from './code.js';
import { h } from './dom.js';
import { environment, files, malloc, nmt, sources, threads } from './lists.js';
import { follow } from './live.js';
import { Model } from './model.js';
import { Store } from './store.js';
import { isDark, start, toggle } from './theme.js';
import { verdict } from './verdict.js';

start();
const store = new Store({ domain: null, span: null, metric: 'leak', inverted: false, compare: null, site: null });
const sections = [verdict(), account(store), code(store), threads(), malloc(), nmt(), files(), environment(), sources()];

const process = h('span.process');
const live = h('div.live', { hidden: true });
const theme = h('button', { type: 'button', id: 'theme', onclick: () => { toggle(); named(); } });
const named = () => { theme.textContent = isDark() ? 'Light' : 'Dark'; theme.setAttribute('aria-label', `Switch to ${isDark() ? 'light' : 'dark'} colours`); };
named();
const links = h('nav', { 'aria-label': 'Sections' });
document.body.append(h('a.skip', { href: '#main' }, 'To the verdict'), h('header', h('div.bar', h('b.brand', 'offheap'), process, live, theme), links), h('main', { id: 'main' }, sections.map(section => section.element)));

const TITLES = { verdict: 'Verdict', account: 'Memory', code: 'Code', threads: 'Threads', malloc: 'C heap', nmt: 'NMT', files: 'Files', environment: 'Environment', sources: 'Sources' };

function show(data) {
  const model = new Model(data);
  process.textContent = `${model.name} · pid ${model.diagnosis.target.pid}`;
  process.title = model.diagnosis.target.command;
  document.title = `${model.headline()} · pid ${model.diagnosis.target.pid} · offheap`;
  sections.forEach(section => section.update(model));
  links.replaceChildren(...sections.filter(section => !section.element.hidden).map(({ element }) => h('a', { href: `#${element.id}` }, TITLES[element.id])));
}

const data = JSON.parse(document.getElementById('data').textContent);
if (data) {
  show(data);
  // Tests and measurements wait for this: everything is there and has been laid out once.
  requestAnimationFrame(() => { document.documentElement.dataset.ready = String(Math.round(performance.now())); });
} else follow(live, show, store);
