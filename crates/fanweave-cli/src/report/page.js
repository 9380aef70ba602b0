'use strict';
(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const names = ['index', 'line', 'id', 'began', 'latency', 'attempts', 'input', 'output', 'cost', 'answer', 'error', 'prompt', 'calls'];
  const rows = data.rows.map((list) => Object.fromEntries(list.map((value, i) => [names[i], value])));
  const figures = data.figures;
  const $ = (id) => document.getElementById(id);

  // All text is inserted as text nodes: model output is never markup.
  const make = (tag, text, kind) => {
    const element = document.createElement(tag);
    if (text !== undefined && text !== null) element.textContent = text;
    if (kind) element.className = kind;
    return element;
  };
  const count = (n) => n.toLocaleString('en');
  const time = (ms) => {
    if (ms === null || ms === undefined) return '-';
    if (ms < 1000) return `${Math.round(ms)} ms`;
    if (ms < 60000) return `${(ms / 1000).toFixed(ms < 10000 ? 1 : 0)} s`;
    const s = Math.round(ms / 1000);
    return s < 3600 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  };
  const usd = (amount) => {
    if (amount === null || amount === undefined) return '-';
    if (amount > 0 && amount < 0.01) return `$${Number(amount.toPrecision(2))}`;
    return `$${amount.toFixed(amount < 0.1 ? 4 : 2)}`;
  };

  // The head and the figures.
  $('name').textContent = data.name;
  $('when').textContent = data.start === null ? 'The journal has no times.' : new Date(data.start).toLocaleString();
  const figure = (name, value, more, kind) => {
    const box = make('div');
    box.append(make('dt', name));
    const shown = make('dd', value, kind);
    if (more) shown.append(make('small', more));
    box.append(shown);
    $('figures').append(box);
  };
  figure('rows', count(figures.rows), `${count(figures.ok)} ok`);
  figure('failed', count(figures.failed), null, figures.failed > 0 ? 'bad' : '');
  figure('time', time(figures.wall_ms));
  figure('calls', count(figures.calls), `${count(figures.retries)} retries`);
  figure('latency', time(figures.latency_p50_ms), `median, p95 ${time(figures.latency_p95_ms)}`);
  figure('first byte', time(figures.first_byte_p50_ms), 'median');
  figure('tokens', count(figures.input_tokens + figures.output_tokens), `${count(figures.output_tokens)} out`);
  figure('cost', usd(figures.cost_usd));

  // The waterfall: concurrent calls are on separate lanes.
  const blocks = [];
  for (const row of rows) {
    if (row.began === null) continue;
    for (const [step, ready, sent, first, ended, failed] of row.calls) {
      const at = row.began;
      blocks.push({ row, step, ready: at + ready, sent: at + sent, first: first === null ? null : at + first, ended: at + ended, failed });
    }
  }
  blocks.sort((a, b) => a.ready - b.ready || a.row.index - b.row.index);
  const lanes = [];
  for (const block of blocks) {
    let lane = lanes.findIndex((until) => until <= block.ready);
    if (lane < 0) lane = lanes.push(0) - 1;
    lanes[lane] = Math.max(block.ended, block.ready + 1);
    block.lane = lane;
  }
  const end = blocks.reduce((max, block) => Math.max(max, block.ended), 1);
  const canvas = $('waterfall');
  const laneHeight = Math.max(3, Math.min(14, Math.floor(400 / Math.max(1, lanes.length))));
  const top = 20;
  const draw = () => {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const width = canvas.parentElement.clientWidth;
    const height = top + lanes.length * laneHeight;
    const scale = window.devicePixelRatio || 1;
    canvas.width = width * scale;
    canvas.height = height * scale;
    canvas.style.height = `${height}px`;
    const pen = canvas.getContext('2d');
    pen.scale(scale, scale);
    const x = (ms) => (ms / end) * width;
    pen.fillStyle = colour('dim');
    pen.strokeStyle = colour('line');
    pen.font = '12px system-ui, sans-serif';
    const ticks = width < 500 ? 4 : 8;
    for (let i = 0; i <= ticks; i += 1) {
      const at = Math.round((i / ticks) * width) + 0.5;
      pen.beginPath();
      pen.moveTo(at, top - 4);
      pen.lineTo(at, height);
      pen.stroke();
      pen.textAlign = i === 0 ? 'left' : i === ticks ? 'right' : 'center';
      pen.fillText(time((i / ticks) * end), at, 11);
    }
    const bar = (from, to, y, name) => {
      pen.fillStyle = colour(name);
      pen.fillRect(x(from), y, Math.max(1, x(to) - x(from)), Math.max(2, laneHeight - 2));
    };
    for (const block of blocks) {
      const y = top + block.lane * laneHeight;
      let free = block.ready;
      for (const [sent, ended] of block.failed.map(([sent, ended]) => [block.row.began + sent, block.row.began + ended])) {
        if (sent > free) bar(free, sent, y, 'waits');
        bar(sent, ended, y, 'sent');
        free = ended;
      }
      if (block.sent > free) bar(free, block.sent, y, 'waits');
      const failed = block.row.error !== null;
      bar(block.sent, block.first ?? block.ended, y, failed ? 'failed' : 'sent');
      if (block.first !== null) bar(block.first, block.ended, y, failed ? 'failed' : 'streams');
      for (const [, at] of block.failed) {
        pen.fillStyle = colour('retry');
        pen.fillRect(x(block.row.began + at) - 1, y, 3, Math.max(2, laneHeight - 2));
      }
    }
  };
  if (blocks.length === 0) $('waterfall-section').hidden = true;
  window.fanweave = { blocks: blocks.length, lanes: lanes.length };
  draw();
  new ResizeObserver(draw).observe(canvas.parentElement);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);

  // Tooltip of the call under the pointer.
  const tip = $('tip');
  canvas.addEventListener('pointermove', (event) => {
    const box = canvas.getBoundingClientRect();
    const lane = Math.floor((event.clientY - box.top - top) / laneHeight);
    const at = ((event.clientX - box.left) / box.width) * end;
    const slack = (2 / box.width) * end;
    const block = blocks.find((one) => one.lane === lane && one.ready - slack <= at && at <= one.ended + slack);
    tip.hidden = !block;
    if (!block) return;
    const { row } = block;
    const begun = block.failed.length > 0 ? row.began + block.failed[0][0] : block.sent;
    const spans = [`queued ${time(Math.max(0, begun - block.ready))}`, `took ${time(block.ended - begun)}`];
    if (block.first !== null) spans.splice(1, 0, `first byte after ${time(block.first - block.sent)}`);
    tip.replaceChildren(
      make('p', `${row.id ?? `row ${row.index}`} · ${data.steps[block.step]} · line ${row.line}`),
      make('p', spans.join(', '), 'dim'),
      ...block.failed.map(([sent, ended, why]) => make('p', `attempt failed after ${time(ended - sent)}, retried: ${why}`, 'dim')),
      ...(row.prompt ? [make('p', row.prompt, 'dim')] : []),
      row.error ? make('p', row.error.join(': '), 'error') : make('p', row.answer),
    );
    tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${Math.max(4, Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 8))}px`;
  });
  canvas.addEventListener('pointerleave', () => { tip.hidden = true; });

  // Histogram of row latencies.
  const latencies = rows.filter((row) => row.attempts > 0 || row.error === null).map((row) => row.latency).sort((a, b) => a - b);
  if (latencies.length > 0) {
    // The slowest 1 % share the last bin: they would compress all others.
    const max = Math.max(1, latencies[Math.ceil(latencies.length * 0.99) - 1]);
    const bins = new Array(40).fill(0);
    for (const latency of latencies) bins[Math.min(39, Math.floor((latency / max) * 40))] += 1;
    const highest = Math.max(...bins);
    bins.forEach((n, i) => {
      const bin = make('div');
      bin.style.height = `${(n / highest) * 100}%`;
      bin.title = `${time((i / 40) * max)} to ${i === 39 ? time(latencies[latencies.length - 1]) : time(((i + 1) / 40) * max)}: ${count(n)} rows`;
      $('histogram').append(bin);
    });
    $('histogram').setAttribute('aria-label', `Histogram of row latencies: median ${time(figures.latency_p50_ms)}, p95 ${time(figures.latency_p95_ms)}`);
    const axis = make('div', null, 'axis');
    axis.append(make('span', '0'), make('span', time(max / 2)), make('span', `${time(max)} or more`));
    $('histogram').after(axis);
  }

  const line = (table, cells, tag = 'td') => {
    const row = make('tr');
    cells.forEach(([text, kind]) => row.append(make(tag, text, kind)));
    table.append(row);
    return row;
  };
  line($('money'), [['tokens in'], [count(figures.input_tokens), 'n']]);
  if (figures.cached_tokens) line($('money'), [['of them cached'], [count(figures.cached_tokens), 'n']]);
  line($('money'), [['tokens out'], [count(figures.output_tokens), 'n']]);
  if (figures.reasoning_tokens) line($('money'), [['of them reasoning'], [count(figures.reasoning_tokens), 'n']]);
  line($('money'), [['tokens per row'], [figures.rows ? count(Math.round((figures.input_tokens + figures.output_tokens) / figures.rows)) : '-', 'n']]);
  line($('money'), [['cost'], [usd(figures.cost_usd), 'n']]);
  line($('money'), [['cost per 1,000 rows'], [figures.cost_usd !== null && figures.rows ? usd((figures.cost_usd / figures.rows) * 1000) : '-', 'n']]);
  for (const [model, n] of Object.entries(figures.models)) line($('money'), [[model], [`${count(n)} rows`, 'n']]);

  // Figures per step of a chain and per model, if there is more than one.
  const kinds = [['step', figures.per_step], ['model', figures.per_model]].filter(([, parts]) => parts.length > 0);
  if (kinds.reduce((sum, [, parts]) => sum + parts.length, 0) > 1) {
    $('parts-section').hidden = false;
    $('parts-name').textContent = kinds.length > 1 ? 'Steps and models' : kinds[0][0] === 'step' ? 'Steps' : 'Models';
    for (const [kind, parts] of kinds) {
      const names = [[kind], ['calls', 'n'], ['tokens in', 'n wide'], ['tokens out', 'n wide'], ['cost', 'n'], ['median', 'n'], ['p95', 'n wide'], ['retries', 'n wide'], ['failed', 'n']];
      line($('parts'), names, 'th');
      for (const part of parts) {
        line($('parts'), [
          [part.name, 'name'], [count(part.calls), 'n'], [count(part.input_tokens), 'n wide'], [count(part.output_tokens), 'n wide'], [usd(part.cost_usd), 'n'],
          [time(part.latency_p50_ms), 'n'], [time(part.latency_p95_ms), 'n wide'], [kind === 'step' ? count(part.retries) : '-', 'n wide'], [count(part.failed), part.failed > 0 ? 'n bad' : 'n'],
        ]);
      }
    }
  }

  if (figures.failures.length > 0) {
    $('failures-section').hidden = false;
    line($('failures'), [['rows', 'n'], ['kind'], ['message'], ['first input line', 'n']], 'th');
    for (const group of figures.failures) {
      line($('failures'), [[count(group.rows), 'n'], [group.kind], [group.message], [count(group.first_line), 'n']]);
    }
  }

  // Table of rows: search, sort, 100 rows at first.
  const columns = [
    ['row', 'index', 'n'], ['id', 'id', 'wide'], ['prompt and answer', null, 'text'], ['latency', 'latency', 'n'],
    ['attempts', 'attempts', 'n wide'], ['tokens', 'output', 'n wide'], ['cost', 'cost', 'n wide'],
  ];
  let sorted = 'index';
  let rising = true;
  let shown = 100;
  const head = make('tr');
  for (const [name, key, kind] of columns) {
    const cell = make('th', null, kind);
    if (key) {
      const button = make('button', name);
      button.type = 'button';
      button.addEventListener('click', () => {
        rising = sorted === key ? !rising : true;
        sorted = key;
        shown = 100;
        list();
      });
      cell.dataset.key = key;
      cell.append(button);
    } else {
      cell.textContent = name;
    }
    head.append(cell);
  }
  $('rows').tHead.append(head);
  for (const row of rows) row.text = [row.id, row.prompt, row.answer, row.error && row.error.join(' ')].filter(Boolean).join('\n').toLowerCase();
  const list = () => {
    const wanted = $('search').value.trim().toLowerCase();
    const failed = $('only-failed').checked;
    const found = rows.filter((row) => (!failed || row.error !== null) && row.text.includes(wanted));
    const order = (a, b) => (a === b ? 0 : a === null ? 1 : b === null ? -1 : a < b ? -1 : 1);
    found.sort((a, b) => (rising ? 1 : -1) * order(a[sorted], b[sorted]) || a.index - b.index);
    for (const cell of head.children) {
      if (cell.dataset.key === sorted) cell.setAttribute('aria-sort', rising ? 'ascending' : 'descending');
      else cell.removeAttribute('aria-sort');
    }
    const body = $('rows').tBodies[0];
    body.replaceChildren();
    for (const row of found.slice(0, shown)) {
      const at = line(body, [[count(row.index), 'n'], [row.id ?? '', 'wide']]);
      const text = make('td', null, 'text');
      if (row.prompt) text.append(make('p', row.prompt, 'prompt'));
      text.append(row.error ? make('p', row.error.join(': '), 'error') : make('p', row.answer));
      at.append(text, make('td', time(row.latency), 'n'), make('td', count(row.attempts), 'n wide'), make('td', count(row.output), 'n wide'), make('td', usd(row.cost), 'n wide'));
    }
    $('count').textContent = `${count(found.length)} of ${count(rows.length)} rows`;
    $('more').hidden = found.length <= shown;
  };
  $('search').addEventListener('input', () => { shown = 100; list(); });
  $('only-failed').addEventListener('change', () => { shown = 100; list(); });
  $('more').addEventListener('click', () => { shown += 400; list(); });
  list();
})();
