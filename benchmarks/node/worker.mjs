// A BullMQ worker whose handler does nothing, or sleeps where the job says so.
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'bullmq';
import { backend, connection } from './backend.mjs';

const options = { connection, concurrency: Number(process.env.CONCURRENCY) };
const handler = async (job) => {
  if (job.data.sleepSeconds) await sleep(job.data.sleepSeconds * 1000);
  return job.data;
};
const worker = new Worker('bench', handler, options, backend);
worker.on('error', (error) => console.error(error.message));
