// What else was seen: threads, arenas, NMT, files, the environment, and where each figure comes from.

import { TimeChart } from './chart.js';
import { fill, h, section } from './dom.js';
import { bytes, count, delta, duration, instant } from './units.js';

/** A table that sorts by its headings. Columns: { title, text, by?, left? }. */
function table(label, columns, limit = 15) {
  let rows = [], key = null, down = true, all = false;
  const head = h('tr'), body = h('tbody');
  if (matchMedia('(max-width: 640px)').matches) limit = Math.min(limit, 6);
  const more = h('button.quiet', { type: 'button', onclick: () => { all = true; draw(); } });
  function draw() {
    const sorted = key === null ? rows : [...rows].sort((a, b) => {
      const [x, y] = [columns[key].by(a), columns[key].by(b)];
      return (down ? -1 : 1) * (typeof x === 'string' ? x.localeCompare(y) : x - y);
    });
    fill(head, columns.map((column, place) => h('th', { scope: 'col', class: (column.left ? 'left' : '') + (column.wide ? ' wide' : ''), 'aria-sort': place === key ? (down ? 'descending' : 'ascending') : null },
      column.by ? h('button', { type: 'button', onclick: () => { down = key === place ? !down : !column.left; key = place; draw(); } }, column.title, place === key ? (down ? ' ↓' : ' ↑') : '') : column.title)));
    fill(body, sorted.slice(0, all ? undefined : limit).map(row => h('tr', columns.map(column => h('td', { class: (column.left ? 'left' : '') + (column.wide ? ' wide' : ''), title: column.hint && column.hint(row) }, column.text(row))))));
    more.hidden = all || rows.length <= limit;
    more.textContent = `${rows.length - limit} more`;
  }
  const element = h('div.table', h('table', { 'aria-label': label }, h('thead', head), body), more);
  return { element, update(next) { rows = next; draw(); } };
}

const figure = (title, of, show = bytes, rest = {}) => ({ title, text: row => of(row) === null || of(row) === undefined ? '–' : show(of(row)), by: row => of(row) ?? -1, ...rest });
const word = (title, of, rest = {}) => ({ title, text: of, by: row => String(of(row)), left: true, ...rest });

const PALETTE = ['--blue', '--amber', '--green', '--violet', '--red', '--teal', '--pink', '--brown'];

/** A chart of what those series that moved most did since the begin; hidden where none did. */
function movers(label, unit) {
  const show = unit === 'bytes' ? delta : signed, least = unit === 'bytes' ? 65536 : 0;
  const legend = h('div.legend');
  let lines = [];
  const chart = new TimeChart({ height: 180, unit, label, signed: true, describe: index => lines.map(line => [line.title, show(line.values[index]), line.colour]) });
  const element = h('figure', h('figcaption', label), legend, chart.element);
  return { element, update(model, series, values) {
    lines = series.map(line => ({ title: line.name, values: values(line).map((value, _, all) => value - all[0]) }))
      .map(line => ({ ...line, moved: Math.max(...line.values) - Math.min(...line.values) }))
      .filter(line => line.moved > least).sort((a, b) => b.moved - a.moved).slice(0, 6).map((line, place) => ({ ...line, colour: PALETTE[place] }));
    element.hidden = model.at.length < 2 || !lines.length;
    fill(legend, lines.map(line => h('span', h('i', { style: { background: `var(${line.colour})` } }), line.title, h('data', show(line.values.at(-1))))));
    chart.set({ at: model.at, lines, marks: model.marks });
  } };
}

const signed = value => value > 0 ? `+${count(value)}` : value < 0 ? `−${count(-value)}` : '±0';

/** The changes of one kind between the first and the last snapshot, by name. */
const changes = (model, kind) => new Map((model.data.diff?.[kind] || []).map(change => [change.name, change]));

export function threads() {
  let since = new Map();
  const chart = movers('Threads since the window began, of the pools that changed', 'count');
  const list = table('Threads by pool', [
    word('Pool', pool => pool.pool), figure('Threads', pool => pool.count, count),
    figure('Since the begin', pool => { const seen = since.get(pool.pool); return seen ? seen.after_count - seen.before_count : 0; }, signed, { wide: true }),
    figure('Resident', pool => pool.resident_bytes), figure('Reserved', pool => pool.reserved_bytes, bytes, { wide: true }), word('Kind', pool => pool.kind, { wide: true }),
  ]);
  const element = section('threads', 'Threads by pool', 'Threads whose names differ only in their number are one pool.', chart.element, list.element);
  return { element, update(model) {
    const pools = model.last?.threads || [];
    element.hidden = !pools.length;
    since = changes(model, 'threads');
    chart.update(model, model.pools, pool => pool.count);
    list.update(pools);
  } };
}

