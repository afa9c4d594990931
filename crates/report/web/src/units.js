// Figures in words a person reads; the same rules as the terminal's (crates/model/src/units.rs).

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'];

/** 1536 → "1.50 KiB": three significant digits. */
export function bytes(value) {
  let scaled = Math.abs(value), unit = 0;
  while (scaled >= 999.5 && unit + 1 < UNITS.length) { scaled /= 1024; unit++; }
  const sign = value < 0 ? '−' : '';
  if (unit === 0) return sign + Math.round(scaled) + ' B';
  return sign + scaled.toFixed(scaled < 9.995 ? 2 : scaled < 99.95 ? 1 : 0) + ' ' + UNITS[unit];
}

/** A difference, always with its sign. */
export function delta(value) {
  const whole = Math.round(value);
  return whole === 0 ? '±0 B' : (whole > 0 ? '+' : '') + bytes(whole);
}

/** Bytes per second; small rates by the hour, so that 3 B/s does not read as nothing. */
export function rate(perSecond) {
  if (perSecond === null || perSecond === undefined) return '–';
  return Math.abs(perSecond) >= 1024 ? delta(perSecond) + '/s' : delta(perSecond * 3600) + '/h';
}

/** Seconds in two units at the most. */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const two = (large, unit, small, less) => `${large} ${unit}${small ? ` ${small} ${less}` : ''}`;
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return two(Math.floor(whole / 60), 'min', whole % 60, 's');
  if (whole < 86400) return two(Math.floor(whole / 3600), 'h', Math.floor(whole % 3600 / 60), 'min');
  return two(Math.floor(whole / 86400), 'd', Math.floor(whole % 86400 / 3600), 'h');
}

export const count = value => value === null || value === undefined ? '–' : Math.round(value).toLocaleString('en').replaceAll(',', ' ');

export const percent = share => share > 0 && share < 0.0005 ? '< 0.1 %' : `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;

/** An instant as everybody reads it the same: UTC. */
export function instant(ms) {
  return ms ? new Date(ms).toISOString().replace('T', ' ').slice(0, 19) + ' UTC' : 'unknown';
}

/** Time since the begin, short: "1:05", "2:30:00". */
export function clock(ms) {
  const whole = Math.max(0, Math.round(ms / 1000));
  const two = number => String(number).padStart(2, '0');
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole % 3600 / 60), whole % 60];
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** Steps of a byte axis: round in binary units. */
export function byteTicks(low, high, wanted) {
  const rough = (high - low) / Math.max(1, wanted);
  let unit = 1;
  while (rough / unit >= 1024 / 2) unit *= 1024;
  const factor = [1, 2, 4, 5, 8, 10, 16, 20, 32, 40, 50, 64, 100, 128, 200, 250, 256, 500, 512].find(step => step * unit >= rough) || 512;
  const step = Math.max(1, factor * unit);
  const ticks = [];
  for (let at = Math.ceil(low / step) * step; at <= high + 1e-6; at += step) ticks.push(at);
  return ticks;
}

/** Steps of a plain axis. */
export function countTicks(low, high, wanted) {
  const rough = Math.max(1, (high - low) / Math.max(1, wanted));
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(factor => factor * power).find(step => step >= rough);
  const ticks = [];
  for (let at = Math.ceil(low / step) * step; at <= high; at += step) ticks.push(at);
  return ticks;
}

const TIMES = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800];

/** Steps of a time axis of `ms` milliseconds, from its begin. */
export function timeTicks(ms, wanted) {
  const rough = ms / 1000 / Math.max(1, wanted);
  const step = (TIMES.find(step => step >= rough) || Math.ceil(rough / 604800) * 604800) * 1000;
  const ticks = [];
  for (let at = 0; at <= ms; at += step) ticks.push(at);
  return ticks;
}

/** An axis' label of a byte figure: "64 MiB" without needless digits. */
export function tick(value) {
  if (value === 0) return '0';
  const [number, unit] = bytes(value).split(' ');
  return `${number.includes('.') ? number.replace(/\.?0+$/, '') : number} ${unit}`;
}
