// A server that does nothing but answer: what the load generator reaches here is all that it can.
import http from 'node:http';

const answer = JSON.stringify({ id: 'constant' });
const server = http.createServer((request, response) => {
  request.resume();
  request.on('end', () => {
    response.writeHead(202, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(answer) });
    response.end(answer);
  });
});
server.listen(Number(process.env.PORT), '127.0.0.1');
