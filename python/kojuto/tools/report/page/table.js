// The table of endpoints: sorted by its heads, filtered by typing, a row opened for its figures over
// time. Of many rows some are drawn at a time; sorting and filtering see all.

const FIRST_ROWS = 100;
const MORE_ROWS = 400;

/**
 * The columns that are there: [name, what it is, the text of a cell, on which pages]: `always`, `phone`
 * not there, `middle` and `wide` only where there is room.
 */
function tableColumns(report) {
  const time = (name, title, from) => [name, title, (row) => seconds(row[name]), from];
  const shown = report.percentiles.filter((name) => ['p50', 'p95', 'p99'].includes(name));
  const percentiles = shown.length ? shown : report.percentiles.slice(-3);
  const timed = [
    ['share', 'share of the total time', shareBar, 'always'],
    time('sum', 'total time', 'phone'),
    time('avg', 'average time', 'phone'),
    ...percentiles.map((name, at) => time(name, `${name.slice(1)} % of the times are at most this`,
      at === percentiles.length - 1 ? 'always' : 'middle')),
    time('max', 'longest time', 'phone'),
  ];
  const statuses = [['4xx', 'client errors but 499'], ['499', 'the client gave up'],
    ['5xx', 'server errors']];
  return [
    ['endpoint', report.noun === 'row' ? report.of : 'method and path', null, 'always'],
    ['count', 'requests', (row) => whole(row.count), 'always'],
    ...(report.timed ? timed : []),
    ['errors', 'part of the requests with 4xx, 499 or 5xx', errorBar, 'always'],
    ...statuses.map(([name, title]) =>
      [name, title, (row) => (row[name] ? whole(row[name]) : '·'), 'wide']),
  ];
}

function shareBar(row) {
  const bar = styled(el('span', 'bar share'), { '--part': String(row.share || 0) });
  return el('span', 'barred', [bar, el('span', null, percent(row.share))]);
}

function errorBar(row) {
  const parts = ['5xx', '499', '4xx'].filter((name) => row[name]).map((name) =>
    styled(el('i', null, null, { title: `${name}: ${percent(row[name] / row.count)}` }), {
      width: `${(100 * row[name]) / row.count}%`, background: `var(--status-${name})`,
    }));
  const bar = el('span', 'bar errors', parts, { 'aria-hidden': 'true' });
  return el('span', 'barred', [bar, el('span', row['5xx'] >= row.count / 100 ? 'bad' : null, percent(row.errors))]);
}

/** Whether a name has all the words and none of those with a minus. */
function matches(name, words) {
  return words.every((word) =>
    (word.length > 1 && word[0] === '-' ? !name.includes(word.slice(1)) : name.includes(word)));
}

class Table {
  constructor(report, detail) {
    Object.assign(this, { report, detail, open: null, shown: FIRST_ROWS });
    this.columns = tableColumns(report);
    this.sortBy = report.timed ? 'share' : 'count';
    this.down = true;
    this.filter = el('input', 'filter', null, {
      type: 'search', placeholder: `Filter ${report.noun}s`, 'aria-label': `Filter ${report.noun}s`,
      autocomplete: 'off', spellcheck: 'false', title: 'words that the name has; -word: has not',
    });
    this.told = el('p', 'told', null, { role: 'status' });
    this.more = el('button', 'more', null, { type: 'button' });
    this.body = el('tbody', null, null, { role: 'rowgroup' });
    const head = el('tr', null, this.columns.map((column) => this.head(column)), { role: 'row' });
    this.frame = el('div', 'table', [
      el('div', 'bar-above', [this.filter, this.told]),
      el('table', null, [
        el('thead', null, head, { role: 'rowgroup' }), this.body,
      ], { role: 'table', 'aria-label': `${report.noun}s` }),
      this.more,
    ]);
    this.filter.addEventListener('input', () => this.refresh());
    this.more.addEventListener('click', () => { this.shown += MORE_ROWS; this.fill(); });
    this.body.addEventListener('click', (event) => {
      const line = event.target.closest('tr.row');
      if (line && !getSelection().toString()) this.toggle(line);
    });
    this.frame.addEventListener('keydown', (event) => this.press(event));
    addEventListener('resize', () => this.stretch());
    this.refresh();
  }

