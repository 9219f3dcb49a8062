// A load of POSTs on keep-alive connections; every job carries an idempotency key of its own.
// Argument: JSON {url, headers, connections, seconds | requests, batch}. Prints JSON {seconds, answered, refused}.
import autocannon from 'autocannon';

const plan = JSON.parse(process.argv[2]);
const run = process.pid + '-' + Date.now();
let made = 0;

function job() {
  made += 1;
  return { type: 'echo', payload: { value: ['one', 'two', 'three'] }, idempotencyKey: `${run}-${made}` };
}

function body() {
  if (!plan.batch) return JSON.stringify(job());
  return JSON.stringify({ jobs: Array.from({ length: plan.batch }, job) });
}

const options = {
  url: plan.url,
  connections: plan.connections,
  timeout: 30,
  requests: [{
    method: 'POST',
    headers: { 'content-type': 'application/json', ...plan.headers },
    setupRequest: (request) => ({ ...request, body: body() }),
  }],
};
if (plan.requests) options.amount = plan.requests;
else options.duration = plan.seconds;

const result = await autocannon(options);
console.log(JSON.stringify({
  seconds: (result.finish - result.start) / 1000,
  answered: result['2xx'],
  refused: result.non2xx + result.errors + result.timeouts,
}));
