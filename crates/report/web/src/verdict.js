// The top: what it is, the one chart that shows it, the code, what to do, how to make sure.

import { TimeChart } from './chart.js';
import { copier, fill, h } from './dom.js';
import { frameOf, hue } from './model.js';
import { stack } from './stack.js';
import { bytes, delta, duration, instant, percent, rate } from './units.js';

const WORDS = { leak: 'Leak', 'does-not-fit': 'Does not fit', retention: 'Retention', healthy: 'Healthy', inconclusive: 'Inconclusive' };

export function verdict() {
  const badge = h('span.badge');
  const sure = h('span.sure');
  const title = h('h1', { id: 'verdict-title' });
  const summary = h('p.summary');
  const facts = h('dl.facts');
  const actions = h('div.actions');
  const figure = h('figure');
  const caption = h('figcaption');
  const legend = h('div.legend');
  let model = null, lines = [];
  const chart = new TimeChart({
    height: 260, signed: true, label: 'Growth over time',
    describe: index => lines.map(line => [line.title, delta(line.values[index]), line.colour]),
  });
  figure.append(caption, legend, chart.element);
  const below = h('div.below');
  const element = h('section.verdict', { id: 'verdict', 'aria-labelledby': 'verdict-title' },
    h('div.top', h('div.said', h('p.status', badge, sure), title, summary, facts, actions), figure), below);

  function update(next) {
    model = next;
    const { verdict, diagnosis } = model;
    element.dataset.status = verdict.status;
    badge.textContent = WORDS[verdict.status];
    sure.textContent = `${percent(verdict.confidence)} sure · ${verdict.cause}`;
    title.textContent = model.headline();
    summary.replaceChildren(...prose(verdict.summary));
    const { rss, window } = diagnosis;
    const until = model.untilLimit();
    const rows = [
      ['Resident', `${bytes(rss.start_bytes)} → ${bytes(rss.end_bytes)}`],
      ['RSS grows', rate(rss.slope_bytes_per_s)],
      ['Watched', `${duration(window.seconds)}, ${window.snapshots} snapshots`],
      model.limit ? ['Limit', bytes(model.limit)] : null,
      until !== null ? ['Limit reached in', `about ${duration(until)}`] : null,
      model.data.ended ? ['The process', model.data.ended] : null,
    ];
    fill(facts, rows.filter(Boolean).map(([name, value]) => h('div', h('dt', name), h('dd', value))));
    fill(actions, copier('Copy as Markdown', () => model.data.markdown));
    draw();
    details();
  }

  function draw() {
    const { grower, rss, at, domains } = model;
    const grown = values => values.map(value => value - values[0]);
    const others = domains.filter(domain => domain !== grower).map(domain => ({ domain, values: grown(domain.bytes) }))
      .sort((a, b) => Math.abs(b.values.at(-1)) - Math.abs(a.values.at(-1))).slice(0, 5);
    lines = others.reverse().map(({ domain, values }) => ({ title: domain.name, values, colour: hue(domain.name), dim: Boolean(grower), wide: 1.25 }));
    lines.push({ title: 'RSS', values: grown(rss), colour: '--ink', wide: 1.5, dash: [4, 3] });
    if (grower) lines.push({ title: grower.name, values: grown(grower.bytes), colour: hue(grower.name), wide: 2.5, fill: true });
    const least = Math.max(3 << 20, (rss.at(-1) || 0) / 40);
    chart.set({ at, lines, marks: model.marks, least });
    lines = lines.slice().reverse();
    const what = grower ? `${grower.name} against everything else` : 'RSS and the domains that moved most';
    fill(caption, h('b', 'Growth since the window began'), ` · ${what}`);
    fill(legend, lines.filter((line, place) => place < 2 || !grower).slice(0, 4).map(line => h('span', h('i', { style: { background: `var(${line.colour})` } }), line.title, h('data', delta(line.values.at(-1) || 0)))),
      grower ? h('span.muted', 'other domains, thin') : null);
    chart.label(`Growth over ${duration(model.length / 1000)} from ${instant(model.begin)}: ` + lines.map(line => `${line.title} ${delta(line.values.at(-1) || 0)}`).join(', '));
    figure.hidden = at.length < 2;
  }

  function details() {
    const { verdict, diagnosis } = model;
    const block = (name, ...parts) => h('div.block', h('h3', name), ...parts);
    const steps = list => h('ol.steps', list.map(step => h('li', prose(step))));
    const { site } = verdict;
    const others = diagnosis.findings.filter(finding => finding.cause !== verdict.cause);
    const { level, outlook, power } = diagnosis;
    const free = level?.reclaimable ?? [], parts = (outlook?.parts ?? []).filter(part => part.may_grow_to_bytes > part.now_bytes);
    fill(below,
      site ? h('div.block.site', h('h3', 'Allocated here'), h('p.muted', `${bytes(site.bytes)} live, ${rate(site.slope_bytes_per_s)}; innermost frame first`), stack(site.frames.map(frameOf))) : null,
      verdict.fix.length ? block('Fix', steps(verdict.fix)) : null,
      verdict.confirm.length ? block('Confirm', steps(verdict.confirm)) : null,
      verdict.evidence?.length ? block('Evidence', h('ul.evidence', verdict.evidence.map(seen => h('li', prose(seen.text), h('span.source', seen.source))))) : null,
      level?.rss_bytes ? block(`Could be given back: ${bytes(level.reclaimable_bytes)} of ${bytes(level.rss_bytes)}`, free.length ? h('ul.evidence', free.map(part => h('li', h('b', bytes(part.bytes)), ` ${part.domain}: ${part.what}. `, prose(part.remedy), h('span.source', part.side_effect)))) : h('p.muted', 'Nothing to speak of.')) : null,
      outlook?.parts?.length ? block(outlook.limit_bytes ? `Will it fit ${bytes(outlook.limit_bytes)}? ${!outlook.fits ? 'No' : outlook.kill_at ? 'Only if the leak is stopped' : 'Yes'}: it may come to ${bytes(outlook.ceiling_bytes)}` : `It may come to ${bytes(outlook.ceiling_bytes)}${outlook.leaks_unbounded ? ' once the leak is stopped; while it leaks, to any size' : ''}; no limit is set`, h('ul.evidence', parts.map(part => h('li', h('b', part.domain), ` ${bytes(part.now_bytes)} → ${bytes(part.may_grow_to_bytes)}`, h('span.source', part.because))))) : null,
      power?.length && verdict.status !== 'leak' ? block('What would have been seen', h('p', `A leak of at least: ${power.map(one => `${one.domain} ${rate(one.smallest_leak_bytes_per_s)}`).join(', ')}.`), h('p.muted', `Not looked at: ${diagnosis.not_looked_at.join('; ')}.`)) : null,
      others.length ? block('Also found', h('ul.evidence', others.map(other => h('li', h('details', h('summary', h('b', WORDS[other.status]), ` ${other.cause}, ${percent(other.confidence)} sure`), h('p', prose(other.summary))))))) : null,
    );
  }

  return { element, update };
}

/** Text with `code` between backticks shown as such. */
export function prose(text) {
  return text.split('`').map((part, place) => place % 2 ? h('code', part) : document.createTextNode(part));
}
