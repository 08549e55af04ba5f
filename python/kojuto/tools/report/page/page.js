// The page: what it was given becomes a report, and the report its parts.

/** What was packed by `page()`, ready to be shown. */
function readReport() {
  const packed = JSON.parse(document.getElementById('data').textContent);
  const rows = rowsOf(packed.columns);
  const report = {
    ...packed,
    rows,
    zone: offset(packed.from),
    timed: Boolean(packed.total.sum) || rows.some((row) => row.sum),
    timeline: slicesOf(packed.timeline),
    maps: packed.maps.map(slicesOf),
  };
  report.seconds = packed.from && packed.to
    ? (Date.parse(packed.to) - Date.parse(packed.from)) / 1000 : null;
  return report;
}

function head(report) {
  const when = report.from
    ? `${instant(Date.parse(report.from) / 1000, report.zone)} to `
      + `${instant(Date.parse(report.to) / 1000, report.zone)} ${zoneName(report.zone)}`
      + (report.seconds > 0 ? ` (${span(report.seconds)})` : '')
    : 'without times of day';
  const theme = el('button', 'theme', '◐', { type: 'button', title: 'Dark or light' });
  theme.setAttribute('aria-label', 'Dark or light');
  theme.addEventListener('click', () => {
    const dark = colourScheme() === 'dark';
    document.documentElement.dataset.theme = dark ? 'light' : 'dark';
    redrawCharts();
  });
  return el('header', null, [
    el('div', null, [el('h1', null, report.title), el('p', 'when', when)]), theme,
  ]);
}

