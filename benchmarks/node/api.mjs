// Express in front of BullMQ: one add() a job under a jobId, one addBulk() a batch.
import express from 'express';
import { Queue } from 'bullmq';
import { backend, connection } from './backend.mjs';

const queue = new Queue('bench', { connection }, backend);
const app = express();
app.use(express.json({ limit: '5mb' }));

const options = (job) => ({ jobId: job.idempotencyKey, removeOnComplete: process.env.KEEP === '0' });

app.post('/jobs', async (request, response) => {
  const job = await queue.add(request.body.type, request.body.payload, options(request.body));
  response.status(202).json({ id: job.id });
});

app.post('/jobs/batch', async (request, response) => {
  const jobs = await queue.addBulk(
    request.body.jobs.map((job) => ({ name: job.type, data: job.payload, opts: options(job) })),
  );
  response.status(202).json({ ids: jobs.map((job) => job.id) });
});

app.get('/jobs/:id', async (request, response) => {
  const job = await queue.getJob(request.params.id);
  if (!job) return response.status(404).json({ error: 'not found' });
  const { id, name, progress, attemptsMade, timestamp, processedOn, finishedOn, returnvalue, failedReason } = job;
  const state = await job.getState();
  return response.json({
    id, name, state, progress, attemptsMade, timestamp, processedOn, finishedOn, returnvalue, failedReason,
  });
});

app.listen(Number(process.env.PORT), '127.0.0.1', () => console.log('ready'));
