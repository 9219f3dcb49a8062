// A load on keep-alive connections: POSTs of jobs, each with an idempotency key of its own, or GETs of known addresses in turn.
// Standard input: JSON {url, headers, connections, seconds | requests, batch} for POSTs; {urls, isConditional, …} for GETs.
// Prints JSON {seconds, answered, refused}.
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import autocannon from 'autocannon';

const plan = JSON.parse(readFileSync(0));
let asked = 0;

function job() {
  return { type: 'echo', payload: { value: ['one', 'two', 'three'] }, idempotencyKey: randomUUID() };
}

function body() {
  if (!plan.batch) return JSON.stringify(job());
  return JSON.stringify({ jobs: Array.from({ length: plan.batch }, job) });
}

function posts() {
  return {
    url: plan.url,
    requests: [{
      method: 'POST',
      headers: { 'content-type': 'application/json', ...plan.headers },
      setupRequest: (request) => ({ ...request, body: body() }),
    }],
  };
}

async function tagged(url) {
  const answer = await fetch(url, { headers: plan.headers });
  await answer.arrayBuffer();
  return answer.headers.get('etag');
}

async function gets() {
  const polled = [];
  for (const url of plan.urls) {
    const known = plan.isConditional ? { 'if-none-match': await tagged(url) } : {};
    polled.push({ path: new URL(url).pathname, headers: { ...plan.headers, ...known } });
  }
  const setupRequest = (request) => ({ ...request, ...polled[asked++ % polled.length] });
  return { url: plan.urls[0], requests: [{ method: 'GET', setupRequest }] };
}

const options = { ...(plan.urls ? await gets() : posts()), connections: plan.connections, timeout: 30 };
if (plan.requests) options.amount = plan.requests;
else options.duration = plan.seconds;

// autocannon itself ends at a whole second, later than the last answer to a given number of requests.
let last = Date.now();
const load = autocannon(options);
load.on('response', () => { last = Date.now(); });
const result = await load;
const seconds = (last - result.start) / 1000;
const answered = plan.isConditional ? result['3xx'] : result['2xx'];
const all = ['1xx', '2xx', '3xx', '4xx', '5xx'].reduce((sum, kind) => sum + result[kind], 0);
console.log(JSON.stringify({ seconds, answered, refused: all - answered + result.errors + result.timeouts }));