function colourScheme() {
  return document.documentElement.dataset.theme
    || (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light');
}

function tile(name, value, note, mark) {
  return el('div', `tile ${mark || ''}`, [
    el('dt', null, name), el('dd', null, value), note ? el('dd', 'note', note) : null,
  ]);
}

/** The row that has the most of something, as a note. */
function mostAt(report, value, words) {
  let most = null;
  for (const row of report.rows) if (value(row) && (!most || value(row) > value(most))) most = row;
  return most ? el('span', null, [words(most), endpointName(most.endpoint)]) : null;
}

function tiles(report) {
  const { total } = report;
  const rate = report.seconds > 0 ? `${three(total.count / report.seconds)} a second` : null;
  const last = report.percentiles.includes('p99') ? 'p99'
    : report.percentiles[report.percentiles.length - 1];
  const least = total.count / 1000;
  const slow = mostAt(report, (row) => (row.count >= least ? row[last] : 0),
    (row) => `${seconds(row[last])} at `);
  const timed = report.timed ? [
    tile('Time spent', seconds(total.sum), `${seconds(total.avg)} on average`),
    total.p50 != null ? tile('Median', seconds(total.p50), 'p50 of all requests') : null,
    tile(last || 'Longest', seconds(last ? total[last] : total.max), slow),
  ] : [];
  const part = (name) => (total.count ? total[name] / total.count : 0);
  return el('dl', 'tiles', [
    tile('Requests', short(total.count), rate),
    ...timed,
    tile('Server errors', percent(part('5xx')),
      mostAt(report, (row) => row['5xx'], (row) => `${whole(row['5xx'])} of ${whole(total['5xx'])} at `)
        || 'no 5xx', total['5xx'] ? 'bad' : ''),
    tile('Client errors', percent(part('4xx') + part('499')),
      total['499'] ? `${whole(total['499'])} gave up (499)` : 'no 499'),
    total.bytes ? tile('Sent', size(total.bytes), `${size(total.bytes / total.count)} each`) : null,
  ]);
}

/** Where the time goes: the costliest endpoints as parts of one bar. */
function costs(report, choose) {
  if (!report.timed) return null;
  const first = report.rows.filter((row) => row.share > 0).slice(0, 6);
  const shown = first.reduce((sum, row) => sum + row.share, 0);
  const parts = first.map((row, at) => styled(
    el('i', null, null, { title: `${row.endpoint}: ${percent(row.share)}` }),
    { 'flex-grow': String(row.share), background: `var(--part-${at})` }));
  const rest = shown < 0.999 ? styled(el('i', 'rest'), { 'flex-grow': String(1 - shown) }) : '';
  const names = first.map((row, at) => {
    const swatch = styled(el('span', 'swatch'), { background: `var(--part-${at})` });
    const button = el('button', null,
      [swatch, el('b', null, percent(row.share)), endpointName(row.endpoint)], { type: 'button' });
    button.addEventListener('click', () => choose(row));
    return el('li', null, button);
  });
  return el('section', 'costs', [
    el('h2', null, costsWords(report)),
    el('div', 'strip', [...parts, rest], { 'aria-hidden': 'true' }),
    el('ol', null, names),
  ]);
}

/** The answer in a sentence. */
function costsWords(report) {
  let [sum, first] = [0, 0];
  for (const row of report.rows) {
    if (sum >= 0.5) break;
    sum += row.share || 0;
    first += 1;
  }
  const of = report.rows.length + (report.left_out ? report.left_out.rows : 0);
  if (sum < 0.5 || of === 1) return 'Where the time goes';
  return first === 1
    ? `One ${report.noun} of ${whole(of)} takes ${percent(sum)} of the time`
    : `${percent(sum)} of the time goes to ${whole(first)} of ${whole(of)} ${report.noun}s`;
}

/** Requests and latencies over time of all lines or of one endpoint. */
function overTime(report, slices, height) {
  const frame = { span: spanOf(slices, report.timeline), height };
  const log = [Date.parse(report.from) / 1000, Date.parse(report.to) / 1000];
  const made = [trafficChart(slices, report.zone, log, frame)];
  if (slices.list.some((slice) => slice.timed)) {
    made.push(heatChart(slices, report.zone, report.resolution, frame));
  }
  return made;
}

/** What a row says when it is opened. */
function detail(report, row) {
  const made = row.at < report.maps.length && report.maps[row.at]
    ? overTime(report, report.maps[row.at], 210) : [];
  const why = 'No chart over time: the page has those of the '
    + `${whole(report.maps.filter(Boolean).length)} costliest ${report.noun}s only.`;
  const pairs = [
    ['count', whole(row.count)],
    ...(row.sum == null ? [] : [['sum', seconds(row.sum)], ['avg', seconds(row.avg)],
      ['stddev', seconds(row.stddev)], ['min', seconds(row.min)],
      ...report.percentiles.map((name) => [name, seconds(row[name])]), ['max', seconds(row.max)]]),
    ...CLASSES.filter((name) => row[name]).map((name) =>
      [name, `${whole(row[name])} (${percent(row[name] / row.count)})`]),
    ...(row.bytes ? [['bytes', size(row.bytes)]] : []),
  ];
  const frame = el('div', 'inside', [
    row.sum == null ? null : ladder(report, row),
    made.length ? el('div', 'charts', made.map((chart) => chart.frame)) : el('p', 'note', why),
    el('dl', 'pairs', pairs.map(([name, text]) => el('div', null, [el('dt', null, name), el('dd', null, text)]))),
    row.example ? el('p', 'example', ['For example ', el('code', null, row.example, { dir: 'ltr' })]) : null,
  ]);
  return { frame, close: () => made.forEach((chart) => chart.close()) };
}

/** The percentiles of an endpoint on the scale of all: a dot each, by the logarithm of the time. */
function ladder(report, row) {
  const floor = Math.max(report.total.min || 0, (report.resolution || 1e-6) / 2);
  const place = (time) => {
    const part = Math.log(Math.max(time, floor) / floor) / Math.log(report.total.max / floor || 2);
    return `${100 * Math.min(Math.max(part, 0), 1)}%`;
  };
  const marks = [['min', row.min], ...report.percentiles.map((name) => [name, row[name]]),
    ['max', row.max]].filter(([, time]) => time != null);
  const dots = marks.map(([name, time]) => styled(
    el('i', name === 'min' || name === 'max' ? 'end' : null, null,
      { title: `${name}: ${seconds(time)}` }), { left: place(time) }));
  const line = styled(el('b'), { left: place(row.min), right: `calc(100% - ${place(row.max)})` });
  const words = marks.map(([name, time]) => `${name} ${seconds(time)}`).join(', ');
  return el('div', null, [
    el('div', 'ladder', [line, ...dots], { role: 'img', 'aria-label': words }),
    el('p', 'note ends', [el('span', null, seconds(floor)),
      el('span', null, 'from min to max, a dot for each percentile'),
      el('span', null, seconds(report.total.max))]),
  ]);
}

function slowest(report) {
  if (!report.slowest.length) return null;
  const names = ['time', 'at', 'status', 'request'];
  const lines = report.slowest.map((one) => el('tr', null, [
    el('td', 'number', seconds(one.time)),
    el('td', 'number', one.at == null ? '–' : instant(Date.parse(one.at) / 1000, report.zone)),
    el('td', `number ${one.status >= 500 ? 'bad' : ''}`, one.status == null ? '–' : String(one.status)),
    el('td', 'request', endpointName(one.request)),
  ]));
  return el('section', null, [
    el('h2', null, 'Slowest requests'),
    el('div', 'scrolled', el('table', 'plain', [
      el('thead', null, el('tr', null, names.map((name) => el('th', null, name, { scope: 'col' })))),
      el('tbody', null, lines),
    ]), { tabindex: 0, role: 'region', 'aria-label': 'Slowest requests' }),
  ]);
}

/** How the log was read, and what the figures are worth. */
function facts(report) {
  const lines = report.facts.map(([name, text]) => el('div', null, [el('dt', null, name), el('dd', null, text)]));
  return el('section', 'facts', [el('h2', null, 'How it was read'), el('dl', null, lines)]);
}

function start() {
  const report = readReport();
  const main = document.querySelector('main');
  const table = new Table(report, (row) => detail(report, row));
  const charts = report.timeline ? overTime(report, report.timeline, 260) : [];
  main.append(...[
    head(report),
    tiles(report),
    report.timed ? null : el('p', 'warning', report.no_times),
    costs(report, (row) => table.choose(row)),
    charts.length ? el('section', 'charts', charts.map((chart) => chart.frame)) : null,
    el('section', null, [
      el('h2', null, report.noun === 'row' ? `By ${report.of}` : 'Endpoints'), table.frame,
      report.left_out ? el('p', 'note', report.left_out.words) : null,
      el('p', 'hint', [
        'Keys: ', el('kbd', null, '/'), ' filters, ', el('kbd', null, '↓'), ' ', el('kbd', null, '↑'),
        ' go from row to row, ', el('kbd', null, 'Enter'), ' opens one, ', el('kbd', null, 'Esc'),
        ' closes it.',
      ]),
    ]),
    slowest(report),
    facts(report),
  ].filter(Boolean));
  document.addEventListener('keydown', (event) => {
    if (event.key === '/' && !/INPUT|TEXTAREA/.test(event.target.tagName)) {
      event.preventDefault();
      table.filter.focus();
      table.filter.select();
    }
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redrawCharts);
  for (const name of ['beforeprint', 'afterprint']) {
    addEventListener(name, () => {
      document.documentElement.classList.toggle('printing', name === 'beforeprint');
      redrawCharts();
    });
  }
  document.documentElement.dataset.ready = 'true';
}

start();
