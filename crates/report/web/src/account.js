// The account: every resident byte in one domain, over time.

import { TimeChart } from './chart.js';
import { fill, h, section } from './dom.js';
import { MEANING, hue } from './model.js';
import { bytes, clock, delta, duration, percent, rate } from './units.js';

export function account(store) {
  let model = null, order = [];
  const note = h('p.muted');
  const spanSaid = h('div.span');
  const chart = new TimeChart({
    height: 300, stacked: true, label: 'Resident memory by domain',
    onspan: span => store.set({ span }),
    describe: index => [['RSS', bytes(model.rss[index])], ...order.slice().reverse().map(domain => [domain.name, bytes(domain.bytes[index]), hue(domain.name)])
      .filter(([, value]) => value !== '0 B').slice(0, 9)],
  });
  const table = h('div.account', { role: 'table', 'aria-label': 'Domains' });
  const detail = h('div.detail');
  const element = section('account', 'Where the memory is', 'Every resident byte is in exactly one domain; together they are the RSS. Choose a domain to see what it is made of and to filter the code below; drag over the chart to choose a span.',
    h('figure', chart.element), spanSaid, note, h('div.columns', table, detail));

  function update(next) {
    model = next;
    // The one that grows lies on top, where its growth shows as it is; below it the steadiest, which are level.
    const moved = domain => Math.max(...domain.bytes) - Math.min(...domain.bytes);
    order = [...model.domains].sort((a, b) => (a === model.grower) - (b === model.grower) || moved(a) - moved(b));
    draw();
  }

  function draw() {
    if (!model) return;
    const { domain, span } = store.state;
    const lines = order.map(line => ({ name: line.name, values: line.bytes, colour: hue(line.name), dim: domain && domain !== line.name }));
    chart.set({ at: model.at, lines, limit: model.limit, marks: model.marks, span });
    const [from, to] = span ? span.map(ms => model.index(ms)) : [0, model.at.length - 1];
    const last = model.rss[to] || 0;
    chart.label(`Resident memory by domain over ${duration(model.length / 1000)}; arrow keys move the cursor, with shift they choose a span`);
    note.textContent = model.limit && model.limit > 2.5 * Math.max(...model.rss)
      ? `The limit of ${bytes(model.limit)} lies above the chart: RSS is ${percent(last / model.limit)} of it.` : '';
    note.hidden = !note.textContent;
    fill(spanSaid, span ? ['Span ', h('b', `${clock(span[0])} – ${clock(span[1])}`), `, ${duration((span[1] - span[0]) / 1000)}: RSS ${delta(model.rss[to] - model.rss[from])} `,
      h('button', { type: 'button', onclick: () => store.set({ span: null }) }, 'Whole window')] : null);
    spanSaid.hidden = !span;

    const rows = [...model.domains].sort((a, b) => b.bytes[to] - a.bytes[to]);
    const most = Math.max(1, ...rows.map(row => row.bytes[to]));
    const head = ['Domain', 'Resident', 'Share', span ? 'In the span' : 'Grows', ''].map((title, place) => h('div', { role: 'columnheader', class: place ? '' : 'left' }, title));
    fill(table, h('div.row.header', { role: 'row' }, head), rows.map(row => {
      const trend = model.trends.get(row.name);
      const slope = trend ? trend.slope_bytes_per_s : null;
      const certain = trend && (trend.slope_ci95[0] > 0 || trend.slope_ci95[1] < 0);
      const moved = span ? delta(row.bytes[to] - row.bytes[from]) : slope === null ? '–' : certain ? rate(slope) : '±0';
      return h('div.row', { role: 'row' },
        h('div.left', { role: 'cell' }, h('button', { type: 'button', title: MEANING[row.name] || '', 'data-domain': row.name, 'aria-pressed': String(domain === row.name), onclick: () => store.set({ domain: domain === row.name ? null : row.name }) },
          h('i.swatch', { style: { background: `var(${hue(row.name)})` } }), row.name)),
        h('div', { role: 'cell' }, bytes(row.bytes[to])),
        h('div', { role: 'cell' }, percent(row.bytes[to] / (last || 1))),
        h('div', { role: 'cell', class: certain && slope > 0 && !span ? (row === model.grower && model.verdict.status === 'leak' ? 'grower' : slope * 10 > model.diagnosis.rss.slope_bytes_per_s ? 'grows' : '') : 'muted', title: trend ? `95 % between ${rate(trend.slope_ci95[0])} and ${rate(trend.slope_ci95[1])}` : '' }, moved),
        h('div.bar', { role: 'cell', 'aria-hidden': 'true' }, h('i', { style: { width: `${100 * row.bytes[to] / most}%`, background: `var(${hue(row.name)})` } })));
    }));
    shown();
  }

  function shown() {
    const name = store.state.domain || model.grower?.name || model.last?.domains[0]?.domain;
    const figure = model.last?.domains.find(figure => figure.domain === name);
    if (!figure) return fill(detail, null);
    const grew = model.data.diff?.domains.find(change => change.name === name);
    fill(detail, h('h3', h('i.swatch', { style: { background: `var(${hue(name)})` } }), name), h('p.muted', `${MEANING[name] || ''}. Source: ${figure.source}.`),
      h('dl.pairs',
        pair('Resident', bytes(figure.rss_bytes)), pair('Address space', bytes(figure.virtual_bytes)),
        grew && pair('Since the begin', delta(grew.delta_bytes)),
        figure.swap_bytes ? pair('Swapped out', bytes(figure.swap_bytes)) : null, figure.huge_bytes ? pair('In huge pages', bytes(figure.huge_bytes)) : null),
      figure.detail.length ? h('ul.parts', [...figure.detail].sort((a, b) => b.rss_bytes - a.rss_bytes).slice(0, 12).map(part => h('li', h('span', { title: part.name }, part.name), h('data', bytes(part.rss_bytes)))),
        figure.detail.length > 12 ? h('li.muted', `and ${figure.detail.length - 12} more`) : null) : null);
  }

  store.on((state, changed) => { if (changed.has('domain') || changed.has('span')) draw(); });
  return { element, update };
}

const pair = (name, value) => h('div', h('dt', name), h('dd', value));