export function malloc() {
  let since = new Map();
  const said = h('div'), whole = h('div.whole', { 'aria-hidden': 'true' }), legend = h('div.legend');
  const arenas = table('Arenas', [
    word('Arena', arena => arena.main ? 'main' : '0x' + arena.address.toString(16)), figure('In use', arena => arena.in_use_bytes), figure('Blocks', arena => arena.in_use_count, count, { wide: true }),
    figure('Free', arena => arena.free_bytes + arena.top_bytes + arena.tcache_bytes), figure('Trimmable', arena => arena.trimmable_bytes), figure('Resident', arena => arena.resident_bytes, bytes, { wide: true }), figure('Threads', arena => arena.threads, count, { wide: true }),
  ], 8);
  const sizes = table('Live blocks by size', [
    word('Block size', size => size.chunk_bytes ? `${count(size.chunk_bytes)} bytes` : 'other sizes', { by: size => size.chunk_bytes }), figure('Blocks', size => size.count, count), figure('Bytes', size => size.total_bytes),
    figure('Since the begin', size => since.get(size.chunk_bytes ? `chunks of ${size.chunk_bytes} bytes` : 'other sizes')?.delta_bytes ?? 0, delta), word('Seems to hold', size => hint(size.hint), { wide: true }),
  ], 8);
  const bySize = h('div', h('h3', 'Live blocks by size'), sizes.element);
  const walked = h('div', whole, legend, h('h3', 'Arenas'), arenas.element, bySize);
  const element = section('malloc', 'The C heap', 'What the allocator has from the system: in use, free but kept, and what a trim would give back.', said, walked);
  return { element, update(model) {
    const heap = model.last?.malloc;
    element.hidden = !heap;
    if (!heap) return;
    const version = `${heap.allocator} ${heap.allocator_version}`.trim();
    walked.hidden = !heap.walked;
    if (!heap.walked) return fill(said, `The allocator is ${version}: it was recognised, but what is free inside it is not known.`);
    since = changes(model, 'size_classes');
    const parts = [['in use', heap.in_use_bytes, '--red'], ['large blocks of their own', heap.mmapped_bytes, '--amber'], ['in thread caches', heap.tcache_bytes, '--sky'], ['free inside', heap.free_bytes, '--pink'], ['free at the top', heap.top_bytes, '--grey2']].filter(([, value]) => value > 0);
    const all = parts.reduce((sum, [, value]) => sum + value, 0) || 1;
    fill(said, `${version}, ${heap.arenas.length} arenas. A trim now would give back `, h('b', bytes(heap.trimmable_bytes)), '.', heap.exact ? '' : ` Not every self-check held: ${heap.doubts.join('; ')}.`);
    fill(whole, parts.map(([, value, colour]) => h('i', { style: { 'flex-grow': String(value / all), background: `var(${colour})` } })));
    fill(legend, parts.map(([name, value, colour]) => h('span', h('i', { style: { background: `var(${colour})` } }), name, h('data', bytes(value)))));
    arenas.update(heap.arenas);
    bySize.hidden = !heap.size_classes.length;
    sizes.update([...heap.size_classes].sort((a, b) => b.total_bytes - a.total_bytes));
  } };
}

function hint(hint) {
  if (!hint) return '';
  return { vtable: `objects of ${hint.of}`, text: `text: ${hint.of}`, zero: 'zeroes', 'pointer-into': `pointers into ${String(hint.of).split('/').pop()}` }[hint.kind] || '';
}

export function nmt() {
  let since = new Map();
  const chart = movers('Growth since the window began, of the categories that moved most', 'bytes');
  const list = table('NMT categories', [
    word('Category', category => category.name), figure('Malloc', category => category.malloc_bytes), figure('Blocks', category => category.malloc_count, count, { wide: true }), figure('Arenas', category => category.arena_bytes, bytes, { wide: true }),
    figure('Committed', category => category.committed_bytes), figure('Reserved', category => category.reserved_bytes, bytes, { wide: true }), figure('Since the begin', category => since.get(category.name)?.delta_bytes ?? 0, delta),
  ], 10);
  const element = section('nmt', 'Native Memory Tracking', 'What the JVM counts of its own, over time.', chart.element, list.element);
  return { element, update(model) {
    const categories = model.last?.jvm?.nmt?.categories;
    element.hidden = !categories?.length;
    if (element.hidden) return;
    const whole = category => category.malloc_bytes + category.arena_bytes + category.committed_bytes;
    since = changes(model, 'nmt');
    chart.update(model, model.nmt, line => line.bytes);
    list.update([...categories].sort((a, b) => whole(b) - whole(a)));
  } };
}