  head([name, title, , from]) {
    const label = name === 'endpoint' ? this.report.of : name;
    const button = el('button', null, label, { type: 'button', title: `${title}: sort by it` });
    button.addEventListener('click', () => {
      this.down = this.sortBy === name ? !this.down : name !== 'endpoint';
      this.sortBy = name;
      this.refresh();
    });
    return el('th', `c-${name} ${from}`, button, {
      scope: 'col', role: 'columnheader', 'data-name': name,
    });
  }

  /** Sorts and filters all rows and draws the first of them. */
  refresh() {
    const words = this.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const name = this.sortBy;
    const turn = this.down ? -1 : 1;
    this.rows = this.report.rows.filter((row) => matches(row.endpoint.toLowerCase(), words));
    this.rows.sort((one, other) => {
      const [left, right] = [one[name], other[name]];
      if (left == null || right == null) return (left == null) - (right == null);
      if (left === right) return one.at - other.at;
      return (left < right ? -1 : 1) * turn;
    });
    for (const head of this.frame.querySelectorAll('th')) {
      const sorted = head.dataset.name === name;
      head.setAttribute('aria-sort', sorted ? (this.down ? 'descending' : 'ascending') : 'none');
    }
    this.shown = FIRST_ROWS;
    this.body.replaceChildren();
    this.close();
    this.tell(words.length > 0);
    this.fill();
  }

  tell(filtered) {
    const { rows, report } = this;
    if (!filtered) {
      this.told.textContent = many(rows.length, report.noun);
      return;
    }
    const time = rows.reduce((sum, row) => sum + (row.share || 0), 0);
    this.told.textContent = `${whole(rows.length)} of ${many(report.rows.length, report.noun)}`
      + (report.timed ? `, ${percent(time)} of the time` : '');
  }

  /** Draws rows until as many are there as are to be shown. */
  fill() {
    const there = this.body.querySelectorAll('tr.row').length;
    this.body.append(...this.rows.slice(there, this.shown).map((row) => this.line(row)));
    const left = this.rows.length - Math.min(this.shown, this.rows.length);
    this.more.hidden = left === 0;
    this.more.textContent = `Show ${whole(Math.min(left, MORE_ROWS))} more of ${whole(left)}`;
  }

  line(row) {
    const cells = this.columns.map(([name, , text, from]) => {
      const cell = el('td', `c-${name} ${from}`, null, { role: 'cell', 'data-label': name });
      if (name === 'endpoint') {
        cell.append(el('button', 'open', endpointName(row.endpoint), {
          type: 'button', 'aria-expanded': 'false',
        }));
      } else {
        cell.append(text(row));
      }
      return cell;
    });
    const line = el('tr', 'row', cells, { role: 'row' });
    line.row = row;
    return line;
  }

  toggle(line) {
    const again = this.open && this.open.line === line;
    this.close();
    if (again) return;
    const detail = this.detail(line.row);
    const cell = el('td', null, detail.frame, { role: 'cell' });
    const below = el('tr', 'detail', cell, { role: 'row' });
    line.after(below);
    line.classList.add('chosen');
    line.querySelector('.open').setAttribute('aria-expanded', 'true');
    this.open = { line, below, detail };
    this.stretch();
  }

  /** The opened part goes over the columns that a page of this width has. */
  stretch() {
    if (!this.open) return;
    const seen = [...this.open.line.cells].filter((cell) => cell.offsetParent);
    this.open.below.cells[0].colSpan = seen.length;
  }

  close() {
    if (!this.open) return;
    const { line, below, detail } = this.open;
    detail.close();
    below.remove();
    line.classList.remove('chosen');
    line.querySelector('.open').setAttribute('aria-expanded', 'false');
    this.open = null;
  }

  /** Opens the row of an endpoint, wherever it is. */
  choose(row) {
    this.filter.value = '';
    this.refresh();
    this.shown = Math.max(this.shown, this.rows.indexOf(row) + 1);
    this.fill();
    const line = [...this.body.querySelectorAll('tr.row')].find((one) => one.row === row);
    this.toggle(line);
    line.querySelector('.open').focus();
    line.scrollIntoView({ block: 'start' });
  }

  press(event) {
    const lines = [...this.body.querySelectorAll('tr.row')];
    const at = lines.indexOf(event.target.closest('tr.row'));
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === 'Escape') {
      const line = this.open && this.open.line;
      if (!line) return;
      this.close();
      line.querySelector('.open').focus();
    } else if (step && (at >= 0 || (event.target === this.filter && step > 0))) {
      event.preventDefault();
      const line = lines[at + step];
      if (line) line.querySelector('.open').focus();
      else if (at + step < 0) this.filter.focus();
    }
  }
}
