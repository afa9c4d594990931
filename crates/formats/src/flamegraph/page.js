
'use strict';
(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const byId = id => document.getElementById(id);
  const canvas = byId('graph'), pen = canvas.getContext('2d');
  const ROW = 18, FONT = '12px system-ui, sans-serif';
  const HUES = { java: [110, 45], native: [30, 75], jvm: [265, 40], python: [205, 55] };

  // Nodes come in pre-order; each knows its parent, its children and how wide it is.
  function grow() {
    const open = [], all = [];
    for (const [depth, name, kind, value, other] of data.nodes) {
      const node = { name: data.names[name], kind, value, other, depth, children: [], parent: null };
      open.length = depth;
      if (depth > 0) { node.parent = open[depth - 1]; node.parent.children.push(node); }
      open.push(node);
      all.push(node);
    }
    return all[0] || { name: 'all', kind: 'native', value: 0, other: 0, depth: 0, children: [], parent: null };
  }

  // What a node has of its own is hung, turned round, below a new root.
  function invert(root) {
    const top = { name: root.name, kind: root.kind, value: 0, other: 0, depth: 0, children: [], parent: null, index: new Map() };
    const todo = [root];
    while (todo.length) {
      const node = todo.pop();
      let value = node.value, other = node.other;
      for (const child of node.children) { value -= child.value; other -= child.other; todo.push(child); }
      if (value <= 0 && other <= 0) continue;
      top.value += value; top.other += other;
      let at = top;
      for (let frame = node; frame.parent; frame = frame.parent) {
        const key = frame.kind + ' ' + frame.name;
        let next = at.index.get(key);
        if (!next) {
          next = { name: frame.name, kind: frame.kind, value: 0, other: 0, depth: at.depth + 1, children: [], parent: at, index: new Map() };
          at.index.set(key, next);
          at.children.push(next);
        }
        next.value += value; next.other += other;
        at = next;
      }
    }
    return top;
  }

  const width = node => Math.max(node.value, node.other);

  // Children of a difference may together be wider than their parent: then they are scaled to fit.
  function lay(root, focus) {
    const boxes = [], chain = [];
    for (let node = focus; node; node = node.parent) chain.unshift(node);
    chain.forEach(node => boxes.push({ node, x: 0, w: 1 }));
    const todo = [{ node: focus, x: 0, w: 1 }];
    while (todo.length) {
      const { node, x, w } = todo.pop();
      const sum = Math.max(width(node), node.children.reduce((sum, child) => sum + width(child), 0)) || 1;
      let at = x;
      for (const child of node.children) {
        const box = { node: child, x: at, w: w * width(child) / sum };
        at += box.w;
        if (box.w * canvas.clientWidth < 0.3) continue;
        boxes.push(box);
        todo.push(box);
      }
    }
    return boxes;
  }

  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  function amount(value) {
    if (!data.bytes) return value.toLocaleString('en');
    let unit = 0, scaled = Math.abs(value);
    while (scaled >= 999.5 && unit + 1 < units.length) { scaled /= 1024; unit++; }
    return (value < 0 ? '-' : '') + (unit === 0 ? scaled : scaled.toPrecision(3)) + ' ' + units[unit];
  }

  function describe(node) {
    const whole = width(root) || 1;
    if (!data.diff) {
      return node.name + ' — ' + amount(node.value) + ' (' + (100 * node.value / whole).toFixed(2) + ' % of all)';
    }
    const change = node.value - node.other;
    return node.name + ' — before ' + amount(node.other) + ', after ' + amount(node.value) +
      ' (' + (change > 0 ? '+' : change < 0 ? '' : '±') + amount(change) + ')';
  }

  function colour(node, dark) {
    if (matcher && matcher.test(node.name)) return dark ? '#b13bd0' : '#e879f9';
    if (node.parent === null) return dark ? '#3a3d45' : '#d7d7d7';
    if (data.diff) {
      const change = (node.value - node.other) / (width(node) || 1);
      const hue = change > 0 ? 5 : 215;
      return `hsl(${hue} ${Math.round(80 * Math.abs(change))}% ${dark ? 35 : 78}%)`;
    }
    const [hue, saturation] = HUES[node.kind] || HUES.native;
    let mix = 0;
    for (let i = 0; i < node.name.length; i++) mix = (mix * 31 + node.name.charCodeAt(i)) | 0;
    return `hsl(${hue + (mix & 15) - 8} ${saturation}% ${(dark ? 32 : 68) + ((mix >> 4) & 7)}%)`;
  }

  const isDark = () => document.documentElement.classList.contains('dark') ||
    (!document.documentElement.classList.contains('light') && matchMedia('(prefers-color-scheme: dark)').matches);

  const upright = grow();
  let root = upright, focus = root, boxes = [], matcher = null, inverted = false;

  function draw() {
    boxes = lay(root, focus);
    const rows = boxes.reduce((deepest, box) => Math.max(deepest, box.node.depth), 0) + 1;
    const ratio = devicePixelRatio || 1, wide = canvas.clientWidth, high = rows * ROW;
    canvas.style.height = high + 'px';
    canvas.width = Math.round(wide * ratio);
    canvas.height = Math.round(high * ratio);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, wide, high);
    pen.font = FONT;
    pen.textBaseline = 'middle';
    const dark = isDark();
    for (const box of boxes) {
      const x = box.x * wide, w = box.w * wide, y = box.node.depth * ROW;
      pen.fillStyle = colour(box.node, dark);
      pen.fillRect(x, y, Math.max(w - 0.5, 0.3), ROW - 1);
      if (w < 24) continue;
      pen.fillStyle = dark ? '#f2f2f2' : '#111111';
      const fits = Math.floor((w - 6) / 6.2);
      pen.save();
      pen.beginPath();
      pen.rect(x, y, w - 2, ROW);
      pen.clip();
      pen.fillText(box.node.name.length > fits ? box.node.name.slice(0, Math.max(fits, 1)) + '…' : box.node.name, x + 3, y + ROW / 2);
      pen.restore();
    }
  }

  function at(event) {
    const place = canvas.getBoundingClientRect();
    const x = (event.clientX - place.left) / place.width, depth = Math.floor((event.clientY - place.top) / ROW);
    return boxes.find(box => box.node.depth === depth && x >= box.x && x < box.x + box.w);
  }

  function search(text) {
    try { matcher = text ? new RegExp(text, 'i') : null; } catch { matcher = null; byId('found').textContent = 'not a regular expression'; return draw(); }
    if (!matcher) byId('found').textContent = '';
    else {
      // Only the outermost match of a stack counts, or recursion would count twice.
      let sum = 0;
      const todo = [root];
      while (todo.length) {
        const node = todo.pop();
        if (node.parent && matcher.test(node.name)) sum += node.value;
        else todo.push(...node.children);
      }
      byId('found').textContent = amount(sum) + ' (' + (100 * sum / (root.value || 1)).toFixed(2) + ' %)';
    }
    draw();
  }

  function zoom(node) { focus = node; draw(); byId('info').textContent = describe(node); }

  canvas.addEventListener('mousemove', event => { const box = at(event); byId('info').textContent = describe(box ? box.node : focus); });
  canvas.addEventListener('click', event => { const box = at(event); if (box) zoom(box.node); });
  byId('search').addEventListener('input', event => search(event.target.value));
  byId('reset').addEventListener('click', () => zoom(root));
  byId('invert').addEventListener('click', () => { inverted = !inverted; root = inverted ? invert(upright) : upright; zoom(root); search(byId('search').value); });
  byId('theme').addEventListener('click', () => {
    const dark = isDark();
    document.documentElement.classList.toggle('dark', !dark);
    document.documentElement.classList.toggle('light', dark);
    draw();
  });
  addEventListener('keydown', event => {
    if (event.key === 'Escape') zoom(root);
    if (event.key === '/' && document.activeElement !== byId('search')) { event.preventDefault(); byId('search').focus(); }
  });
  addEventListener('resize', draw);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);

  document.querySelector('h1').textContent = data.title + ' — ' + data.figure;
  const legend = data.diff ? [['grew', 'hsl(5 80% 60%)'], ['shrank', 'hsl(215 80% 60%)']]
    : Object.entries(HUES).map(([kind, [hue, saturation]]) => [kind, `hsl(${hue} ${saturation}% 60%)`]);
  for (const [text, swatch] of legend) {
    const entry = document.createElement('span');
    entry.textContent = text;
    entry.style.setProperty('--swatch', swatch);
    byId('legend').append(entry);
  }
  for (const note of data.notes) {
    const entry = document.createElement('li');
    entry.textContent = note;
    byId('notes').append(entry);
  }
  zoom(root);
})();