export function files() {
  let since = new Map();
  const list = table('Mapped files', [
    word('File', file => [h('span.file', file.path.split('/').pop() || file.path), file.deleted ? h('span.tag', 'deleted') : null], { hint: file => file.path, by: file => file.path }), figure('Resident', file => file.rss_bytes), figure('Private', file => file.dirty_bytes, bytes, { wide: true }),
    figure('Address space', file => file.virtual_bytes, bytes, { wide: true }), figure('Since the begin', file => since.get(file.path)?.delta_bytes ?? 0, delta), word('Kind', file => file.kind, { wide: true }),
  ], 10);
  const element = section('files', 'Files', null, list.element);
  return { element, update(model) {
    const files = model.last?.files || [];
    element.hidden = !files.length;
    since = changes(model, 'files');
    list.update(files);
  } };
}

export function environment() {
  const body = h('div');
  const element = section('environment', 'Environment', null, body);
  return { element, update(model) {
    const { last, data, diagnosis } = model;
    const { jvm, process, cgroup, memory } = last || {};
    const pairs = [
      ['Command', process?.command || diagnosis.target.command], ['Process', process && `pid ${process.pid}${process.inner_pid !== process.pid ? ` (${process.inner_pid} in its container)` : ''}, user ${process.user}, up ${duration(process.uptime_s)}, ${count(process.threads)} threads`],
      ['JVM', jvm && `${jvm.vendor} ${jvm.version}, ${jvm.gc || 'unknown'} collector`], ['Java heap', jvm && `${jvm.heap.used_bytes === null ? '?' : bytes(jvm.heap.used_bytes)} used of ${bytes(jvm.heap.max_bytes)} at most, ${bytes(jvm.heap.resident_bytes)} resident`],
      ['NMT', jvm && (jvm.nmt_level || 'unknown')], ['Python', last?.python && `CPython ${last.python.version}`],
      ['Control group', cgroup && `v${cgroup.version} ${cgroup.path}: ${bytes(cgroup.current_bytes)} charged${cgroup.limit_bytes ? ` of ${bytes(cgroup.limit_bytes)}` : ', no limit'}; page cache ${bytes(cgroup.file_bytes)}${cgroup.oom_kills ? `; ${cgroup.oom_kills} kills for memory so far` : ''}`],
      ['Swap', memory && bytes(memory.swap_bytes)], ['Highest RSS', memory && bytes(memory.peak_rss_bytes)], ['Mappings', memory && `${count(memory.vma_count)} of ${count(memory.vma_limit)}`],
      ['Window', `${instant(diagnosis.window.start)}, ${duration(diagnosis.window.seconds)}`], ...data.environment, ['offheap', data.version + (data.made_ms ? `, report made ${instant(data.made_ms)}` : '')],
    ].filter(([, value]) => value);
    fill(body, h('dl.pairs.wide', pairs.map(([name, value]) => h('div', h('dt', name), h('dd', value)))),
      jvm?.flags.length ? h('details', h('summary', `${jvm.flags.length} JVM flags`), h('ul.flags', jvm.flags.map(([name, value]) => h('li', h('code', `-XX:${value === 'true' ? '+' + name : value === 'false' ? '-' + name : `${name}=${value}`}`))))) : null);
  } };
}

export function sources() {
  const body = h('div');
  const element = section('sources', 'How each figure was got', null, body);
  return { element, update(model) {
    const { last, code } = model;
    if (!last) { element.hidden = true; return; }
    element.hidden = false;
    const rows = [['RSS', 'the sum of Rss over all mappings in /proc/PID/smaps; everything else must add up to it'], ...last.domains.map(figure => [figure.domain, figure.source])];
    if (last.malloc?.walked) rows.push(['C heap', 'walk of the allocator’s own arenas from outside, with self-checks']);
    if (last.jvm?.nmt) rows.push(['NMT', last.jvm.nmt.source === 'memory' ? 'the JVM’s own counters, read from its memory' : 'the JVM was asked (attach)']);
    if (code) rows.push(['Sites', 'the agent’s table of sampled allocations that were not freed, scaled up by their probability']);
    rows.push(['Slopes', 'Theil–Sen over the window, with a 95 % interval that allows for neighbouring points being alike']);
    fill(body, h('dl.pairs.wide', rows.map(([name, value]) => h('div', h('dt', name), h('dd', value)))),
      last.notes.length ? h('ul.notes', last.notes.map(note => h('li', note.text, note.remedy ? h('span.muted', ` ${note.remedy}`) : null))) : null);
  } };
}
