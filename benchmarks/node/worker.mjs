// A BullMQ worker whose handler does nothing.
import { Worker } from 'bullmq';

const worker = new Worker('bench', async (job) => job.data, {
  connection: { host: '127.0.0.1', port: Number(process.env.REDIS_PORT) },
  concurrency: Number(process.env.CONCURRENCY),
});
worker.on('error', (error) => console.error(error.message));
